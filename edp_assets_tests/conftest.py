"""How tests are shared out where several processes run them (`make test`)."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests together, and all that need the finished run: what one process has set up serves them."""
    for item in items:
        together = "finished" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("finished" if together else item.nodeid.partition("::")[0]))
