"""Data sets of simulated observations on disk: provenance, resuming, several processes.

What the files of one telescope are and how they are written is the part of a `DataFiles`; what is common to
all telescopes stands here.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from faintsky.errors import InputError
from faintsky.system import (
    FolderLock,
    check_space,
    check_writable,
    clear_leftovers,
    one_thread,
    replacing,
    run_tasks,
)
from faintsky.system import versions as installed

Progress = Callable[[int, int, str], None]


class DataFiles(ABC):
    """How the data set of one telescope looks on disk; pickled to worker processes."""

    kind: str
    """Name of the telescope in ``dataset.json``."""
    products: tuple[str, ...]
    """Names of all its products."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Plain values that decide what the files hold."""

    @abstractmethod
    def observatory(self, device: str, report: Callable[[str], None]) -> Any:
        """What simulates, ready to do so."""

    @abstractmethod
    def facts(self, observatory: Any) -> dict[str, Any]:
        """Further entries of ``dataset.json``."""

    @abstractmethod
    def summary(self, observatory: Any) -> dict[str, Any]:
        """What the command prints at its end."""

    @abstractmethod
    def paths(self, folder: Path, index: int) -> dict[str, Path]:
        """Files of one sample by product, the truth last: where it is, the others are."""

    @abstractmethod
    def write_shared(self, folder: Path, observatory: Any, seed: int) -> None:
        """Write the files that all samples share, those that are not there."""

    @abstractmethod
    def write_sample(self, folder: Path, index: int, observatory: Any, seed: int) -> Any:
        """Simulate one sample and write its files."""


def write_dataset(
    out: str | os.PathLike[str],
    n: int,
    files: DataFiles,
    seed: int,
    jobs: int,
    device: str,
    overwrite: bool,
    progress: Progress | None,
    command: str | None = None,
    size: float = 0.0,
) -> dict[str, Any]:
    """Write ``n`` samples into a folder; see `faintsky.simulate_alma` for the arguments.

    Samples that are there already, from an earlier run with the same parameters, are kept. ``size`` is what
    all of them take on disk [bytes]: what does not fit is refused before the work.
    """
    for name, value, low in (("n", n, 1), ("seed", seed, 0), ("jobs", jobs, 1)):
        if int(value) != value or value < low:
            raise InputError(f"{name} {value!r} is not possible", f"give a whole number of at least {low}")
    folder = Path(out)
    report = progress or (lambda done, total, what: None)
    identity = check_folder(folder, files, seed, overwrite)
    check_space(folder, size - _size_of_ours(folder, files))
    with one_thread():
        observatory = files.observatory(device, lambda text: report(0, n, text))
        # nothing is written before the instrument is known to exist
        folder.mkdir(parents=True, exist_ok=True)
        with FolderLock(folder):
            clear_leftovers(folder)
            if overwrite and _recorded(folder) not in (None, identity):
                _clear(folder, files)
            _write_record(
                folder, {**identity, "versions": versions(), "command": command or ""}, files, observatory
            )
            files.write_shared(folder, observatory, seed)
            missing = [i for i in range(n) if not _is_done(files.paths(folder, i))]
            report(n - len(missing), n, "simulating")
            done = n - len(missing)
            for _ in _run(folder, missing, observatory, files, seed, min(jobs, len(missing)), device):
                done += 1
                report(done, n, "simulating")
    return {"out": str(folder), **files.summary(observatory)}


def _identity(files: DataFiles, seed: int) -> dict[str, Any]:
    # through JSON, so that it compares equal to what is read back
    return json.loads(json.dumps({"kind": files.kind, "seed": seed, "parameters": files.parameters()}))


def _recorded(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        return {k: record.get(k) for k in ("kind", "seed", "parameters")}
    except (OSError, ValueError, AttributeError):
        return None


def check_folder(out: str | os.PathLike[str], files: DataFiles, seed: int, overwrite: bool) -> dict[str, Any]:
    """Refuse a folder that cannot or must not be written into; gives what the data set is known by."""
    folder = Path(out)
    identity = _identity(files, seed)
    check_writable(folder)
    if not folder.is_dir() or overwrite or all(p.name.startswith(".") for p in folder.iterdir()):
        return identity
    recorded = _recorded(folder)
    if recorded is None:
        raise InputError("holds files of another kind", "choose another --out or give --overwrite", folder)
    if recorded != identity:
        old, new = recorded.get("parameters") or {}, identity["parameters"]
        changed = [k for k in new if old.get(k) != new[k]] or ["seed"]
        raise InputError(
            f"holds a data set made with another {changed[0]}",
            "choose another --out or give --overwrite",
            folder,
        )
    return identity


def _clear(folder: Path, files: DataFiles) -> None:
    """Remove the files of an earlier data set, and nothing else."""
    for path in (*_ours(folder, files), folder / "dataset.json"):
        path.unlink(missing_ok=True)


def _ours(folder: Path, files: DataFiles) -> Iterator[Path]:
    for product in (*files.products, "truth"):
        for pattern in (*(f"[0-9]*_{product}.{end}" for end in ("fits", "ecsv", "npz")), f"{product}.fits"):
            yield from folder.glob(pattern)


def _size_of_ours(folder: Path, files: DataFiles) -> int:
    """What is there already, to be kept or to be replaced [bytes]."""
    return sum(path.stat().st_size for path in _ours(folder, files))


def versions() -> dict[str, str]:
    """Versions of this package and of what decides its numbers."""
    return installed("faintsky", "numpy", "torch", "astropy", "ducc0")


def _write_record(folder: Path, known: Mapping[str, Any], files: DataFiles, observatory: Any) -> None:
    with replacing(folder / "dataset.json") as name:
        text = json.dumps({**known, **files.facts(observatory)}, indent=1)
        name.write_text(text + "\n", encoding="utf-8")


def _is_done(paths: Mapping[str, Path]) -> bool:
    return all(path.is_file() for path in paths.values())


def _run(
    folder: Path,
    missing: list[int],
    observatory: Any,
    files: DataFiles,
    seed: int,
    jobs: int,
    device: str,
) -> Iterator[int]:
    global _worker
    _worker = files, observatory
    work = partial(_work, folder, seed)
    for index, _ in run_tasks(work, missing, jobs, partial(_start_worker, files, device)):
        yield index


_worker: tuple[DataFiles, Any] | None = None


def _start_worker(files: DataFiles, device: str) -> None:
    global _worker
    _worker = files, files.observatory(device, lambda text: None)


def _work(folder: Path, seed: int, index: int) -> None:
    assert _worker is not None
    files, observatory = _worker
    files.write_sample(folder, index, observatory, seed)
