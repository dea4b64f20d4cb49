"""Steps of another program in a folder: each run once, its output kept as a log, gone on with after a kill.

Which program and with which arguments is the business of the module that is named after it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LAST_LINES = 15
"""Lines of a program's output that a failure tells."""

Tell = Callable[[str], None]
"""What lines of progress are handed to."""


class EngineError(RuntimeError):
    """Another program is absent or unfit, failed, or was asked for what it cannot do."""


@dataclass(frozen=True)
class Steps:
    """Runs a program's steps in a folder; `<step>.done` beside a step's outputs says what they were made from.

    Attributes:
        name: of the program, for people.
        program: its executable.
        folder: where outputs, logs and marks of what is done lie.
        tell: is given what is done and every line that the program writes.
    """

    name: str
    program: Path
    folder: Path
    tell: Tell

    def run(
        self, step: str, arguments: list[str], running: list[str], outputs: Sequence[str], made_from: Sequence[str]
    ) -> str:
        """Run a step unless its outputs are there, whole and of the same inputs.

        Args:
            step: its name: of its log, and of its outputs' prefix, `<step>_`.
            arguments: what decides the result.
            running: further arguments that decide how it is come by (threads, memory).
            outputs: names of the files that a success leaves in the folder.
            made_from: whatever else decides the result: versions, contents or stamps of files.

        Returns:
            A hash of what the outputs are made from, for a step that builds on them.

        Raises:
            EngineError: the program failed, or left an output out.
        """
        fingerprint = hashlib.sha256(json.dumps([arguments, list(made_from)]).encode()).hexdigest()
        marker = self.folder / f"{step}.done"
        if self._is_done(marker, fingerprint, outputs):
            self.tell(f"{self.name} {step}: done before")
            return fingerprint
        marker.unlink(missing_ok=True)
        for stale in self.folder.glob(f"{step}_*"):
            stale.unlink()
        self.tell(f"{self.name} {step}: starts")
        self._call(step, [*arguments, *running])
        absent = [name for name in outputs if not (self.folder / name).is_file()]
        if absent:
            raise EngineError(
                f"{self.name} {step} ended well but left {len(absent)} of {len(outputs)} files unwritten "
                f"({absent[0]}); look into its log, {self.log(step)}"
            )
        sizes = {name: (self.folder / name).stat().st_size for name in outputs}
        # Written last and moved there whole: without it the step is done again.
        unfinished = marker.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({"made_from": fingerprint, "sizes": sizes}))
        unfinished.replace(marker)
        return fingerprint

    def log(self, step: str) -> Path:
        """Return where all that the program wrote in a step is kept."""
        # `<step>.log` may be the program's own, and holds nothing of a call that it refused.
        return self.folder / f"{step}.output.log"

    def _is_done(self, marker: Path, fingerprint: str, outputs: Sequence[str]) -> bool:
        try:
            done = json.loads(marker.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return False
        files = {name: self.folder / name for name in outputs}
        sizes = {name: path.stat().st_size for name, path in files.items() if path.is_file()}
        return bool(done == {"made_from": fingerprint, "sizes": sizes})

    def _alone(self) -> IO[str]:
        """Lock the folder, the program too: one that outlives a killed run for a while would write the same files."""
        lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise EngineError(
                f"a {self.name} is at work in {self.folder}, perhaps of a killed run; wait for its end, or end it"
            ) from None
        return lock

    def _call(self, step: str, arguments: list[str]) -> None:
        last: deque[str] = deque(maxlen=LAST_LINES)
        with (
            self._alone() as lock,
            self.log(step).open("w") as kept,
            subprocess.Popen(  # noqa: S603
                [str(self.program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=(lock.fileno(),),
            ) as process,
        ):
            try:
                assert process.stdout is not None  # noqa: S101
                for line in process.stdout:
                    kept.write(line)
                    if line.strip():
                        last.append(line.rstrip())
                        self.tell(f"{self.name} {step}: {line.strip()}")
            except BaseException:
                process.kill()  # who interrupts a run leaves no program behind
                raise
        if process.returncode:
            end = "\n".join(last) or "(it wrote nothing)"
            status = f"exit status {process.returncode}"
            raise EngineError(f"{self.name} {step} failed ({status}); its log, {self.log(step)}, ends:\n{end}")


def clean(folder: Path) -> None:
    """Remove from a folder of steps everything but logs, once the results are stored elsewhere."""
    for path in folder.iterdir():
        if path.suffix != ".log":
            path.unlink()
