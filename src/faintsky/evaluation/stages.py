"""Time and peak memory of a method, and of each of its stages."""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Let the peak of this process's memory begin anew from what it holds now, where the system can."""
    with suppress(OSError):
        _RESET.write_text("5")


def peak_memory() -> float:
    """Most memory that this process held since `forget_peak` [MB]; since its start where that cannot be."""
    with suppress(OSError, StopIteration):
        line = next(x for x in _STATUS.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def processor_seconds() -> float:
    """Processor time of this process, and of the programs that it has run and that have ended [s]."""
    return sum(os.times()[:4])


@dataclass
class Stopwatch:
    """A ``progress`` function that keeps the time and the peak memory of each word's stage.

    Attributes
    ----------
    seconds : dict of str to float
        By stage, in order; a word that comes again adds to its stage.
    cpu : dict of str to float
        Processor seconds of all threads: what is left of the time on a machine with other work.
    memory : dict of str to float
        Most memory that the process held in the stage [MB].
    """

    seconds: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    _word: str = ""
    _start: tuple[float, float] = (0.0, 0.0)

    def __call__(self, done: int, total: int, word: str) -> None:
        """A stage begins, or with ``done == total`` the last one ends; brackets hold details of a stage."""
        stage = "" if done >= total else word.partition(" (")[0]
        if stage and stage == self._word:
            return
        self._close()
        self._word = stage
        forget_peak()
        self._start = (time.perf_counter(), processor_seconds())

    def _close(self) -> None:
        if self._word:
            now = (time.perf_counter(), processor_seconds())
            for kept, start, end in zip((self.seconds, self.cpu), self._start, now):
                kept[self._word] = kept.get(self._word, 0.0) + end - start
            self.memory[self._word] = max(self.memory.get(self._word, 0.0), peak_memory())
