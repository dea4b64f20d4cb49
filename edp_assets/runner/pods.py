"""Parts of a stage in pods: each is a Kubernetes Job of the image, volumes and rights that dagster-k8s gives its runs.

The request and what it leaves are files of EDP_HOME, which every pod sees: nothing has to reach a pod. This module is
the pod's program, too: `python -m edp_assets.runner.pods REQUEST`.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import dagster as dg

from edp_assets.runner.execute import StageFailedError
from edp_assets.runner.parts import Part, make
from edp_assets.storage.attempts import Reason
from edp_assets.storage.home import Home, HomeError, replace_text
from edp_assets.storage.lake import Cell

if TYPE_CHECKING:
    from dagster_k8s.client import DagsterKubernetesClient
    from kubernetes.client import V1Job

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
ATTEMPTS = 3
"""Pods that a part gets, one after another, before it counts as one that no pod survives."""


class Pods:
    """Hands parts to pods, so many at once."""

    def __init__(self, home: Home, instance: dg.DagsterInstance, at_once: int) -> None:
        """Take the instance's run launcher for a pattern; the caller has the home's writer lock.

        Raises:
            HomeError: dagster-k8s is not installed, or the instance starts runs otherwise.
        """
        try:
            from dagster_k8s import K8sRunLauncher
            from dagster_k8s.client import DagsterKubernetesClient
        except ImportError:
            raise HomeError("pods need the library dagster-k8s: pip install 'edp_assets[cluster]'") from None
        launcher = instance.run_launcher
        if not isinstance(launcher, K8sRunLauncher):
            raise HomeError(
                f"wanted dagster-k8s's K8sRunLauncher in dagster.yaml, found {type(launcher).__name__}: delete "
                "$EDP_HOME/dagster/dagster.yaml, which is then written as home.toml says"
            )
        self._launcher, self._at_once, self._folder = launcher, at_once, home.root / "parts"
        self._folder.mkdir(exist_ok=True)
        for left in self._folder.iterdir():  # by a run that was killed
            left.unlink(missing_ok=True)
        self._client: DagsterKubernetesClient = DagsterKubernetesClient.production_client()
        self._stopped = Event()

    def __call__(self, parts: Sequence[Part]) -> Iterator[dict[Cell, Reason]]:
        """Yield what each part leaves, as they end; where one fails as a whole, the others' pods are deleted."""
        self._stopped.clear()
        with ThreadPoolExecutor(min(self._at_once, len(parts))) as pool:
            futures = [pool.submit(self._make, part) for part in parts]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                self._stopped.set()
                for future in futures:
                    future.cancel()

    def _make(self, part: Part) -> dict[Cell, Reason]:
        request, answer = self._folder / f"{part.name}.json", self._folder / f"{part.name}.answer.json"
        replace_text(request, json.dumps([str(part.home), part.asset, part.cells, part.name]))
        try:
            for attempt in range(ATTEMPTS):
                self._run(part, request, attempt)
                if answer.exists():
                    return _read(answer)
                if self._stopped.is_set():
                    return {}
                log.warning("%s: the pod of a part died", "/".join(part.asset))
        finally:
            request.unlink(missing_ok=True)
            answer.unlink(missing_ok=True)
        raise StageFailedError(
            f"{'/'.join(part.asset)}: {ATTEMPTS} pods died one after another while they made a part of it, mostly for "
            "want of memory: run again, with more memory in home.toml's [executor.kubernetes]"
        )

    def _run(self, part: Part, request: Path, attempt: int) -> None:
        """Run a pod to its end, whichever that is."""
        name, namespace = f"edp-{part.name}-{attempt}", self._launcher.job_namespace
        self._client.create_namespaced_job_with_retries(self._job(name, part, request), namespace)
        try:
            while not self._stopped.is_set():
                status = self._client.get_job_status(name, namespace)
                if status is None or status.succeeded or status.failed:
                    break
                self._stopped.wait(POLL_SECONDS)
        finally:
            with suppress(Exception):  # it has ended, or is cleared away by its time to live
                self._client.delete_job(name, namespace)

    def _job(self, name: str, part: Part, request: Path) -> V1Job:
        from dagster_k8s.container_context import K8sContainerContext
        from dagster_k8s.job import construct_dagster_k8s_job

        context = K8sContainerContext.create_for_run(
            dg.DagsterRun(job_name="part"), self._launcher, include_run_tags=False
        )
        return construct_dagster_k8s_job(
            job_config=context.get_k8s_job_config(None, self._launcher),
            args=["python", "-m", "edp_assets.runner.pods", str(request)],
            job_name=name,
            component="part",
            user_defined_k8s_config=context.run_k8s_config,
            labels={"edp/asset": "-".join(part.asset)},
        )


def _read(answer: Path) -> dict[Cell, Reason]:
    found: dict[str, Any] = json.loads(answer.read_text())
    if found["error"] is not None:
        raise StageFailedError(found["error"])
    return {tuple((d, key) for d, key in cell): Reason(*why) for cell, *why in found["failed"]}


def main(request: Path) -> None:
    """Make the part that a file asks for, and write down beside it what came of it."""
    home, asset, cells, name = json.loads(request.read_text())
    part = Part(Path(home), tuple(asset), tuple(tuple((d, key) for d, key in cell) for cell in cells), name)
    left: dict[str, Any] = {"error": None, "failed": []}
    try:
        left["failed"] = [[cell, *astuple(why)] for cell, why in make(part).items()]
    except Exception as error:
        left["error"] = f"{error}" or type(error).__name__
    replace_text(request.with_name(f"{name}.answer.json"), json.dumps(left))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(Path(sys.argv[1]))
