"""The cosmic webs that fields are drawn from: made once for each split of the data and cached, or given."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from faintsky.errors import InputError
from faintsky.simulating.build import cache_folder
from faintsky.sky.web.boxes import WebBox, load_box, make_box, save_box
from faintsky.sky.web.skies import Web

SPLITS = {"train": (2, 100), "validation": (1, 200), "test": (1, 300)}
"""How many realisations of each kind a split has, and the seed of its first: no two splits share one."""
SIZE, GROUP_BOX, CLUSTER_BOX, CLUSTER_MASS = 256, 25.0, 50.0, 1e15
"""Cells a side; sides [Mpc]; the cluster's mass [solar masses]."""


def wanted_boxes(split: str, kind: str | None = None) -> list[WebBox]:
    """Realisations of a split, not yet made.

    Parameters
    ----------
    split : str
        Of `SPLITS`.
    kind : str, optional
        ``sky1`` (massive clusters) or ``sky2`` (groups); both where not given.
    """
    count, first = SPLITS[split]
    groups = [WebBox(SIZE, GROUP_BOX, first + i) for i in range(count)]
    clusters = [WebBox(SIZE, CLUSTER_BOX, first + 50 + i, CLUSTER_MASS) for i in range(count)]
    return {"sky1": clusters, "sky2": groups}.get(kind or "", groups + clusters)


def check_web(where: str | os.PathLike[str]) -> str:
    """What a record says of a web: the split's name, or a hash of the given files.

    Raises
    ------
    InputError
        Where it is neither a split nor files of webs.
    """
    if str(where) in SPLITS:
        return str(where)
    digest = hashlib.sha256()
    for path in _files(where):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def open_web(
    where: str | os.PathLike[str],
    kind: str | None = None,
    progress: Callable[[str], None] | None = None,
    device: str = "cpu",
) -> Web:
    """The web of a split, made and cached where it is not there, or that of the given files.

    Parameters
    ----------
    where : str or path-like
        ``train``, ``validation``, ``test``, an ``.npz`` file, or a folder of them.
    kind : str, optional
        As for `wanted_boxes`.
    progress : callable, optional
        Called with a line when something takes long.
    device : str, optional
        What makes a web that is not there.

    Raises
    ------
    InputError
        For files that are no webs, and where colossus is missing to make one.
    """
    if str(where) not in SPLITS:
        return Web(tuple(load_box(path) for path in _files(where)))
    wanted = wanted_boxes(str(where), kind)
    report = progress or (lambda text: None)
    boxes = []
    for number, box in enumerate(wanted, start=1):
        what = f"cosmic web {number} of {len(wanted)}"

        def step(done: int, total: int, what: str = what) -> None:
            report(f"{what}, step {done} of {total}")

        boxes.append(cached_box(box, device, step))
    return Web(tuple(boxes))


def cached_box(box: WebBox, device: str, progress: Callable[[int, int], None] | None = None) -> WebBox:
    """A realisation from the cache, or made and put there."""
    text = json.dumps(box.parameters(), sort_keys=True)
    path = cache_folder() / f"web_{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    if path.is_file():
        # a damaged or older file is simply made again
        with suppress(InputError):
            return load_box(path)
    made = make_box(box, device=device, progress=progress)
    with suppress(OSError):  # a cache that cannot be written is no error
        path.parent.mkdir(parents=True, exist_ok=True)
        save_box(made, path)
    return made


def _files(where: str | os.PathLike[str]) -> list[Path]:
    path = Path(where)
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files or not all(f.is_file() for f in files):
        hint = f"give {', '.join(SPLITS)}, or a file or folder made by them"
        raise InputError("holds no cosmic web", hint, where)
    return files
