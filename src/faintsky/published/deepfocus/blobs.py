"""Step i: blobs in the integrated image (Sections 4.1 and 4.4 i)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label, regionprops
from skimage.morphology import dilation
from torch import nn

from faintsky.cutouts import Box
from faintsky.published.deepfocus.scaling import IMAGE, crop_centre, crop_origin, unit_range

Array = NDArray[np.float32]

PAPER_THRESHOLD = 0.15


@dataclass(frozen=True)
class Blob:
    """Connected pixels of Blobs Finder's map.

    Parameters
    ----------
    box : tuple of int
        ``x_min, x_max, y_min, y_max``, both ends in it.
    x, y : float
        Centre, weighted by the map.
    peak : float
        Of the map.
    """

    box: Box
    x: float
    y: float
    peak: float


def sky_map(image: Array, network: nn.Module, size: int = IMAGE, device: str = "cpu") -> Array:
    """Blobs Finder's picture of the integrated sky in [0, 1], ``[y, x]``; 0 outside of its crop.

    Parameters
    ----------
    image : array
        `faintsky.cutouts.integrated`, ``[y, x]``.
    network : torch.nn.Module
        ``[b, 1, size, size]`` to the same.
    size : int, optional
        Of the images it was trained on.
    device : str, optional
    """
    seen = unit_range(crop_centre(torch.as_tensor(image, device=device), size))
    with torch.no_grad():
        answer = network(seen[None, None])[0, 0].float().cpu().numpy()
    out: Array = np.zeros(image.shape, dtype=np.float32)
    into, of = [], []
    for n in image.shape:
        first = crop_origin(n, size)
        into.append(slice(max(first, 0), min(first + size, n)))
        of.append(slice(into[-1].start - first, into[-1].stop - first))
    out[into[0], into[1]] = answer[of[0], of[1]]
    return np.where(np.isnan(image), np.float32(0), out)


def find_blobs(picture: Array, threshold: float = PAPER_THRESHOLD, *, paper_code: bool = False) -> list[Blob]:
    """Boxes around the connected pixels above a threshold, brightest first.

    Parameters
    ----------
    picture : array
        From `sky_map`.
    threshold : float, optional
        Of the map as it is, so that an empty field gives nothing.
    paper_code : bool, optional
        Bring the map to [0, 1] first, take 0.15 and dilate once, as their program did (fidelity page, B9):
        the brightest pixel of any map is then a detection.
    """
    if paper_code:
        picture = unit_range(torch.as_tensor(picture)).numpy()
        binary = dilation(picture > PAPER_THRESHOLD)
    else:
        binary = picture > threshold
    blobs = []
    for region in regionprops(label(binary), intensity_image=picture):
        y0, x0, y1, x1 = region.bbox
        y, x = region.centroid_weighted if region.intensity_max > 0 else region.centroid
        blobs.append(Blob((x0, x1 - 1, y0, y1 - 1), float(x), float(y), float(region.intensity_max)))
    return sorted(blobs, key=lambda b: -b.peak)
