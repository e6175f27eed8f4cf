"""Work spread by Dask over local processes, a SLURM cluster, or the workers of a running scheduler."""

import logging
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import spawn
from typing import Any, Self, TypeVar

from faintsky.errors import FaintskyError, InputError
from faintsky.system.processes import THREADS, may_start_workers

Task = TypeVar("Task")
Result = TypeVar("Result")

LOCAL = "local"
"""Cluster of this machine's processes."""
SLURM = "slurm"
"""Cluster of SLURM's jobs."""
DEATHS = 3
"""Worker deaths after which a task counts as failed."""
MEMORY = "4GB"
"""Memory of a SLURM job, unless the user's Dask configuration sets it."""
PATIENCE = "20s"
"""Time allowed for a scheduler to answer."""
PROFILE = "distributed.worker.profile.enabled"
"""Dask's profile of its workers: where Python does the work, it takes a quarter of the time."""
_ready: set[str] = set()


def run_tasks(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    jobs: int,
    prepare: Callable[[], None] | None = None,
    *,
    cluster: str = LOCAL,
) -> Iterator[tuple[Task, Result]]:
    """Work on tasks in workers of one thread each, and yield every task with its result as it is done.

    A worker that dies is replaced, and its task is done again. If the caller fails or is interrupted, the
    remaining tasks are not started.

    Parameters
    ----------
    work : callable
        Takes a task. It must be picklable, like ``prepare``, tasks and results.
    tasks : sequence
        What to work on.
    jobs : int
        Most workers; local work with one worker or one task is done in this process.
    prepare : callable, optional
        Called once in every worker before its tasks, but not in this process.
    cluster : str
        ``local``; ``slurm``: jobs of the queue, as the user's Dask configuration (``jobqueue.slurm``) has
        them; or a scheduler's address, ``tcp://host:port``, whose workers have faintsky and see the same
        files.

    Yields
    ------
    task, result
        In the order in which tasks are finished.

    Raises
    ------
    InputError
        If there is no such cluster.
    FaintskyError
        If a task has ended several workers.
    """
    with Workers(jobs, cluster) as workers:
        for number, result in workers.run(work, tasks, prepare):
            yield tasks[number], result


class Workers:
    """Workers for several rounds of tasks, started when first needed.

    Parameters
    ----------
    jobs : int
        Most workers.
    cluster : str, optional
        ``local``, ``slurm``, or a scheduler's address.
    """

    def __init__(self, jobs: int, cluster: str = LOCAL) -> None:
        self.jobs, self.cluster = jobs, cluster
        self._stack, self._client = ExitStack(), None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.close()

    def run(
        self, work: Callable[[Task], Result], tasks: Sequence[Task], prepare: Callable[[], None] | None = None
    ) -> Iterator[tuple[int, Result]]:
        """Work on tasks, and yield the number of every task with its result as it is done.

        Parameters
        ----------
        work, tasks, prepare
            As for `run_tasks`.

        Yields
        ------
        number, result
            In the order in which tasks are finished.
        """
        local = self._client is None and self.cluster == LOCAL
        if local and (self.jobs <= 1 or len(tasks) < 2 or not may_start_workers()):
            for number, task in enumerate(tasks):
                yield number, work(task)
            return
        from distributed import KilledWorker, as_completed

        if self._client is None:
            self._client = self._stack.enter_context(_client(self.cluster, min(self.jobs, len(tasks))))
        client: Any = self._client
        one = partial(_do, uuid.uuid4().hex, prepare, work)
        futures = {client.submit(one, task, pure=False): number for number, task in enumerate(tasks)}
        try:
            for future in as_completed(list(futures), loop=client.loop):
                number = futures.pop(future)
                yield number, future.result()
        except KilledWorker as error:
            fault = f"a task has ended its worker {DEATHS} times, perhaps for lack of memory"
            raise FaintskyError(fault) from error
        finally:
            client.cancel(list(futures))

    def results(
        self, work: Callable[[Task], Result], tasks: Sequence[Task], done: Callable[[], None] | None = None
    ) -> list[Result]:
        """Results of tasks, in their order.

        Parameters
        ----------
        work, tasks
            As for `run_tasks`.
        done : callable, optional
            Called after each task.

        Returns
        -------
        list
        """
        out: dict[int, Result] = {}
        for number, result in self.run(work, tasks):
            out[number] = result
            if done is not None:
                done()
        return [out[k] for k in range(len(tasks))]


def _do(run: str, prepare: Callable[[], None] | None, work: Callable[[Task], Result], task: Task) -> Result:
    """Do a task in a worker; the first task of a run prepares the worker."""
    from threadpoolctl import threadpool_limits

    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    with threadpool_limits(1):
        if run not in _ready:
            _ready.clear()
            if prepare is not None:
                prepare()
            _ready.add(run)
        return work(task)


@contextmanager
def _without_main() -> Iterator[None]:
    """Within the block, new processes do not import the user's script, which would begin it once more."""
    prepare = spawn.get_preparation_data

    def without(name: str) -> dict[str, object]:
        return {k: v for k, v in prepare(name).items() if not k.startswith("init_main")}

    spawn.get_preparation_data = without
    try:
        yield
    finally:
        spawn.get_preparation_data = prepare


@contextmanager
def _client(cluster: str, workers: int) -> Iterator[Any]:
    """A connection to a cluster; one that was started here ends with it."""
    import dask
    from distributed import Client, LocalCluster

    quiet = {
        "distributed.scheduler.allowed-failures": DEATHS - 1,
        "distributed.comm.timeouts.connect": PATIENCE,
        PROFILE: False,
    }
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(quiet))
        if cluster == LOCAL:
            one_thread = dict.fromkeys(THREADS, "1")
            stack.enter_context(_without_main())
            made: Any = LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, memory_limit=None,
                dashboard_address=":0", silence_logs=logging.CRITICAL, env=os.environ | one_thread,
            )  # fmt: skip
            stack.enter_context(made)
        elif cluster == SLURM:
            made = stack.enter_context(_slurm())
            made.scale(workers)
        elif "://" in cluster:
            made = cluster
        else:
            raise InputError(f"no cluster {cluster!r}", "give local, slurm, or an address tcp://host:port")
        try:
            yield stack.enter_context(Client(made, timeout=PATIENCE, set_as_default=False))
        except OSError as error:
            if made is cluster:
                raise InputError(f"no scheduler answers at {cluster}", "check --cluster") from error
            raise


def _slurm() -> Any:
    """Jobs of a SLURM queue."""
    import dask

    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise InputError("dask-jobqueue is not installed", "install faintsky[slurm]") from error
    said = dask.config.get("jobqueue.slurm", {}) or {}
    given: dict[str, Any] = {"cores": 1, "processes": 1, "memory": MEMORY, "python": sys.executable}
    given["job_script_prologue"] = [f"export DASK_{PROFILE.upper().replace('.', '__')}=False"]
    return SLURMCluster(**{k: v for k, v in given.items() if not said.get(k)})
