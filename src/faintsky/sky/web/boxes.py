"""The radio emission of a piece of the cosmic web, computed once and kept in a small file.

A box of dark matter is evolved from random initial conditions. Where its streams collide there are shocks,
which emit. Boxes of 25 Mpc hold groups of galaxies; one of 50 Mpc with a constrained peak holds a massive
cluster. They are made once for each split of the data and kept in the cache, or given by the user.

A sky is a cone to a redshift of 0.15 through randomly rotated boxes (`draw_web`). The line of sight is cut
into slabs as deep as a box. Each is filled with the snapshot nearest in time, rotated and shifted at random
(so that no two slabs show the same view of an object), and seen in perspective. Luminous points are added to
a pyramid of images, each on the level whose pixels match its size. The levels are added by cubic B-splines,
which show neither pixels nor mesh.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array, Array32, Float
from faintsky.errors import InputError
from faintsky.sky.web.gravity import comoving_distance, evolve, find_haloes, initial_density
from faintsky.sky.web.points import BLOCKS, Points, luminous_points, saturated
from faintsky.sky.web.shocks import find_shocks, gas
from faintsky.system import cache_folder, replacing

REDSHIFTS = (0.03, 0.07, 0.105, 0.14)
"""Redshifts of the snapshots; skies reach to 0.15."""
VERSION = 2
"""Version, increased whenever the same settings give another web."""
STEPS = 20
"""Time steps to the first snapshot."""
FINE = 2
"""Cells of the forces' mesh along a side of a cell of the other quantities."""


@dataclass(frozen=True)
class WebBox:
    """A realisation of the cosmic web.

    Parameters
    ----------
    n : int
        Particles and cells along a side.
    box : float
        Side [comoving Mpc].
    seed : int
        Seed of the initial conditions.
    peak_mass : float
        Mass of a cluster whose initial density is put at the origin [solar masses]; 0 for none.
    redshifts : tuple of float
        Redshifts of the snapshots, increasing.
    snapshots : tuple of Points
        Luminous points.
    haloes : tuple of array
        For each snapshot ``[m, 5]``: position [Mpc], mass [solar masses] and radius [Mpc].
    """

    n: int
    box: float
    seed: int
    peak_mass: float = 0.0
    redshifts: tuple[float, ...] = REDSHIFTS
    snapshots: tuple[Points, ...] = ()
    haloes: tuple[Array32, ...] = ()

    def snapshot_at(self, z: float) -> int:
        """Number of the snapshot that is nearest in redshift."""
        return int(np.argmin(np.abs(np.array(self.redshifts) - z)))

    def cluster(self, snapshot: int) -> Array32:
        """Position of the cluster, which is the most massive halo and has moved from the origin [Mpc]."""
        known = self.haloes[snapshot]
        return known[0, :3] if len(known) else np.zeros(3, dtype=np.float32)

    def parameters(self) -> dict[str, Any]:
        """The parameters that determine the web."""
        names = ("n", "box", "seed", "peak_mass", "redshifts")
        return {"version": VERSION, **{k: getattr(self, k) for k in names}}


def make_box(
    wanted: WebBox, *, device: str = "cpu", progress: Callable[[int, int], None] | None = None
) -> WebBox:
    """Make the snapshots of a realisation.

    Parameters
    ----------
    wanted : WebBox
        Without snapshots.
    device : str, optional
        A torch device or ``"auto"``; webs from a GPU and a CPU differ in small details.
    progress : callable, optional
        Called with steps done and steps in all.

    Returns
    -------
    WebBox

    Raises
    ------
    InputError
        If the peak does not fit into the box, or colossus is missing.
    """
    from faintsky.system import choose_device

    n, box = wanted.n, wanted.box
    device = choose_device(device)
    density = initial_density(n, box, wanted.seed, peak_mass=wanted.peak_mass, device=device)
    times = [1 / (1 + z) for z in sorted(wanted.redshifts, reverse=True)]
    snapshots, haloes = [], []
    for a, x, p in evolve(density, times, steps=STEPS, fine=FINE, progress=progress):
        medium = gas(x, p, a, n, box)
        shocks = find_shocks(medium)
        points = luminous_points(shocks, n, box, 1 / a - 1, wanted.seed)
        snapshots.append(saturated(points, n, box, 1 / a - 1))
        haloes.append(find_haloes(medium.density, box))
    return replace(
        wanted,
        redshifts=tuple(sorted(wanted.redshifts)),
        snapshots=tuple(snapshots[::-1]),
        haloes=tuple(haloes[::-1]),
    )


