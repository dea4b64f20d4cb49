"""Where the cells of a stage are made: in this process, in several of this machine, on Dask's workers, in pods.

home.toml says which. All that differs is who calls `parts.make`; what a part is, and what it leaves, is in `parts`.
"""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import dagster as dg

from edp_assets.assets.stage import Stage
from edp_assets.ending import end_with_parent
from edp_assets.runner.execute import StageFailedError
from edp_assets.runner.parts import Part, make, make_cells, split, unseen
from edp_assets.runner.pods import Pods
from edp_assets.storage.attempts import Reason
from edp_assets.storage.home import HomeError
from edp_assets.storage.lake import Cell
from edp_assets.storage.mirror import mirroring
from edp_assets.storage.workspace import Workspace

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    from distributed import Client

    from edp_assets.storage.home_settings import ExecutorSettings

WAIT_SECONDS = 60
"""How long a run waits for a Dask cluster's first worker."""

PODS = 8
"""How many pods a stage gets at once, where home.toml does not say."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
"""Variables by which libraries are told, when they are imported, how many threads to use."""


class Places(Protocol):
    """Where cells are made."""

    def make(self, stage: Stage, cells: Sequence[Cell]) -> dict[Cell, Reason]:
        """Make cells of a stage, and return those that failed.

        Raises:
            StageFailedError: the stage as a whole failed.
        """


class Here:
    """This process makes all cells; a stage's own threads use the cores."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def make(self, stage: Stage, cells: Sequence[Cell]) -> dict[Cell, Reason]:
        """Make cells of a stage, and return those that failed."""
        return make_cells(self.instance, stage, cells)


class Elsewhere:
    """Other processes make the cells, a part each; this one keeps the warehouse."""

    def __init__(self, workspace: Workspace, places: Callable[[], int], results: Results) -> None:
        """Take what hands parts over.

        Args:
            workspace: the run's.
            places: how many parts can be made at a time.
            results: hands parts over and yields what each leaves, as they end.
        """
        self.workspace, self.places, self.results = workspace, places, results

    def make(self, stage: Stage, cells: Sequence[Cell]) -> dict[Cell, Reason]:
        """Make cells of a stage, and return those that failed."""
        workspace, spec = self.workspace, stage.spec
        parts = [
            Part(workspace.home.root, spec.asset, tuple(some), uuid.uuid4().hex) for some in split(cells, self.places())
        ]
        failed: dict[Cell, Reason] = {}
        with mirroring(workspace.home, workspace.lake, spec.table, spec.asset) as written:
            written.extend(cells)
            for of_part in self.results(parts):
                failed |= of_part
        return failed


Results = Callable[[Sequence[Part]], Iterable[dict[Cell, Reason]]]


