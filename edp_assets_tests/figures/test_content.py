"""A figure is drawn again where, and only where, it would come out another."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

from edp_assets.figures.content import KEY, content_of, drawn_before
from edp_assets.figures.render import to_png

TABLE = pl.DataFrame({"icd10": ["K76", "I10"], "p": [0.1, None]})


def draw(*_: object, **__: object) -> Figure:
    return Figure(figsize=(1, 1))


def other(*_: object) -> Figure:
    return Figure(figsize=(2, 1))


def test_content_of__is_of_everything_the_figure_is_drawn_of() -> None:
    same = [content_of(partial(draw, TABLE.clone(), np.arange(3), [1, "a"], title="t")) for _ in range(2)]
    assert same[0] == same[1]
    others = [
        partial(other, TABLE, np.arange(3), [1, "a"]),
        partial(draw, TABLE, np.arange(3), [1, "a"], title="u"),
        partial(draw, TABLE, np.arange(3), ["a", 1], title="t"),
        partial(draw, TABLE, np.arange(3.0), [1, "a"], title="t"),
        partial(draw, TABLE, np.arange(3).reshape(3, 1), [1, "a"], title="t"),
        partial(draw, TABLE.reverse(), np.arange(3), [1, "a"], title="t"),
        partial(draw, TABLE.rename({"p": "q"}), np.arange(3), [1, "a"], title="t"),
        partial(draw, TABLE.fill_null(0.0), np.arange(3), [1, "a"], title="t"),
        partial(draw, TABLE, np.arange(3), [1, ["a"]], title="t"),
        partial(draw, TABLE, np.arange(3), [1, "a"], title=None),
    ]
    assert len({*same, *map(content_of, others)}) == 1 + len(others)


def test_content_of__is_the_same_in_another_process() -> None:
    asked = (
        "from functools import partial; import polars as pl; from edp_assets.figures.content import content_of;"
        "from edp_assets.figures.render import new_figure;"
        "print(content_of(partial(new_figure, pl.DataFrame({'a': ['x', None]}), 1.5)))"
    )
    said = {subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
            for _ in range(2)}  # fmt: skip
    assert len(said) == 1
    assert len(said.pop().strip()) == 64


def test_content_of__refuses_what_has_no_value() -> None:
    with pytest.raises(TypeError, match="drawn of object, whose content is not known: give plain values"):
        content_of(partial(draw, object()))


def test_drawn_before__is_the_file_only_where_it_is_whole_and_of_the_same(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    assert drawn_before(path, "a") is None
    png = to_png(draw(), {KEY: "a"})
    path.write_bytes(png)
    assert drawn_before(path, "a") == png
    assert drawn_before(path, "b") is None
    path.write_bytes(png[: len(png) // 2])
    assert drawn_before(path, "a") is None
    path.write_bytes(b"")
    assert drawn_before(path, "a") is None
    path.write_bytes(to_png(draw()))
    assert drawn_before(path, "a") is None
