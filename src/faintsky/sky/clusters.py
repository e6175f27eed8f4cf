"""Galaxy clusters at low frequency: a radio halo, sometimes with a relic, or neither, and radio galaxies.

Haloes are exponential discs with an e-folding radius of tens of arcsec (Murgia et al. 2009, A&A 499, 679),
like those of clusters in LoTSS (Botteon et al. 2022, A&A 660, A78); relics are arcs outside them with a sharp
outer edge. Member galaxies concentrate towards the centre, and are as bright with a halo as without.
"""

from __future__ import annotations

import numpy as np

from faintsky.arrays import Array32
from faintsky.sky.diffuse import random_field
from faintsky.sky.radio_galaxies import add_double, draw_radio_galaxies

RADIUS = (15.0, 45.0)
"""E-folding radius of a halo [arcsec]."""
MEMBERS, SPREAD, MEMBER_FLUX = 6, 50.0, (3e-4, 3e-2)
"""Mean number of members, their scatter around the centre [arcsec], and their fluxes at 150 MHz [Jy]."""
RELIC = 0.3
"""Fraction of the haloes with a relic."""


def draw_cluster(
    rng: np.random.Generator, shape: tuple[int, int], cell: float, brightness: float
) -> tuple[Array32, Array32]:
    """Draw diffuse emission and galaxies of a cluster in the centre of a field, and the field's galaxies.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of chance.
    shape : tuple of int
        ``(n_y, n_x)``.
    cell : float
        Side of a pixel [arcsec].
    brightness : float
        Central brightness of the halo [Jy/arcsec2]; 0 for a cluster without halo.

    Returns
    -------
    diffuse, galaxies : array
        ``[y, x]``, float32 [Jy/arcsec2].
    """
    galaxies = draw_radio_galaxies(rng, shape, cell)
    y, x = np.indices(shape, dtype=np.float32)
    middle = [n / 2 + rng.normal(0, 5) / cell for n in shape]
    for _ in range(1 + rng.poisson(MEMBERS)):
        place = [m + rng.normal(0, SPREAD) / cell for m in middle]
        flux = float(np.exp(rng.uniform(*np.log(MEMBER_FLUX))))
        add_double(galaxies, rng, cell, place[1], place[0], flux)
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(0.6, 1)
    dy, dx = y - np.float32(middle[0]), x - np.float32(middle[1])
    along = dx * np.cos(turn) + dy * np.sin(turn)
    across = (dy * np.cos(turn) - dx * np.sin(turn)) / stretch
    radius = float(np.exp(rng.uniform(*np.log(RADIUS)))) / cell
    diffuse = np.exp(-np.hypot(along, across) / radius)
    if rng.random() < RELIC:
        behind = rng.uniform(2.5, 4) * radius - np.hypot(dx, dy)
        away = np.angle(np.exp(1j * (np.arctan2(dy, dx) - rng.uniform(-np.pi, np.pi))))
        edge = np.where(behind > 0, np.exp(-behind / (0.4 * radius)), np.exp(-0.5 * (behind * cell / 3) ** 2))
        diffuse += rng.uniform(0.3, 1) * edge * np.exp(-0.5 * (away / 0.5) ** 4)
    contrast = rng.uniform(0.2, 0.6)
    texture = np.exp(contrast * random_field(rng, shape, 11 / 3, min(shape) / 4) - contrast**2 / 2)
    return (brightness * diffuse * texture).astype(np.float32), galaxies / np.float32(cell**2)
