"""Methods over cubes: in parallel processes, a catalogue file for each, resumed where it stopped."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faintsky.catalog import make_table
from faintsky.cutouts import integrated
from faintsky.errors import DiskError, FaintskyError, InputError
from faintsky.evaluation.boxes import own_or_ruled_boxes
from faintsky.evaluation.cubes import CubeSet
from faintsky.evaluation.pictures import dssim, true_image
from faintsky.evaluation.stages import Stopwatch, forget_peak, peak_memory, processor_seconds
from faintsky.evaluation.truth import box_sums, prepared_truth, setting_for, setting_of
from faintsky.system import replacing, run_tasks

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.image import RadioCube

Find = Callable[["RadioCube"], Any]
"""Cube to catalogue, or to an object that has it as ``catalog`` and may have an ``image`` of the sky."""
Progress = Callable[[int, int, str], None]

TRUTH = "truth"
"""Folder of the true sources, beside those of the methods."""
EXAMPLES = 3
"""Cubes of each set of which the images are kept, for the figure of examples."""
KEPT = ("steps", "removed", "stages", "own_boxes")
"""What a method says of its run in its catalogue's metadata, for the funnel, the times and the boxes."""


@dataclass(frozen=True)
class Method:
    """Something that finds sources in a cube.

    Parameters
    ----------
    name : str
        Used in tables and for folders.
    find : callable
        See `Find`; must be picklable where there are several processes.
    most : int, optional
        Only the first so many cubes of a set.
    sets : tuple of str, optional
        Names of the sets that it can see, where not of all.
    """

    name: str
    find: Find
    most: int | None = None
    sets: tuple[str, ...] | None = None

    def sees(self, cubes: CubeSet) -> bool:
        """Whether it is run on a set."""
        return self.sets is None or cubes.name in self.sets

    @property
    def folder(self) -> str:
        """Its name as a file system can hold it."""
        return re.sub(r"[^\w.+@-]+", "_", self.name).strip("_") or "method"


def find_with_model(cube: RadioCube, model: str, device: str, reliability: float | None = None) -> Any:
    """What ``faintsky detect --model MODEL`` finds, at its own reliability threshold by default."""
    from faintsky.detection import find_catalog

    watch = Stopwatch()
    found = find_catalog(cube, model, device=device, reliability=reliability, progress=watch)
    meta = found.catalog.meta
    meta.setdefault("steps", dict(getattr(found, "steps", {})))
    meta.setdefault("stages", {k: [s, watch.memory[k], watch.cpu[k]] for k, s in watch.seconds.items()})
    return found


def method_of(
    model: str,
    device: str = "cpu",
    reliability: float | None = None,
    most: int | None = None,
    sets: tuple[str, ...] | None = None,
) -> Method:
    """A model by name or folder; with a reliability threshold of its own it is called ``MODEL@THRESHOLD``."""
    name = Path(model).name if os.sep in model else model
    label = name if reliability is None else f"{name}@{reliability:g}"
    find = partial(find_with_model, model=model, device=device, reliability=reliability)
    return Method(label, find, most, sets)


def catalog_path(out: Path, method: str, cubes: str, index: int) -> Path:
    """Where the catalogue of one cube lies."""
    return out / "catalogs" / method / cubes / f"{index:04d}.ecsv"


def example_path(out: Path, method: str, cubes: str, index: int) -> Path:
    """Where the image lies that a method, or of the truth the dirty cube, makes of the integrated sky."""
    return catalog_path(out, method, cubes, index).with_suffix(".npy")


def _keep_image(image: Any, path: Path) -> None:
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as name:
        np.save(name, np.asarray(image, dtype=np.float32))


