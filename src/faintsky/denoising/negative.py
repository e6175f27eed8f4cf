"""Reliability of regions from the image itself: its negative has noise and artefacts, and no emission."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faintsky.denoising.denoiser import Denoised
from faintsky.denoising.methods import DenoiseCall
from faintsky.image import RadioImage
from faintsky.matching import column, reliability_of

if TYPE_CHECKING:
    from astropy.table import Table

COLUMN = "reliability_negative"
"""What the catalogue gets."""


def compare_with_negative(
    image: RadioImage, found: Denoised, denoiser: DenoiseCall, *, members: int = 1, reliability: float = 0.9
) -> int:
    """Denoise the negative of an image, and give its regions a reliability by those of the negative.

    The densities of both are compared in S/N and area, as in Serra, Jurek & Floer (2012): 1 where the
    negative has no region. The network knows positive emission only, so that noise, which is as often
    negative, is told from it; stripes, sidelobes and bowls are where they are as deep as they are high.

    Parameters
    ----------
    image : RadioImage
    found : Denoised
        Of the image; its catalogue gets the column `COLUMN`, its notes a line.
    denoiser : callable
        What made it, with `members` and `reliability`.

    Returns
    -------
    int
        Regions of the negative.
    """
    negative = replace(image, load=lambda: -image.cube, kind=found.kind)
    other = denoiser(negative, members=members, reliability=reliability)
    ours, theirs = _measures(found.catalog), _measures(other.catalog)
    found.catalog[COLUMN] = reliability_of(ours, theirs)
    found.catalog[COLUMN].description = "reliability by the regions of the image's negative"
    found.notes.append(f"the negative of the image has {len(theirs)} regions, the image {len(ours)}")
    return len(theirs)


def _measures(table: Table) -> NDArray[np.float64]:
    """Logarithms of S/N and area, ``[region, 2]``."""
    values = [np.maximum(column(table, name), 1e-9) for name in ("snr", "area")]
    return np.log10(np.stack(values, axis=1)).reshape(-1, 2)
