"""Sources of a cube as islands of its integrated image: `faintsky.published.blobcat.flood_fill`."""

from __future__ import annotations

import numpy as np

from faintsky.detection import Found, beam_of, integrated_image, label_cube, source_table, whole_pixels
from faintsky.image import RadioCube
from faintsky.models import Model
from faintsky.preparing import noise_map, robust_sigma
from faintsky.published.blobcat.flood_fill import flood_fill


def find(cube: RadioCube, model: Model, *, reliability: float | None = None, device: str = "cpu") -> Found:
    """Islands of the integrated image, continuum and lines alike.

    Parameters
    ----------
    cube : RadioCube
        With a beam.
    model : Model
        With the settings ``detect``, ``flood`` (T_d, T_f), ``noise`` (``map`` or ``global``), ``least_side``
        [pixel], ``box`` (one of `faintsky.detection.methods.BOXES`), ``box_factor``, and those of
        `faintsky.detection.methods.looked_at`.
    reliability : float, optional
        Not used: a flood fill gives none.
    device : str, optional
        Not used.

    Raises
    ------
    InputError
        The cube is blank or has no beam.
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
    return Found(source_table(cube, columns, meta), label_cube(cube.shape, labels), None, {}, notes)
