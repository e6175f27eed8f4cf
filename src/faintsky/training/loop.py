"""The training loop: PyTorch Lightning around a task.

A task defines what is learned: it holds the network, draws batches, and computes the loss. The loop does the
rest: Adam with warm-up and a cosine decay, an exponential moving average of the weights (which is validated
and kept), early stopping, half precision where the device is fast at it, and checkpoints from which a stopped
run continues. Batch *i* of a run depends only on (seed, i), whatever the number of workers.

Stored examples can be used in epochs, with Adam at a constant rate after the warm-up, weights without
average, and the stopping rule of Delli Veneri et al. (2022), Section 4.5.
"""

import json
import logging
import math
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from faintsky.arrays import Int
from faintsky.errors import InputError
from faintsky.options import Progress
from faintsky.system import Settings, choose_device, may_start_workers, replacing, write_text

Batch = dict[str, Tensor]
SRUN = ".*srun"
"""A warning that Lightning gives wherever SLURM is installed, which does not matter for one process."""
CHECKPOINT = "last.ckpt"
"""File from which a run resumes."""
HISTORY = "history.json"
"""File of the losses and scores of each validation."""


class Task(Protocol):
    """A task for `fit`."""

    network: nn.Module

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Draw examples.

        Parameters
        ----------
        rng : numpy.random.Generator
            The only source of chance.
        size : int
            How many.

        Returns
        -------
        dict of str to torch.Tensor
            On the CPU, ``[size, ...]`` each.
        """
        ...

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The loss to be minimised.

        Parameters
        ----------
        network : torch.nn.Module
            In training mode.
        batch : dict of str to torch.Tensor
            From `batch`, on the network's device.

        Returns
        -------
        torch.Tensor
            A scalar.
        """
        ...

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Scores on data that are never used for training.

        Parameters
        ----------
        network : torch.nn.Module
            In evaluation mode.

        Returns
        -------
        dict of str to float
            Scores; early stopping uses ``loss``.
        """
        ...


class EpochTask(Task, Protocol):
    """A task on stored examples: every epoch sees each of them once."""

    examples: int

    def take(self, rng: np.random.Generator, pick: Int) -> Batch:
        """Take examples.

        Parameters
        ----------
        rng : numpy.random.Generator
            For random augmentation.
        pick : array of int
            Their numbers, ``[size]``.

        Returns
        -------
        dict of str to torch.Tensor
            On the CPU, ``[size, ...]`` each. `fit` adds ``done``, the share of the epochs.
        """
        ...

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Draw examples at random.

        Parameters
        ----------
        rng : numpy.random.Generator
            The only source of chance.
        size : int
            Number of examples.

        Returns
        -------
        dict of str to torch.Tensor
            See `Task.batch`.
        """
        return self.take(rng, rng.integers(self.examples, size=size))


