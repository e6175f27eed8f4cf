"""Sources of a cube as islands of its integrated image, by flood fill.

This is the algorithm of BLOBCAT (Hales et al. 2012, MNRAS 425, 979). The image over its noise is flooded down
to ``T_f`` from every pixel above ``T_d``. The peak is that of a parabola about the brightest pixel, and the
flux is corrected for emission below the flood level as for a Gaussian.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects, label, maximum

from faintsky.arrays import Array, Labels
from faintsky.detection import Found, beam_of, integrated_image, source_table, whole_pixels
from faintsky.image import RadioCube
from faintsky.models import Model
from faintsky.preparing import noise_map, robust_sigma


@dataclass(frozen=True)
class Island:
    """An island of an image.

    Attributes
    ----------
    label : int
        Number in the labelled image.
    x, y : float
        Centroid, weighted by brightness [pixel].
    box : tuple of int
        ``x_min, x_max, y_min, y_max``, both ends in it.
    spread : tuple of float
        Standard deviation of the brightness along x and y [pixel].
    snr : float
        Brightness over noise at the peak.
    peak : float
        Peak of the parabola [unit of the image].
    total : float
        Sum of the pixels, corrected for emission below the flood level [unit of the image times pixels].
    """

    label: int
    x: float
    y: float
    box: tuple[int, int, int, int]
    spread: tuple[float, float]
    snr: float
    peak: float
    total: float


def flood_fill(
    image: Array, rms: Array, detect: float, flood: float, *, least_side: int = 3
) -> tuple[Labels, list[Island]]:
    """Islands of an image, the most significant first.

    Parameters
    ----------
    image : array
        ``[y, x]``, NaN where blank.
    rms : array
        Standard deviation of its noise, ``[y, x]``.
    detect, flood : float
        Lowest S/N of the peak, ``T_d``, and of the island's pixels, ``T_f``. A flood level above the
        detection level is lowered to it.
    least_side : int
        Least extent of an island along x and along y [pixel].

    Returns
    -------
    labels : array of int
        ``[y, x]``, number of the blob in the list from 1, 0 elsewhere.
    blobs : list of Island
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(np.isfinite(image) & (rms > 0), image / rms, 0.0)
    level = min(flood, detect)
    islands, n = label(ratio >= level)
    labels = np.zeros(ratio.shape, dtype=np.int32)
    if n == 0:
        return labels, []
    tops = np.asarray(maximum(ratio, islands, np.arange(1, n + 1)))
    found = []
    for k, place in enumerate(find_objects(islands), start=1):
        if tops[k - 1] >= detect and min(s.stop - s.start for s in place) >= least_side:
            found.append((float(tops[k - 1]), k, place))
    blobs, known = [], np.nan_to_num(image)
    for number, (_, k, place) in enumerate(sorted(found, key=lambda f: -f[0]), start=1):
        inside = islands[place] == k
        labels[place][inside] = number
        ys, xs = (v + s.start for v, s in zip(np.nonzero(inside), place))
        values, snr = known[ys, xs].astype(float), ratio[ys, xs]
        weight = values / values.sum()
        x, y = float(weight @ xs), float(weight @ ys)
        spread_x, spread_y = (float(np.sqrt(weight @ (v - c) ** 2)) for v, c in ((xs, x), (ys, y)))
        top = int(np.argmax(snr))
        peak = parabola_peak(known, int(ys[top]), int(xs[top]))
        # the ellipse at a fraction f of a Gaussian's peak contains 1 - f of its integral
        held = 1 - min(level / float(snr[top]), 0.9)
        box = (place[1].start, place[1].stop - 1, place[0].start, place[0].stop - 1)
        highest = float(snr[top]) * peak / float(values[top])
        blobs.append(
            Island(number, x, y, box, (spread_x, spread_y), highest, peak, float(values.sum()) / held)
        )
    return labels, blobs


def parabola_peak(image: Array, y: int, x: int) -> float:
    """Peak of the two-dimensional parabola through the nine pixels about the brightest one.

    Parameters
    ----------
    image : array
        ``[y, x]``
    y, x : int
        The brightest pixel.

    Returns
    -------
    float
        The pixel's own value at the image's edge, or if the parabola has no peak within a pixel.
    """
    top = float(image[y, x])
    if not (0 < y < image.shape[0] - 1 and 0 < x < image.shape[1] - 1):
        return top
    block = image[y - 1 : y + 2, x - 1 : x + 2].astype(float)
    v, u = np.mgrid[-1:2, -1:2]
    terms = np.stack([np.ones(9), u.ravel(), v.ravel(), u.ravel() ** 2, (u * v).ravel(), v.ravel() ** 2], 1)
    c = np.linalg.lstsq(terms, block.ravel(), rcond=None)[0]
    curve = np.array([[2 * c[3], c[4]], [c[4], 2 * c[5]]])
    if not (curve[0, 0] < 0 and np.linalg.det(curve) > 0):
        return top
    place = -np.linalg.solve(curve, c[1:3])
    return float(c[0] + 0.5 * c[1:3] @ place) if np.abs(place).max() <= 1 else top


def find(cube: RadioCube, model: Model, *, reliability: float | None = None, device: str = "cpu") -> Found:
    """Islands of the integrated image, continuum and lines alike. See `faintsky.registry.DETECTORS`.

    The model has the settings ``detect``, ``flood`` (T_d, T_f), ``noise`` (``map`` or ``global``),
    ``least_side`` [pixel], ``box`` (one of `faintsky.detection.methods.BOXES`), ``box_factor``, and those of
    `faintsky.detection.methods.looked_at`. A flood fill has no reliabilities.
    """
    s = model.settings
    image = integrated_image(cube, s)
    valid = np.isfinite(image)
    major, minor, _ = beam_of(cube)
    if s["noise"] == "map":
        rms = noise_map(np.nan_to_num(image), valid, float(np.sqrt(major * minor)))
    else:
        rms = np.full(image.shape, robust_sigma(image[valid], clip=3.0), dtype=np.float32)
    labels, blobs = flood_fill(image, rms, s["detect"], s["flood"], least_side=int(s["least_side"]))
    ends = np.array([b.box for b in blobs]).reshape(-1, 4)
    x, y = (np.array([getattr(b, k) for b in blobs]) for k in "xy")
    spread = np.array([b.spread for b in blobs]).reshape(-1, 2)
    n_y, n_x = image.shape
    box = s["box"], float(s["box_factor"])
    x_min, x_max = whole_pixels(ends[:, 0], ends[:, 1], x, spread[:, 0], *box, n_x)
    y_min, y_max = whole_pixels(ends[:, 2], ends[:, 3], y, spread[:, 1], *box, n_y)
    columns = {
        "x": x, "y": y, "x_min": x_min, "x_max": x_max, "y_min": y_min, "y_max": y_max,
        "snr": [b.snr for b in blobs],
        "image_peak": [b.peak for b in blobs],
        "image_flux": [b.total / (1.133 * major * minor) for b in blobs],
    }  # fmt: skip
    notes = ["islands of the integrated image: no positions in frequency, no reliabilities"]
    meta = {"image_flux_unit": "Jy channel", "image_peak_unit": "Jy/beam channel", "steps": {}}
    mask = np.broadcast_to(labels.astype(np.int32), cube.shape)
    return Found(source_table(cube, columns, meta), mask, None, {}, notes)
