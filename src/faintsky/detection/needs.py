"""What a search of a cube takes of the machine, before it is made."""

from __future__ import annotations

import math

import numpy as np

from faintsky.detection.matched_filter import decimation
from faintsky.image import RadioCube
from faintsky.system import BYTES_OF_TABLES, Needs

BYTES_FIXED, BYTES_A_VOXEL, BYTES_A_FILTERED = 0.37e9, 32, 33
"""Most memory at a time: the libraries; a voxel's data, line cube, residual and working space; a voxel of the
image as it is filtered, in all filtered cubes and their peaks. Resident set sizes: cubes of 0.3 to
17 million voxels, beams of 3.5 and 8.5 pixels, with psf and primary beam."""
SECONDS_FIXED, SECONDS_A_VOXEL = 6.0, 3e-7
"""Of one processor core; a cube with very many sources takes more."""


def needs_of_search(shape: tuple[int, ...], beam_pixels: float = 0.0) -> Needs:
    """Of the matched filter, which takes most of all methods.

    Parameters
    ----------
    shape : tuple of int
        ``[chan, y, x]``.
    beam_pixels : float, optional
        Geometric-mean FWHM of the beam [pixel]; 0 where it is not known.
    """
    voxels = math.prod(shape)
    memory = BYTES_FIXED + voxels * (BYTES_A_VOXEL + BYTES_A_FILTERED / decimation(beam_pixels) ** 2)
    return Needs(memory, voxels * 8 + BYTES_OF_TABLES, SECONDS_FIXED + voxels * SECONDS_A_VOXEL)


def needs_of_cube(cube: RadioCube) -> Needs:
    """`needs_of_search` from a cube's header."""
    beam = 0.0 if cube.beams is None else float(np.sqrt(np.nanmax(cube.beams[:, 0] * cube.beams[:, 1])))
    return needs_of_search(cube.shape, beam / cube.grid.cell)
