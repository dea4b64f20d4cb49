"""What a figure is drawn of, kept in its file, so that one that would come out the same is not drawn again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEY = "Content"
"""The text of the PNG file that says it."""


def content_of(draw: partial[Figure]) -> str:
    """Return a hash that differs wherever the figure would: of its function, what it is given, and how we draw.

    Raises:
        TypeError: it is given something whose content is not known: an object without value.
    """
    found = hashlib.sha256()
    _add(found.update, [_drawing(), draw.func.__module__, draw.func.__qualname__, list(draw.args), draw.keywords])
    return found.hexdigest()


def drawn_before(path: Path, content: str) -> bytes | None:
    """Return the figure's file where it is there and was drawn of the same; None where it is to be drawn."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()  # a file cut short is not the figure
            same = image.info.get(KEY) == content
    except (OSError, SyntaxError):  # as Pillow says that there is none, or a damaged one
        return None
    return path.read_bytes() if same else None


def hash_of_sources(about: str, *packages: str) -> str:
    """Return a hash of packages' sources, templates and scripts included, and of what else is said."""
    text = hashlib.sha256(about.encode())
    for package in packages:
        for file in _sources(files(package)):
            text.update(file.read_bytes())
    return text.hexdigest()


def _sources(folder: Traversable) -> list[Traversable]:
    found: list[Traversable] = []
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.is_dir() and entry.name in ("templates", "static"):
            found += _sources(entry)
        elif entry.name.endswith((".py", ".j2", ".css", ".js")):
            found.append(entry)
    return found


@cache
def _drawing() -> str:
    """Return a hash of this package's sources and of the libraries' versions: others draw other figures."""
    return hash_of_sources(f"{version('matplotlib')} {version('polars')}", "edp_assets.figures")


def _add(update: Callable[[bytes], None], value: Any) -> None:
    if isinstance(value, pl.DataFrame):
        update(repr(value.schema).encode())
        update(value.hash_rows().to_numpy().tobytes())
    elif isinstance(value, np.ndarray):
        update(f"{value.dtype} {value.shape}".encode())
        update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        _add(update, [item for pair in value.items() for item in pair])
    elif is_dataclass(value) and not isinstance(value, type):
        _add(update, [getattr(value, field.name) for field in fields(value)])
    elif isinstance(value, list | tuple):
        update(f"{len(value)} of".encode())
        for item in value:
            _add(update, item)
    elif value is None or isinstance(value, str | int | float | np.generic):
        update(f"{type(value).__name__} {value!r};".encode())
    else:
        raise TypeError(f"a figure is drawn of {type(value).__name__}, whose content is not known: give plain values")
