"""What was found of a file is kept only for as long as it is the very file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edp_assets.storage.unchanged import TICK_NS, Unchanged


class Reader:
    """Reads a file's text, and counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, path: Path) -> str:
        self.times += 1
        return path.read_text()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that was written a while ago."""
    path = tmp_path / "file"
    path.write_text("one")
    aged(path)
    return path


def aged(path: Path, seconds: float = 1.0) -> None:
    """Let a file have been written a while ago."""
    then = time.time_ns() - int(seconds * 1e9)
    os.utime(path, ns=(then, then))


def test_of__a_file_that_is_the_same_is_read_once(path: Path) -> None:
    kept, read = Unchanged[str](), Reader()
    assert [kept.of(path, read) for _ in range(3)] == ["one"] * 3
    assert read.times == 1
    assert kept.of(path, read, "otherwise") == "one"
    assert read.times == 2


def test_of__a_file_that_was_replaced_or_written_over_is_read_again(path: Path) -> None:
    kept, read = Unchanged[str](), Reader()
    kept.of(path, read)
    before = path.stat()
    other = path.with_name("other")
    other.write_text("two")
    os.utime(other, ns=(before.st_mtime_ns, before.st_mtime_ns))  # the same size and time: another file all the same
    other.replace(path)
    assert kept.of(path, read) == "two"
    with path.open("r+") as file:
        file.write("six")
    assert kept.of(path, read) == "six"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        kept.of(path, read)


def test_of__a_file_written_just_now_is_not_trusted(path: Path) -> None:
    kept, read = Unchanged[str](), Reader()
    aged(path, 0.9 * TICK_NS / 1e9 - 0.005)
    assert kept.of(path, read) == kept.of(path, read) == "one"
    assert read.times == 2


def test_of__the_files_used_last_are_kept(tmp_path: Path) -> None:
    kept, read = Unchanged[str](2), Reader()
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
        aged(path)
    for path in (*paths[:2], paths[0], paths[2], paths[0]):
        assert kept.of(path, read) == path.name
    assert read.times == 3
    kept.of(paths[1], read)
    assert read.times == 4
