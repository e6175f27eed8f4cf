"""Step i: blobs in Blobs Finder's map (Delli Veneri et al. 2022, Sections 4.1 and 4.4 i).

Two methods: the paper's single threshold on the whole map, and our own thresholds relative to each blob's
peak. A source's true box corresponds to 3 to 12 % of its own peak, and a companion's peak may be a third of
the brightest one's."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label, regionprops
from skimage.morphology import dilation
from skimage.segmentation import watershed
from torch import nn

from faintsky.arrays import Array32, Index
from faintsky.cutouts import Box
from faintsky.published.deepfocus.networks import IMAGE, crop_centre, crop_slices, unit_range

PAPER_THRESHOLD = 0.15
_FLOOR = 1e-4


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
        Peak of the map.
    rise : float, optional
        Prominence: height of the peak above the highest path to another blob, as a fraction of itself.
    """

    box: Box
    x: float
    y: float
    peak: float
    rise: float = 1.0


def sky_map(image: Array32, network: nn.Module, size: int = IMAGE, device: str = "cpu") -> Array32:
    """Blobs Finder's image of the integrated sky in [0, 1], ``[y, x]``; 0 outside of its crop.

    Parameters
    ----------
    image : array
        `faintsky.cutouts.integrated`, ``[y, x]``.
    network : torch.nn.Module
        ``[b, 1, size, size]`` to the same.
    size : int, optional
        Side of the images on which it was trained [pixel].
    device : str, optional
        A torch device.

    Returns
    -------
    array
        ``[y, x]``
    """
    seen = unit_range(crop_centre(torch.as_tensor(image, device=device), size))
    with torch.no_grad():
        answer = network(seen[None, None])[0, 0].float().cpu().numpy()
    out: Array32 = np.zeros(image.shape, dtype=np.float32)
    inside, seen_part = crop_slices(image.shape, size)
    out[inside] = answer[seen_part]
    return np.where(np.isnan(image), np.float32(0), out)


def find_blobs(
    picture: Array32, threshold: float = PAPER_THRESHOLD, least: float = 0.0, *, paper_code: bool = False
) -> list[Blob]:
    """Boxes around the connected pixels above a threshold, brightest first.

    Parameters
    ----------
    picture : array
        From `sky_map`.
    threshold : float, optional
        Threshold on the map itself, so that an empty field has no blobs.
    least : float, optional
        Least value of a blob's brightest pixel, which may differ from the threshold that limits its box.
    paper_code : bool, optional
        Scale the map to [0, 1] first, use 0.15 and dilate once, as in the authors' code (fidelity page, B9).
        The brightest pixel of any map is then a detection.

    Returns
    -------
    list of Blob
    """
    if paper_code:
        picture = unit_range(torch.as_tensor(picture)).numpy()
        binary = dilation(picture > PAPER_THRESHOLD)
    else:
        binary = picture > threshold
    blobs = []
    for region in regionprops(label(binary), intensity_image=picture):
        if region.intensity_max < least and not paper_code:
            continue
        y0, x0, y1, x1 = region.bbox
        y, x = region.centroid_weighted if region.intensity_max > 0 else region.centroid
        blobs.append(Blob((x0, x1 - 1, y0, y1 - 1), float(x), float(y), float(region.intensity_max)))
    return sorted(blobs, key=lambda b: -b.peak)


def peak_blobs(picture: Array32, least: float, share: float = 0.1, dip: float = 0.05) -> list[Blob]:
    """Boxes around the map's peaks, each at a fraction of its own height, brightest first.

    Parameters
    ----------
    picture : array
        From `sky_map`.
    least : float
        Least value of a peak.
    share : float, optional
        Fraction of the peak at the edge of its box; a blurred map needs a higher one.
    dip : float, optional
        Two peaks are separate blobs if the map falls between them by at least this fraction of the lower one.
        Their border is the watershed.

    Returns
    -------
    list of Blob
    """
    floor = share * max(least, _FLOOR)
    ys, xs = np.nonzero(picture > floor)
    if not len(ys):
        return []
    y0, x0 = int(ys.min()), int(xs.min())
    picture = picture[y0 : ys.max() + 1, x0 : xs.max() + 1].astype(float)
    regions, rises = _regions(picture, floor, least, dip)
    blobs = []
    for region in regionprops(regions, intensity_image=picture):
        values, peak = region.image_intensity, float(region.intensity_max)
        parts = label(region.image & (values >= share * peak))
        j, i = np.nonzero(parts == parts[np.unravel_index(int(values.argmax()), values.shape)])
        weight = values[j, i]
        j, i = j + y0 + region.bbox[0], i + x0 + region.bbox[1]
        box = (int(i.min()), int(i.max()), int(j.min()), int(j.max()))
        y, x = np.average(j, weights=weight), np.average(i, weights=weight)
        blobs.append(Blob(box, float(x), float(y), peak, float(rises[region.label])))
    return sorted(blobs, key=lambda b: -b.peak)


def _regions(picture: NDArray, floor: float, least: float, dip: float) -> tuple[Index, NDArray]:
    """Basins of the separate peaks, ``[y, x]``, and each peak's prominence, ``[number]``.

    Initially every peak has a basin. The saddles between basins are processed from the highest down: the
    lower of the two peaks is merged with the other if it is not prominent enough.
    """
    basins = watershed(-picture, mask=picture > floor)
    tops = np.zeros(int(basins.max()) + 1)
    np.maximum.at(tops, basins, picture)
    passes: list[tuple[float, int, int]] = []
    for near, far in (
        (np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[1:, 1:], np.s_[:-1, :-1]), (np.s_[1:, :-1], np.s_[:-1, 1:]),
    ):  # fmt: skip
        a, b, level = basins[near], basins[far], np.minimum(picture[near], picture[far])
        met = (a != b) & (a > 0) & (b > 0)
        passes += zip(level[met].tolist(), a[met].tolist(), b[met].tolist())
    rises, reached, owner = np.ones(len(tops)), list(range(len(tops))), np.arange(len(tops))

    def highest(basin: int) -> int:
        while reached[basin] != basin:
            reached[basin] = basin = reached[reached[basin]]
        return basin

    for level, a, b in sorted(passes, reverse=True):
        first, second = highest(a), highest(b)
        if first == second:
            continue
        if tops[first] > tops[second]:
            first, second, b = second, first, a
        reached[first], rises[first] = second, 1 - level / tops[first]
        if rises[first] < dip or tops[first] < least:
            owner[first] = b
    while (owner != owner[owner]).any():
        owner = owner[owner]
    owner[tops[owner] < least] = 0
    return owner[basins], rises
