"""What the system refuses, told: which file could not be written, why, what to do; of a full disk how much is free."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WORDS = ("no space left on device", "database or disk is full", "disk quota exceeded")


class FullDiskError(OSError):
    """There was no room for a file; nothing half-written is left of it."""


@contextmanager
def full_disk_told(path: Path) -> Iterator[None]:
    """Raise FullDiskError, naming the file that is written, where the disk (or a quota) has no room for it."""
    try:
        yield
    except FullDiskError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise told_full(path, error) from error


def told_full(path: Path, error: BaseException) -> FullDiskError:
    """Return what is told where the disk has no room for a file, or for one in a folder."""
    return FullDiskError(
        f"{path} could not be written: the disk is full ({_free(path)}; {str(error).splitlines()[0]}). "
        "Free some space and run again: what is stored stays, nothing half-written is left, and the run goes on."
    )


def explained(root: Path, error: BaseException) -> str:
    """Return what a user is told of a failure at a home: the system's own words name no remedy."""
    if is_full(error) and not isinstance(error, FullDiskError):
        error = told_full(root, error)
    if isinstance(error, OSError) and error.filename is not None:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            remedy = "give the right to who runs edp, or set EDP_HOME to a folder that may be written"
            return f"{error.filename}: wanted to read or write it, found: {error.strerror}; {remedy}"
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            return f"{error.filename}: wanted a folder, found a file ({error.strerror}); move it away and run again"
    return f"{error}" or type(error).__name__


def is_full(error: BaseException) -> bool:
    """Return whether an error, or what caused it, says that the disk is full: also DuckDB's and SQLite's."""
    seen: BaseException | None = error
    before: set[int] = set()
    while seen is not None and id(seen) not in before:  # an error may be named as its own cause
        before.add(id(seen))
        if getattr(seen, "errno", None) in _FULL or any(words in str(seen).lower() for words in _WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _free(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return f"{usage.free / 1e6:,.1f} MB free of {usage.total / 1e6:,.0f} MB in {folder}"