class Schedule(Settings):
    """Length and pace of a training.

    Parameters
    ----------
    steps : int
        Total number of batches.
    batch_size : int
        Examples in each batch.
    learning_rate : float
        At the end of the warm-up.
    warmup : int
        Steps of the linear increase.
    validate_every : int
        Steps between validations.
    patience : int
        Validations without improvement after which training stops.
    decay : float
        Of the moving average of the weights; 0 for none.
    seed : int
        Of weights and data.
    workers : int
        Processes that draw batches; 0 draws them in the training process.
    epochs : int
        If not 0, ``steps`` is the number of batches in this many passes over an `EpochTask`'s examples
        (without an incomplete last batch), and a validation follows each pass.
    rate : str
        After the warm-up: ``cosine`` falls to a hundredth, ``constant`` does not change.
    adam : str
        ``adamw``, or ``adam`` with the weight decay in the gradient.
    weight_decay : float
        Of Adam.
    clip : float
        Largest norm of the gradient; 0 for no limit.
    window : int
        If not 0, a validation without improvement is one not below the mean of the last `window` ones, and
        `patience` of these in a row end the training; otherwise it is one that is not the best of all.
    keep_every : int
        Validations between checkpoints.
    half : bool
        Half precision where the device is fast at it.
    compiled : bool
        Compile the network first, which takes a minute and needs a C++ compiler; on a CPU a step of narrow
        convolutions then takes two thirds of the time.
    devices : int
        Processes with one device each (GPU or CPU core) that share every batch, by Lightning's DDP. Stored
        examples are divided among them; simulated ones are drawn by each process.
    nodes : int
        Machines with this number of devices each; with several, SLURM's ``srun`` starts the processes.
    """

    steps: int = Field(20_000, ge=1)
    batch_size: int = Field(8, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup: int = Field(200, ge=0)
    validate_every: int = Field(500, ge=1)
    patience: int = Field(20, ge=1)
    decay: float = Field(0.998, ge=0, lt=1)
    seed: int = Field(0, ge=0)
    workers: int = Field(1, ge=0)
    epochs: int = Field(0, ge=0)
    rate: Literal["cosine", "constant"] = "cosine"
    adam: Literal["adam", "adamw"] = "adamw"
    weight_decay: float = Field(1e-4, ge=0)
    clip: float = Field(1.0, ge=0)
    window: int = Field(0, ge=0)
    keep_every: int = Field(1, ge=1)
    half: bool = True
    compiled: bool = False
    devices: int = Field(1, ge=1)
    nodes: int = Field(1, ge=1)


class _Stream(IterableDataset):
    """Batches from ``first`` on; worker w of n draws every n-th. Each epoch has its own random order.

    Each batch holds the share of process ``rank`` of ``world``.
    """

    def __init__(self, task: Task, schedule: Schedule, first: int, rank: int = 0, world: int = 1) -> None:
        self.task, self.schedule, self.first = task, schedule, first
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[Batch]:
        info, s = get_worker_info(), self.schedule
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        of, order = -1, np.zeros(0, dtype=np.int64)
        for i in range(self.first + start, s.steps, step):
            rng = np.random.default_rng([_TRAIN, s.seed, i, *([self.rank] if self.rank else [])])
            if not s.epochs:
                done = torch.tensor(i / max(s.steps - 1, 1))
                yield {**self.task.batch(rng, s.batch_size // self.world), "done": done}
                continue
            task = cast(EpochTask, self.task)
            epoch, at = divmod(i, s.validate_every)
            if epoch != of:
                of, order = epoch, np.random.default_rng([_ORDER, s.seed, epoch]).permutation(task.examples)
            pick = order[at * s.batch_size : (at + 1) * s.batch_size][self.rank :: self.world]
            yield {**task.take(rng, pick), "done": torch.tensor(epoch / max(s.epochs - 1, 1))}


def process_rank(schedule: Schedule) -> int:
    """Number of this process among those that share a training; the first, 0, writes files.

    Parameters
    ----------
    schedule : Schedule
        Of the training.
    """
    if schedule.devices * schedule.nodes == 1:
        return 0
    slurm = int(os.environ.get("SLURM_NTASKS", 1)) > 1
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID" if slurm else "LOCAL_RANK", 0)))


# words in the seeds keep training, validation and test data apart
_TRAIN = int.from_bytes(b"train", "big") % 2**32
_ORDER = int.from_bytes(b"order", "big") % 2**32
VALIDATION = int.from_bytes(b"valid", "big") % 2**32


def fit(
    task: Task,
    out: Path,
    schedule: Schedule,
    *,
    device: str = "auto",
    progress: Progress | None = None,
    watch: Callable[[Mapping[str, float]], None] | None = None,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train, or continue a stopped run in ``out``.

    Parameters
    ----------
    task : Task
        Its ``network`` holds the initial weights.
    out : pathlib.Path
        Folder for the checkpoint and ``history.json``.
    schedule : Schedule
        Length and pace.
    device : str, optional
        ``"auto"``, or a torch device.
    progress : callable, optional
        Called with steps done, steps in all, and a word.
    watch : callable, optional
        Called with each new entry of the history; an exception ends the training.

    Returns
    -------
    network : torch.nn.Module
        With the averaged weights of the best validation.
    history : list of dict
        For every validation ``step``, ``epoch`` (if used), ``train`` (mean loss since the last one) and the
        scores.

    Raises
    ------
    InputError
        Without the extra ``train``, or where a batch cannot be shared by all processes.
    """
    pl, processes = _lightning(), schedule.devices * schedule.nodes
    if schedule.batch_size % processes:
        raise InputError(
            f"a batch of {schedule.batch_size} cannot be shared by {processes} processes",
            f"give --set batch_size={processes * -(-schedule.batch_size // processes)}",
        )
    name = choose_device(device)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(schedule.seed)
    if schedule.epochs:
        each = max(1, cast(EpochTask, task).examples // schedule.batch_size)
        schedule = schedule.model_copy(update={"steps": each * schedule.epochs, "validate_every": each})
    loop = _loop(pl, task, schedule, out, progress, watch)
    checkpoint = out / CHECKPOINT
    state = torch.load(checkpoint, map_location="cpu", weights_only=True) if checkpoint.is_file() else None
    first = loop.first = 0 if state is None else int(state["global_step"])
    if state is not None:
        loop.on_load_checkpoint(state)
    parts = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    with warnings.catch_warnings():
        # hints about worker numbers and the loader's length, which a stream does not have
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", message=SRUN)
        trainer = pl.Trainer(
            max_steps=schedule.steps,
            max_epochs=-1,
            accelerator="gpu" if name.startswith("cuda") else "cpu",
            devices=schedule.devices,
            num_nodes=schedule.nodes,
            # a loss may not depend on all weights
            strategy="ddp_find_unused_parameters_true" if processes > 1 else "auto",
            precision="bf16-mixed" if schedule.half and _half_is_fast(name) else "32-true",
            gradient_clip_val=schedule.clip or None,
            use_distributed_sampler=False,
            **dict.fromkeys(parts, False),
        )
        if first < schedule.steps and not loop.finished:
            with _interruptible(trainer):
                trainer.fit(loop, ckpt_path=str(checkpoint) if state is not None else None)
    best = task.network
    best.load_state_dict(loop.best)
    return best.eval(), loop.history


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _half_is_fast(device: str) -> bool:
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and "avx512_bf16" in flags.read_text()


def _loop(
    pl: Any,
    task: Task,
    schedule: Schedule,
    out: Path,
    progress: Callable[..., None] | None,
    watch: Callable[..., None] | None,
) -> Any:
    """The Lightning module; built here because Lightning is an extra."""
    # not an attribute of the module, which would store all weights twice
    trained = cast(nn.Module, torch.compile(task.network)) if schedule.compiled else task.network

    class Loop(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = task.network
            self.average = None
            if schedule.decay > 0:
                self.average = torch.optim.swa_utils.AveragedModel(
                    task.network, multi_avg_fn=_warm_average(schedule.decay), use_buffers=True
                )
                self.average.requires_grad_(False)
            self.history: list[dict[str, float]] = []
            self.best = {k: v.detach().clone() for k, v in task.network.state_dict().items()}
            self.losses: list[float] = []
            self.finished, self.first = False, 0

        def train_dataloader(self) -> Any:
            share = self.trainer.global_rank, self.trainer.world_size
            return DataLoader(
                _Stream(task, schedule, self.first, *share), batch_size=None, worker_init_fn=_one_thread,
                num_workers=schedule.workers if may_start_workers() else 0, persistent_workers=False,
            )  # fmt: skip

        def training_step(self, batch: Batch, _: int) -> Tensor:
            return task.loss(trained, batch)

        def configure_optimizers(self) -> Any:
            kind = torch.optim.Adam if schedule.adam == "adam" else torch.optim.AdamW
            optimiser = kind(
                self.network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay,
                # the fused optimiser makes one pass over the weights; Lightning cannot clip before it
                fused=True if schedule.clip == 0 else None,
            )  # fmt: skip
            rate = torch.optim.lr_scheduler.LambdaLR(optimiser, _rate(schedule))
            return {"optimizer": optimiser, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

        def on_train_batch_end(self, outputs: Any, batch: Batch, _: int) -> None:
            if self.average is not None:
                self.average.update_parameters(self.network)
            self.losses.append(float(outputs["loss"]))
            step = self.global_step
            if progress is not None and step % 10 == 0 and self.trainer.is_global_zero:
                where = f"epoch {(step - 1) // schedule.validate_every + 1}, " if schedule.epochs else ""
                word = f"training ({where}loss {np.mean(self.losses[-200:]):.4f})"
                progress(step, schedule.steps, word)
            if step % schedule.validate_every == 0 or step == schedule.steps:
                self._validate(step)

        def _validate(self, step: int) -> None:
            network = (self.network if self.average is None else self.average.module).eval()
            half = self.trainer.precision_plugin.forward_context() if schedule.epochs else nullcontext()
            with torch.no_grad(), half:
                scores = task.validate(network)
            network.train()
            epoch = {"epoch": step // schedule.validate_every} if schedule.epochs else {}
            self.history.append({"step": step, **epoch, "train": float(np.mean(self.losses)), **scores})
            self.losses = []
            values = [h["loss"] for h in self.history]
            if scores["loss"] <= min(values):
                self.best = {k: v.detach().clone().cpu() for k, v in network.state_dict().items()}
            self.finished = stalled(values, schedule.patience, schedule.window)
            self.trainer.should_stop = self.finished
            last = self.finished or step == schedule.steps
            if last or len(self.history) % schedule.keep_every == 0:
                self._keep()
            if not self.trainer.is_global_zero:
                return
            write_text(out / HISTORY, json.dumps(self.history, indent=1) + "\n")
            if watch is not None:
                watch(self.history[-1])

        def _keep(self) -> None:
            """All processes save together, and the first one writes."""
            if not self.trainer.is_global_zero:
                self.trainer.save_checkpoint(out / CHECKPOINT)
                return
            with replacing(out / CHECKPOINT) as file:
                self.trainer.save_checkpoint(file)

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["faintsky"] = {
                "best": self.best, "history": json.dumps(self.history), "finished": self.finished,
            }  # fmt: skip

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            kept = checkpoint["faintsky"]
            self.best, self.finished = kept["best"], kept["finished"]
            self.history = json.loads(kept["history"])

    return Loop()


def stalled(values: Sequence[float], patience: int, window: int = 0) -> bool:
    """Whether validation losses have stopped falling.

    Parameters
    ----------
    values : sequence of float
        Of all validations so far.
    patience, window : int
        See `Schedule`.
    """
    if not window:
        return len(values) - 1 - int(np.argmin(values)) >= patience
    recent = range(max(len(values) - patience, 1), len(values))
    gains = [values[i] < np.mean(values[max(i - window, 0) : i]) for i in recent]
    return len(gains) == patience and not any(gains)


def _warm_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Moving average whose length grows with the steps, up to ``1 / (1 - decay)``."""

    def update(average: Any, current: Any, taken: Tensor) -> None:
        share = 1 - min(decay, (1 + float(taken)) / (10 + float(taken)))
        for a, c in zip(average, current, strict=True):
            if a.is_floating_point():
                a.lerp_(c.to(a.dtype), share)
            else:  # the number of batches that a batch normalisation has seen
                a.copy_(c)

    return update


def _rate(schedule: Schedule) -> Callable[[int], float]:
    """Linear warm-up, then half a cosine down to 1 %, or a constant."""

    def rate(step: int) -> float:
        if step < schedule.warmup:
            return (step + 1) / schedule.warmup
        if schedule.rate == "constant":
            return 1.0
        part = (step - schedule.warmup) / max(schedule.steps - schedule.warmup, 1)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(part, 1.0)))

    return rate


def _lightning() -> Any:
    """The package Lightning, its messages turned off.

    Raises
    ------
    InputError
        Where it is missing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import pytorch_lightning as pl
        except ImportError as error:
            raise InputError("training needs the extra 'train'", "pip install 'faintsky[train]'") from error
    for word in ("pytorch_lightning", "lightning.pytorch", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(word).setLevel(logging.ERROR)
    return pl


@contextmanager
def _interruptible(trainer: Any) -> Iterator[None]:
    """Pass on Ctrl-C: Lightning turns it into an exit with status 1, some versions into a silent end."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, before)  # Lightning leaves it without effect
            raise end.__context__ from None
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt
