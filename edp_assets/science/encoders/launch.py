"""Training in this process, or in several under torch's own launcher; what training is, `training` tells."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from edp_assets.science.encoders.checkpoints import TrainedEncoder, read_trained
from edp_assets.science.encoders.packs import Items
from edp_assets.science.encoders.train import CHECKPOINT, FAILED, TRAINED, Recipe
from edp_assets.science.encoders.training import TrainingError, train

KEPT_LINES = 20


def train_here_or_launch(folder: Path, recipe: Recipe, items: Items, log: Callable[[str], None]) -> TrainedEncoder:
    """Train on a folder's pack, by `recipe.encoder.processes` processes (0: one a GPU).

    Args:
        folder: holds the pack and `recipe.json`, and takes the checkpoint that a killed run resumes from.
        recipe: what `recipe.json` says.
        items: the pack's items.
        log: takes a line of progress now and then.

    Raises:
        TrainingError: training diverged, or a process failed; the message has the last lines that it said.
    """
    processes = recipe.encoder.processes or max(1, torch.cuda.device_count())
    if processes == 1:
        return train(recipe.config(), recipe.encoder, items, folder / CHECKPOINT, log)
    log(f"training in {processes} processes")
    launch(folder, processes, log)
    trained = read_trained(folder / TRAINED)
    (folder / TRAINED).unlink()
    return trained


def launch(folder: Path, processes: int, log: Callable[[str], None]) -> None:
    """Run `edp_assets.science.encoders.train` on the folder under torchrun, on this machine alone.

    Raises:
        TrainingError: it did not end well.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", str(processes)]
    # A port of the loopback interface, free at the moment: several organs may train at once.
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    command += ["-m", "edp_assets.science.encoders.train", str(folder)]
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // processes))
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    said: list[str] = []
    failures: list[str] = []
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None  # noqa: S101
        try:
            for line in process.stdout:
                said = [*said[1 - KEPT_LINES :], line.rstrip()]
                if line.startswith(FAILED) and line.strip() not in failures:
                    failures.append(line.strip())
                if re.search(r"loss|checkpoint|resumed", line):
                    log(line.strip())
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        why = failures or said
        raise TrainingError(f"{processes} training processes ended with code {process.returncode}: " + "\n".join(why))
