"""The radio emission of a piece of the cosmic web: made by gravity and shocks once, kept in a small file.

A box of dark matter is evolved from random initial conditions; where its streams run together there are
shocks, and they shine. Boxes of 25 Mpc hold groups of galaxies; one of 50 Mpc with a constrained peak holds a
massive cluster. `faintsky.sky.web.skies.draw_sky` looks at them from anywhere.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.sky.web.points import Points, luminous_points, saturated
from faintsky.system.files import replacing

REDSHIFTS = (0.03, 0.07, 0.105, 0.14)
"""Of the snapshots; skies reach to a redshift of 0.15."""
VERSION = 2
"""Raised whenever the same settings give another web."""
STEPS, FINE = 20, 2
"""Steps to the first snapshot; cells of the mesh for the forces to a side of the others."""


@dataclass(frozen=True)
class WebBox:
    """A realisation.

    Parameters
    ----------
    n : int
        Particles and cells a side.
    box : float
        Side [comoving Mpc].
    seed : int
    peak_mass : float
        Of a cluster that the initial density has at the origin [solar masses]; 0 where there is none.
    redshifts : tuple of float
        Of the snapshots, rising.
    snapshots : tuple of Points
    haloes : tuple of array
        Of each snapshot, ``[m, 5]``: position [Mpc], mass [solar masses] and radius [Mpc].
    """

    n: int
    box: float
    seed: int
    peak_mass: float = 0.0
    redshifts: tuple[float, ...] = REDSHIFTS
    snapshots: tuple[Points, ...] = ()
    haloes: tuple[NDArray[np.float32], ...] = ()

    def snapshot_at(self, z: float) -> int:
        """Number of the snapshot that is nearest in redshift."""
        return int(np.argmin(np.abs(np.array(self.redshifts) - z)))

    def cluster(self, snapshot: int) -> NDArray[np.float32]:
        """Where the cluster is [Mpc]: it is the heaviest halo, and has moved since it was a peak."""
        known = self.haloes[snapshot]
        return known[0, :3] if len(known) else np.zeros(3, dtype=np.float32)

    def parameters(self) -> dict[str, Any]:
        """What decides the web."""
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
        A torch device or ``"auto"``; a GPU's web differs from a CPU's in its smallest details.
    progress : callable, optional
        Called with steps done and steps in all.

    Raises
    ------
    InputError
        Where the peak does not fit into the box, or colossus is missing.
    """
    from faintsky.sky.web.haloes import find_haloes
    from faintsky.sky.web.linear_power import initial_density
    from faintsky.sky.web.particle_mesh import evolve
    from faintsky.sky.web.shocks import find_shocks, gas
    from faintsky.system.machine import choose_device

    n, box = wanted.n, wanted.box
    device = choose_device(device)
    density = initial_density(n, box, wanted.seed, peak_mass=wanted.peak_mass, device=device)
    times = [1 / (1 + z) for z in sorted(wanted.redshifts, reverse=True)]
    snapshots, haloes = [], []
    for a, x, p in evolve(density, times, steps=STEPS, fine=FINE, progress=progress):
        medium = gas(x, p, a, n, box)
        shocks = find_shocks(medium, box)
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
        Where the file is not one, or of another version.
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
        raise InputError("is no cosmic web", hint, path) from error
