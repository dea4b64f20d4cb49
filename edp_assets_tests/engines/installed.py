"""Puts the stand-in for regenie where a test wants it, with what it is to do, and tells what it was called with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

STAND_IN = Path(__file__).with_name("stand_in_regenie.py")


def install(folder: Path, **wishes: object) -> Path:
    """Write an executable `regenie` into a folder; `wishes` are those of the stand-in, empty: none."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "regenie"
    path.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    path.chmod(0o755)
    wish(path, **wishes)
    return path


def wish(path: Path, **wishes: object) -> None:
    for name, value in wishes.items():
        (path.parent / name).write_text(str(value))


def calls(path: Path) -> list[list[str]]:
    """Return the arguments of every call so far, but of `--version`."""
    written = path.parent / "calls.jsonl"
    return [json.loads(line) for line in written.read_text().splitlines()] if written.exists() else []


def steps(path: Path) -> list[str]:
    """Return which steps were called: 1, or 2 and the chromosome."""
    found = []
    for call in calls(path):
        options = dict(zip(call, [*call[1:], ""], strict=True))
        found.append(" ".join([options["--step"], *([options["--chr"]] if "--chr" in options else [])]))
    return found