class Processes:
    """Processes of this machine for stages of several parts; what is one part, or takes the GPU, this one makes."""

    def __init__(self, here: Here, workspace: Workspace, pool: ProcessPoolExecutor, number: int) -> None:
        self.here, self.pool, self.number = here, pool, number
        self.elsewhere = Elsewhere(workspace, lambda: number, self._results)

    def make(self, stage: Stage, cells: Sequence[Cell]) -> dict[Cell, Reason]:
        """Make cells of a stage, and return those that failed."""
        if len(cells) == 1 or stage.definition.op.pool is not None:
            return self.here.make(stage, cells)
        return self.elsewhere.make(stage, cells)

    def _results(self, parts: Sequence[Part]) -> Iterator[dict[Cell, Reason]]:
        # Processes are started as parts are submitted.
        with _threads(max(1, (os.cpu_count() or 1) // self.number)):
            futures = [self.pool.submit(make, part) for part in parts]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise StageFailedError(
                f"{'/'.join(parts[0].asset)}: a process that made it died, mostly for want of memory: run again, with "
                "a smaller max_concurrent in home.toml's [executor]"
            ) from None
        finally:
            _cancel(futures)


class Kubernetes:
    """Pods make the cells of stages with partitions; what is one piece of the cohort this process makes."""

    def __init__(self, here: Here, workspace: Workspace, instance: dg.DagsterInstance, number: int) -> None:
        self.here, self.elsewhere = here, Elsewhere(workspace, lambda: number, Pods(workspace.home, instance, number))

    def make(self, stage: Stage, cells: Sequence[Cell]) -> dict[Cell, Reason]:
        """Make cells of a stage, and return those that failed."""
        return (self.elsewhere if stage.spec.dimensions else self.here).make(stage, cells)


class Dask:
    """The workers of an existing Dask cluster make all cells."""

    def __init__(self, workspace: Workspace, client: Client) -> None:
        self.client = client
        self.elsewhere = Elsewhere(workspace, self._workers, self._results)

    def make(self, stage: Stage, cells: Sequence[Cell]) -> dict[Cell, Reason]:
        """Make cells of a stage, and return those that failed."""
        return self.elsewhere.make(stage, cells)

    def _workers(self) -> int:
        return max(1, len(self.client.scheduler_info(n_workers=-1)["workers"]))

    def _results(self, parts: Sequence[Part]) -> Iterator[dict[Cell, Reason]]:
        from distributed import KilledWorker
        from distributed import as_completed as completed

        futures = [self.client.submit(make, part, key=f"{'/'.join(part.asset)}-{part.name}") for part in parts]
        try:
            for future in completed(futures, loop=self.client.loop):
                yield future.result()
        except KilledWorker as error:
            raise StageFailedError(
                f"{'/'.join(parts[0].asset)}: one worker after another died while it made a part of it, mostly for "
                f"want of memory: run again, with more memory a worker ({error})"
            ) from None
        finally:
            self.client.cancel([future for future in futures if not future.done()], asynchronous=False)


@contextmanager
def places_of(workspace: Workspace, instance: dg.DagsterInstance) -> Iterator[Places]:
    """Give where home.toml has cells made, for the length of a run.

    Raises:
        HomeError: the cluster cannot be reached, has no worker, or its workers do not see what they need.
    """
    settings, here = workspace.home.settings.executor, Here(instance)
    if settings.kind == "multiprocess":
        with _processes(settings) as (pool, number):
            yield Processes(here, workspace, pool, number)
    elif settings.kind == "dask":
        with _client(settings, workspace) as client:
            yield Dask(workspace, client)
    elif settings.kind == "kubernetes":
        yield Kubernetes(here, workspace, instance, settings.max_concurrent or PODS)
    else:
        yield here


@contextmanager
def _processes(settings: ExecutorSettings) -> Iterator[tuple[ProcessPoolExecutor, int]]:
    """Give a pool of processes, which are started when the first stage needs them and stay for the others."""
    number = settings.max_concurrent or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    queue: Queue[Any] = context.Queue()
    listener = logging.handlers.QueueListener(queue, _Relay())
    with ExitStack() as stack:
        listener.start()
        stack.callback(listener.stop)
        pool = ProcessPoolExecutor(number, context, initializer=_begin, initargs=(queue,))
        stack.enter_context(pool)
        yield pool, number


class _Relay(logging.Handler):
    """Hands lines of another process to this one's logger of the same name."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).handle(record)


def _begin(queue: Queue[Any]) -> None:
    end_with_parent()
    logger = logging.getLogger("edp_assets")
    logger.handlers, logger.propagate = [logging.handlers.QueueHandler(queue)], False
    logger.setLevel(logging.INFO)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Have processes that are started within divide the cores, where the environment does not say otherwise."""
    ours = [name for name in THREADS if name not in os.environ]
    os.environ |= dict.fromkeys(ours, str(number))
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def _cancel(futures: Sequence[Future[Any]]) -> None:
    for future in futures:
        future.cancel()


@contextmanager
def _client(settings: ExecutorSettings, workspace: Workspace) -> Iterator[Client]:
    """Give a client of the cluster, all of whose workers see the home and the cohort."""
    address = settings.scheduler
    try:
        from distributed import Client
    except ImportError:
        raise HomeError(f"{address}: Dask needs the library distributed: pip install 'edp_assets[cluster]'") from None
    try:
        client = Client(address, timeout=WAIT_SECONDS, set_as_default=False)
    except OSError as error:
        raise HomeError(
            f"no Dask scheduler answers at {address} ({error}): start one there (`dask scheduler`), or mend "
            "home.toml's [executor]"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=WAIT_SECONDS)
        except TimeoutError:
            raise HomeError(
                f"the Dask scheduler at {address} has no worker after {WAIT_SECONDS} s: start some "
                f"(`dask worker {address} --nthreads 1`)"
            ) from None
        _require_folders(client, workspace)
        client.forward_logging("edp_assets", level=logging.INFO)
        yield client


def _require_folders(client: Client, workspace: Workspace) -> None:
    lacking = client.run(unseen, workspace.home.root, workspace.cohort.folder)
    told = [f"{worker} does not see {' and '.join(which)}" for worker, which in sorted(lacking.items()) if which]
    if told:
        raise HomeError(
            f"{'; '.join(told[:5])}{' ...' if len(told) > 5 else ''}: workers need both under the same path, EDP_HOME "
            "to write to (a shared file system)"
        )