def write_table(table: Table, path: Path) -> None:
    """Write one ECSV file in one step, its columns as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as name:
        table.write(name, format="ascii.ecsv", delimiter=",")


def read_table(path: Path) -> Table:
    """Read what `write_table` wrote."""
    from astropy.table import Table

    return Table.read(path, format="ascii.ecsv")


@dataclass(frozen=True)
class Task:
    """One cube and the methods that still have to see it."""

    cubes: CubeSet
    index: int
    out: str
    methods: tuple[Method, ...]
    box_rule: str | None = None
    example: bool = False


def run_task(task: Task) -> None:
    """Load one cube, write its truth with everything the evaluation needs, and every method's catalogue."""
    out = Path(task.out)
    cube, truth = task.cubes.load(task.index)
    truth_path = catalog_path(out, TRUTH, task.cubes.name, task.index)
    if truth_path.is_file():
        true = read_table(truth_path)
    else:
        true = prepared_truth(truth, cube, setting_for(cube, truth, task.box_rule))
    dirty = cube.data  # reading the file is not the method's time
    for method in task.methods:
        forget_peak()
        start = time.perf_counter(), processor_seconds()
        found = _found(method, cube)
        spent = {"seconds": time.perf_counter() - start[0], "cpu_seconds": processor_seconds() - start[1]}
        table = _slim(getattr(found, "catalog", found), method, spent)
        setting = setting_of(true.meta)
        table["paper_sum"] = box_sums(own_or_ruled_boxes(table, setting), cube)
        image = getattr(found, "image", None)
        if image is not None and len(true):
            table.meta["dssim"] = dssim(true_image(true, setting), image)
        if image is not None and task.example:
            _keep_image(image, example_path(out, method.folder, task.cubes.name, task.index))
        write_table(table, catalog_path(out, method.folder, task.cubes.name, task.index))
    # last: where no method gets through, nothing is left that another evaluation would have to respect
    if task.example:
        _keep_image(integrated(dirty), example_path(out, TRUTH, task.cubes.name, task.index))
    if not truth_path.is_file():
        write_table(true, truth_path)


def _found(method: Method, cube: RadioCube) -> Any:
    """What a method finds; one that fails on a cube has found nothing there, and the funnel counts it."""
    try:
        return method.find(cube)
    except (InputError, DiskError):
        raise
    except FaintskyError as error:
        return make_table({}, meta={"steps": {f"failed: {error}": 1}})


def _slim(catalog: Table, method: Method, spent: dict[str, float]) -> Table:
    """A copy whose metadata hold only what the evaluation reads."""
    table = catalog.copy()
    kept: dict[str, Any] = {name: catalog.meta[name] for name in KEPT if catalog.meta.get(name)}
    stages = kept.get("stages", {}).values()
    memory = max([peak_memory(), *(v[1] for v in stages if isinstance(v, list))])
    # the file would sort a mapping by its keys, and the order of the steps is theirs
    kept |= {
        name: [list(item) for item in kept[name].items()] for name in ("steps", "stages") if name in kept
    }
    table.meta = {**spent, "memory_mb": memory, "method": method.name, **kept}
    return table


def pending(
    sets: Sequence[CubeSet], methods: Sequence[Method], out: Path, box_rule: str | None = None
) -> list[Task]:
    """The cubes that lack a file, each with the methods it lacks.

    Raises
    ------
    InputError
        Two methods, or two sets, share a name.
    """
    for what, names in (("methods", [TRUTH, *(m.folder for m in methods)]), ("sets", [s.name for s in sets])):
        if len(set(names)) < len(names):
            raise InputError(f"two {what} share a name: {', '.join(names)}", "rename one")
    tasks = []
    for cubes in sets:
        for place, index in enumerate(cubes.indices):
            missing = tuple(
                m
                for m in methods
                if m.sees(cubes)
                and (m.most is None or place < m.most)
                and not catalog_path(out, m.folder, cubes.name, index).is_file()
            )
            if missing or not catalog_path(out, TRUTH, cubes.name, index).is_file():
                tasks.append(Task(cubes, index, str(out), missing, box_rule, place < EXAMPLES))
    return tasks


def run_methods(
    sets: Sequence[CubeSet],
    methods: Sequence[Method],
    out: Path,
    *,
    jobs: int = 1,
    box_rule: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Run every method on every cube that it has not seen, and leave the catalogues under ``out/catalogs``.

    Parameters
    ----------
    sets : sequence of CubeSet
        What to look at.
    methods : sequence of Method
        What to look with.
    out : pathlib.Path
        Folder of the evaluation.
    jobs : int, optional
        Processes, each with one thread.
    box_rule : str, optional
        Overrides the data set's.
    progress : callable, optional
        Called with cubes done, cubes in all and a word.

    Raises
    ------
    FaintskyError
        What a method or a reader raises; the catalogues written until then are kept and the next run
        goes on from there.
    """
    tasks = pending(sets, methods, out, box_rule)
    if progress is not None and tasks:
        progress(0, len(tasks), "cubes")
    for done, _ in enumerate(run_tasks(run_task, tasks, jobs), start=1):
        if progress is not None:
            progress(done, len(tasks), "cubes")
