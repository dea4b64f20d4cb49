"""How tests are shared out where several processes run them (`make test`)."""

from __future__ import annotations

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep a file's tests together, and all that need the finished run: what one process has set up serves them.

    Here, and not where items are sorted: pytest-xdist reads the mark there, and comes first.
    """
    together = "finished" in getattr(item, "fixturenames", ())
    item.add_marker(pytest.mark.xdist_group("finished" if together else item.nodeid.partition("::")[0]))