def save_box(web: WebBox, path: str | os.PathLike[str]) -> None:
    """Write a realisation to an ``.npz`` file."""
    arrays: dict[str, Any] = {"parameters": np.array(json.dumps(web.parameters()))}
    for i, points in enumerate(web.snapshots):
        arrays |= {f"{k}_{i}": getattr(points, k) for k in ("position", "power", "size")}
        arrays[f"haloes_{i}"] = web.haloes[i]
    with replacing(path) as name:
        np.savez_compressed(name, **arrays)


def load_box(path: str | os.PathLike[str]) -> WebBox:
    """Read a realisation.

    Raises
    ------
    InputError
        If it is not such a file, or of another version.
    """
    hint = "give a file that this version's `simulate lofar --web` has made"
    try:
        with np.load(Path(path), allow_pickle=False) as file:
            known = json.loads(str(file["parameters"]))
            if known.pop("version") != VERSION:
                raise InputError("is a cosmic web of another version", hint, path)
            redshifts = tuple(known.pop("redshifts"))
            snapshots = tuple(
                Points(*(file[f"{k}_{i}"] for k in ("position", "power", "size")))
                for i in range(len(redshifts))
            )
            haloes = tuple(file[f"haloes_{i}"] for i in range(len(redshifts)))
            return WebBox(**known, redshifts=redshifts, snapshots=snapshots, haloes=haloes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError("is not a cosmic web", hint, path) from error


SPLITS = {"train": (2, 100), "validation": (1, 200), "test": (1, 300), "test2": (1, 400)}
"""Default number of realisations of each kind in a split, and the seed of the first."""
MOST_BOXES = 50
"""Most realisations of each kind in a split, so that splits and kinds share no seed."""
SIZE = 256
"""Cells along a side of a realisation."""
GROUP_BOX = 25.0
"""Side of a realisation with groups [Mpc]."""
CLUSTER_BOX = 50.0
"""Side of a realisation with a massive cluster [Mpc]."""
CLUSTER_MASS = 1e15
"""Mass of that cluster [solar masses]."""


def split_of(where: str | os.PathLike[str]) -> tuple[str, int] | None:
    """A split's name and its number of realisations of each kind; None if it is not a split.

    Parameters
    ----------
    where : str or path-like
        ``train``, or ``train:8`` for eight of each kind.

    Raises
    ------
    InputError
        If a split cannot have this number.
    """
    name, _, number = str(where).partition(":")
    if name not in SPLITS:
        return None
    if number and not (number.isdecimal() and 1 <= int(number) <= MOST_BOXES):
        raise InputError(f"web {str(where)!r} is not understood", f"give {name}:1 to {name}:{MOST_BOXES}")
    return name, int(number or SPLITS[name][0])


def wanted_boxes(split: str | os.PathLike[str], kind: str | None = None) -> list[WebBox]:
    """Realisations of a split, without snapshots.

    Parameters
    ----------
    split : str
        As for `split_of`.
    kind : str, optional
        ``sky1`` (massive clusters) or ``sky2`` (groups); by default both.
    """
    known = split_of(split)
    assert known is not None
    first = SPLITS[known[0]][1]
    groups = [WebBox(SIZE, GROUP_BOX, first + i) for i in range(known[1])]
    clusters = [WebBox(SIZE, CLUSTER_BOX, first + 50 + i, CLUSTER_MASS) for i in range(known[1])]
    return {"sky1": clusters, "sky2": groups}.get(kind or "", groups + clusters)


def check_web(where: str | os.PathLike[str]) -> str:
    """A web's entry in records: the split and its number of realisations, or a hash of the given files.

    Raises
    ------
    InputError
        If it is neither a split nor files of webs.
    """
    known = split_of(where)
    if known:
        return f"{known[0]}:{known[1]}"
    digest = hashlib.sha256()
    for path in _files(where):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def open_web(
    where: str | os.PathLike[str], kind: str | None = None, progress: Callable[[str], None] | None = None
) -> Web:
    """The web of a split, which is made and cached if missing, or that of given files.

    Parameters
    ----------
    where : str or path-like
        ``train``, ``validation`` or ``test`` (``train:8``: eight realisations of each kind), an ``.npz``
        file, or a folder of them.
    kind : str, optional
        As for `wanted_boxes`.
    progress : callable, optional
        Called with a line of text during long steps.

    Returns
    -------
    Web

    Raises
    ------
    InputError
        For files that are not webs, or if colossus is needed and missing.
    """
    if split_of(where) is None:
        return Web(tuple(load_box(path) for path in _files(where)))
    wanted = wanted_boxes(where, kind)
    report = progress or (lambda text: None)
    boxes = []
    for number, box in enumerate(wanted, start=1):
        what = f"cosmic web {number} of {len(wanted)}"

        def step(done: int, total: int, what: str = what) -> None:
            report(f"{what}, step {done} of {total}")

        boxes.append(cached_box(box, step))
    return Web(tuple(boxes))


def cached_box(box: WebBox, progress: Callable[[int, int], None] | None = None) -> WebBox:
    """A realisation from the cache; if missing it is made and stored.

    Parameters
    ----------
    box : WebBox
        Without snapshots.
    progress : callable, optional
        Called with steps done and steps in all.

    Returns
    -------
    WebBox
    """
    text = json.dumps(box.parameters(), sort_keys=True)
    path = cache_folder() / f"web_{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    if path.is_file():
        # a damaged or older file is replaced
        with suppress(InputError):
            return load_box(path)
    made = make_box(box, progress=progress)
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


CONE_REDSHIFTS = (0.02, 0.15)
"""Redshifts of the cone's near and far end."""
CLUSTER_REDSHIFTS = (0.06, 0.14)
"""Range of redshifts of the massive cluster in a ``sky1`` field."""
CLUSTER_SHARE = 0.25
"""Fraction of fields with a massive cluster if both kinds are drawn."""
SPECTRAL_INDEX = 1.2
"""Flux densities are proportional to ``freq**-SPECTRAL_INDEX``, also for the redshift."""
LEVELS = 8
_WATTS_TO_JY = 1e26 / (4 * np.pi) / 3.0857e22**2


@dataclass(frozen=True)
class Web:
    """Realisations from which skies are drawn.

    Parameters
    ----------
    boxes : tuple of WebBox
        Each field uses one of them: ``sky1`` one with a cluster, ``sky2`` one without.
    """

    boxes: tuple[WebBox, ...]

    def of_kind(self, kind: str) -> list[WebBox]:
        """Boxes with a cluster (``sky1``) or without (``sky2``)."""
        return [b for b in self.boxes if (b.peak_mass > 0) == (kind == "sky1")]


def draw_web(
    web: Web, rng: np.random.Generator, n: int = 2000, cell: float = 2.0, kind: str | None = None
) -> Array32:
    """A random field of the cosmic web at 150 MHz.

    Parameters
    ----------
    web : Web
        The realisations.
    rng : numpy.random.Generator
        The source of random numbers.
    n : int, optional
        Pixels along a side.
    cell : float, optional
        Side of a pixel [arcsec].
    kind : str, optional
        ``sky1``: with a massive cluster; ``sky2``: groups; by default drawn from the kinds in the web.

    Returns
    -------
    array
        ``[y, x]``, float32 [Jy/arcsec2].

    Raises
    ------
    InputError
        If the web holds no box of that kind.
    """
    if kind is None:
        kinds = [k for k in ("sky1", "sky2") if web.of_kind(k)] or ["sky2"]
        kind = kinds[0] if len(kinds) == 1 or rng.random() < CLUSTER_SHARE else kinds[1]
    boxes = web.of_kind(kind)
    if not boxes:
        raise InputError(f"this cosmic web holds no {kind} field", "choose another field, or another web")
    box = boxes[rng.integers(len(boxes))]
    pyramid = _Pyramid(n)
    near, far = (float(comoving_distance(z)) for z in CONE_REDSHIFTS)
    fronts = np.arange(far, near, -box.box)[::-1] - box.box
    cluster = -1.0
    if kind == "sky1":
        # well within its slab, so that it is not cut
        low, high = (comoving_distance(z) - box.box / 2 for z in CLUSTER_REDSHIFTS)
        cluster = float(
            rng.choice(fronts[(fronts > low) & (fronts < high)]) + rng.uniform(0.3, 0.7) * box.box
        )
    for front in fronts:
        _add_slab(pyramid, box, rng, float(front), cluster, cell)
    return pyramid.image() / np.float32(cell**2)


def _redshift(distance: Array) -> Array:
    z = np.linspace(0, 0.3, 200)
    return np.interp(distance, comoving_distance(z), z)


def _add_slab(
    pyramid: _Pyramid, box: WebBox, rng: np.random.Generator, front: float, cluster: float, cell: float
) -> None:
    """Add the points of a slab that begins at ``front`` [Mpc]; ``cluster`` is a cluster's distance, or -1."""
    side, n = box.box, pyramid.n
    radian = np.deg2rad(cell / 3600)
    half = (front + side) * n * radian / 2
    turn = _rotation(rng)
    snapshot = box.snapshot_at(float(_redshift(np.array(front + side / 2))))
    points, place = box.snapshots[snapshot], turn @ box.cluster(snapshot)
    inside = front <= cluster < front + side
    for _ in range(100):
        # in the rotated frame: centre of the slab's front, relative to the box's origin
        if inside:
            off = rng.uniform(-0.25, 0.25, 2) * n * radian * cluster
            centre = place + np.array([off[0], off[1], front - cluster])
        else:
            centre = turn @ rng.uniform(0, side, 3)
        if box.peak_mass == 0 or inside or not _is_seen(place, turn, centre, side, half):
            break
    if not len(points.power):
        return
    lattice = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 1, 3) * side
    blocks = np.stack(np.meshgrid(*[np.arange(BLOCKS) + 0.5] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = (blocks * side / BLOCKS + lattice) @ turn.T - centre
    margin = 0.87 * side / BLOCKS + 0.3
    met = (np.abs(places[..., :2]) < half + margin).all(-1)
    met &= (places[..., 2] > -margin) & (places[..., 2] < side + margin)
    shift, block = np.nonzero(met)
    begin, end = points.starts[block], points.starts[block + 1]
    which = np.repeat(end - np.cumsum(end - begin), end - begin) + np.arange((end - begin).sum())
    x = points.position[which] * np.float32(side / 65536) + np.repeat(lattice[shift, 0], end - begin, axis=0)
    x = x @ turn.T - centre
    within = (x[:, 2] >= 0) & (x[:, 2] < side)
    x, which = x[within], which[within]
    distance = x[:, 2] + front
    seen = 10.0 ** points.power[which].astype(np.float32) * 1e20
    flux = seen * _WATTS_TO_JY * (1 + _redshift(distance)) ** (-1 - SPECTRAL_INDEX) / distance**2
    pixel = x[:, :2] / (distance[:, None] * radian) + (n - 1) / 2
    pyramid.add(pixel, flux, points.size[which] * 1e-3 / (distance * radian))


def _is_seen(place: NDArray, turn: NDArray, centre: NDArray, side: float, half: float) -> bool:
    """Whether a cluster at ``place`` of the rotated box, or one of its periodic copies, is seen in a slab."""
    lattice = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3) * side
    x = lattice @ turn.T + place - centre
    near = (np.abs(x[:, :2]) < half + 3).all(-1) & (x[:, 2] > -3) & (x[:, 2] < side + 3)
    return bool(near.any())


def _rotation(rng: np.random.Generator) -> Float:
    """A random rotation, with or without a reflection."""
    from scipy.spatial.transform import Rotation

    matrix = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    return matrix * np.array([1.0, 1.0, rng.choice([-1.0, 1.0])])


class _Pyramid:
    """A sum of increasingly coarse images; pixel ``i`` of level ``l`` is ``(i - 2) * 2**l`` of the finest."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.sides = [(n >> level) + 8 for level in range(LEVELS)]
        self.parts: list[tuple[Array32, Array32, Array32]] = []

    def add(self, pixel: NDArray, flux: NDArray, size: NDArray) -> None:
        """Add ``flux`` at pixels ``[m, 2]`` (x, y), each spread over about ``size`` pixels."""
        near = ((pixel > -2.0 * 2**LEVELS) & (pixel < self.n + 2.0 * 2**LEVELS)).all(-1)
        self.parts.append(tuple(v[near].astype(np.float32) for v in (pixel, flux, size)))

    def _levels(self) -> list[Array32]:
        pixel, flux, size = (np.concatenate(p) for p in zip(*self.parts))
        level = np.clip(np.ceil(np.log2(np.maximum(size, 1e-3))), 0, LEVELS - 1)
        images = []
        for one, side in enumerate(self.sides):
            here = level == one
            at = pixel[here] / 2.0**one + 2
            low = np.floor(at).astype(np.int64)
            within = ((low >= 0) & (low < side - 1)).all(-1)
            low, part = low[within], (at - low)[within]
            weight = flux[here][within] / np.float32(4.0**one)
            image = np.zeros(side * side)
            for dy, wy in ((0, 1 - part[:, 1]), (1, part[:, 1])):
                for dx, wx in ((0, 1 - part[:, 0]), (1, part[:, 0])):
                    index = (low[:, 1] + dy) * side + low[:, 0] + dx
                    image += np.bincount(index, weight * wx * wy, side * side)
            images.append(image.astype(np.float32).reshape(side, side))
        return images

    def image(self) -> Array32:
        """The sum of the levels, ``[n, n]``."""
        if not self.parts:
            return np.zeros((self.n, self.n), dtype=np.float32)
        *levels, total = self._levels()
        for fine in levels[::-1]:
            total = fine + _refined(_refined(total, len(fine)).T, len(fine)).T
        for _ in range(2):
            padded = np.pad(total, ((1, 1), (0, 0)))
            total = ((padded[:-2] + padded[2:] + 4 * total) / np.float32(6)).T.astype(np.float32)
        return np.ascontiguousarray(total[2 : self.n + 2, 2 : self.n + 2])


def _refined(coarse: Array32, side: int) -> Array32:
    """Rows of cubic B-spline coefficients at twice the resolution: row ``i`` lies at ``2 (i - 2) + 2``."""
    fine = np.zeros((2 * len(coarse), coarse.shape[1]), dtype=np.float32)
    padded = np.pad(coarse, ((1, 1), (0, 0)))
    fine[::2] = (padded[:-2] + 6 * coarse + padded[2:]) / 8
    fine[1::2] = (coarse + padded[2:]) / 2
    # both have borders of two rows
    wanted = fine[2:]
    if len(wanted) < side:
        wanted = np.pad(wanted, ((0, side - len(wanted)), (0, 0)))
    return wanted[:side]
