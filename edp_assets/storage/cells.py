"""Cells (partitions), the paths and file names made of their keys, and what is raised where a cell's file fails.

Files may lie on a disk (`Path`) or in an object store (`UPath`, s3://...); what differs between the two is here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from upath import UPath

Location: TypeAlias = "Path | UPath"
"""A file or folder on a disk or in an object store."""

Place = TypeVar("Place", bound="Path | UPath")

Cell = tuple[tuple[str, str], ...]
"""A partition: (dimension, key) pairs sorted by dimension; empty for an asset without partitions."""

NAME_BYTES = 255
"""The longest file name that file systems take, bytes."""

CLOCKS_APART = 3600.0
"""How far an object store's clock may be from this machine's, seconds."""

ASIDE = ".damaged"
"""What the name of a damaged file ends in once it is set aside."""


class LakeError(RuntimeError):
    """A file of the lake is missing or cannot be read."""


class MissingError(LakeError):
    """A file that another one is to be made from is not there."""


class DamagedError(LakeError):
    """A stored file is not as it was written; it has been set aside, so that the next run makes it again."""

    def __init__(self, asset: tuple[str, ...], cell: Cell, path: Location, why: str) -> None:
        self.asset, self.cell, self.path, self.why = asset, cell, path, why
        super().__init__(
            f"{path} is damaged ({why}): it holds {said(asset, cell)} and was set aside as {path.name}{ASIDE}. "
            "Run again (`edp run`): that partition is made anew, and what was stored of others stays. "
            "Damage is mostly a failing disk: have it checked."
        )


def said(asset: tuple[str, ...], cell: Cell) -> str:
    """Return an asset and a cell in words: `mae/edp_scores [icd10 K76, organ liver]`."""
    keys = ", ".join(f"{name} {key}" for name, key in cell)
    return "/".join(asset) + (f" [{keys}]" if keys else "")


def cell_of(dimensions: Mapping[str, str]) -> Cell:
    """Return the cell of a dimension -> key mapping."""
    return tuple(sorted(dimensions.items()))


def folder_name(key: str) -> str:
    """Return a key as the name of a folder."""
    # quote() leaves dots as they are, and a folder name of dots alone would climb.
    return quote(key, safe="").replace(".", "%2E")


def cell_path(folder: Place, cell: Cell) -> Place:
    """Return the cell's folder; keys are percent-encoded, so that none can climb out of the lake or hide.

    Raises:
        LakeError: a key is too long to name a folder.
    """
    for dimension, key in cell:
        # quote() leaves dots as they are, and a folder name of dots alone would climb.
        name = f"{dimension}={quote(key, safe='').replace('.', '%2E')}"
        if len(name) > NAME_BYTES:
            raise LakeError(
                f"the {dimension} {key[:40]}... takes {len(name)} bytes as a folder's name, {NAME_BYTES} at most: "
                "give it a shorter name (letters, digits, _ and - take one byte, others three or more)"
            )
        folder = folder / name  # type: ignore[assignment]
    return folder


def path_cell(parts: Iterable[str]) -> Cell:
    """Return the cell whose folder these are the parts of, as `cell_path` makes them."""
    pairs = (part.split("=", 1) for part in parts)
    return tuple((dimension, unquote(key)) for dimension, key in pairs)


def file_name(stem: str, suffix: str = "") -> str:
    """Return a percent-encoded file name; one too long ends in a hash of the whole, so that it stays unlike others.

    40 bytes are left for what is put before and behind it while it is written.

    >>> file_name("histogram-I10/I15", ".png")
    'histogram-I10%2FI15.png'
    """
    name = quote(stem, safe="")
    limit = NAME_BYTES - 40 - len(suffix)
    if len(name) > limit:
        name = f"{name[: limit - 17]}~{hashlib.sha256(stem.encode()).hexdigest()[:16]}"
    return name + suffix


def stored_files(folder: Location, name: str) -> dict[Cell, Location]:
    """Return the files of this name below an asset's folder, by cell, sorted; an object store is listed once."""
    found: dict[Cell, Location] = {}
    if isinstance(folder, Path):
        for where, folders, files in os.walk(folder):
            if name in files:
                found[path_cell(Path(where).relative_to(folder).parts)] = Path(where, name)
            folders[:] = [each for each in folders if "=" in each]
    else:
        for file in folder.glob(f"**/{name}"):
            parts = file.parent.relative_to(folder).parts
            if all("=" in part for part in parts):
                found[path_cell(parts)] = file
    return dict(sorted(found.items()))


def all_files(root: Location, ending: str = "", since_ns: int = 0) -> list[Location]:
    """Return every file below a folder, hidden ones too, sorted; an object store is listed once.

    Args:
        root: the folder, or prefix.
        ending: what their names end in. No others are asked for their time: a database's may be gone by then.
        since_ns: only files that came to be where they are, or changed, since (`os.stat`'s ctime, nanoseconds); of an
            object store, whose clock is another, those of an hour before as well.
    """
    if isinstance(root, Path):
        files = [path for path in root.rglob(f"*{ending}") if path.is_file()]
        return sorted(path for path in files if not since_ns or path.stat().st_ctime_ns >= since_ns)
    since = since_ns / 1e9 - CLOCKS_APART
    found = root.fs.find(root.path, detail=True)
    names = [n for n, about in found.items() if n.endswith(ending) and about["LastModified"].timestamp() >= since]
    return [root / name.removeprefix(root.path.rstrip("/")).lstrip("/") for name in sorted(names)]


def put(temporary: Path, path: Location) -> None:
    """Bring a finished local file into its place, whole: by renaming it, or as one object."""
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(path)
    else:
        path.fs.put_file(str(temporary), path.path)
        temporary.unlink()


def fetch(path: Location, local: Path) -> None:
    """Bring a stored file to a local place, whole."""
    local.parent.mkdir(parents=True, exist_ok=True)
    temporary = local.with_name(f".{local.name}.fetch.tmp")
    try:
        path.fs.get_file(path.path, str(temporary))  # type: ignore[union-attr]
        temporary.replace(local)
    finally:
        temporary.unlink(missing_ok=True)


def set_aside(path: Location) -> Location:
    """Give a damaged file a name under which nothing looks for it, in place of an earlier one, and return that."""
    aside = path.with_name(path.name + ASIDE)
    try:
        if isinstance(path, Path):
            path.replace(path.with_name(path.name + ASIDE))
        else:
            path.fs.mv(path.path, aside.path)  # type: ignore[union-attr]
    except FileNotFoundError:
        pass  # another reader was first
    return aside
