"""Maps on a page: images of the data and of the result, with their colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from faintsky.arrays import Array, Float
from faintsky.detection import strongest
from faintsky.image import RadioCube, RadioImage
from faintsky.system.figures import MAPS
from faintsky.units import unit_text

if TYPE_CHECKING:
    from faintsky.denoising import Denoised
    from faintsky.detection import DetectedImage, Detections

EMISSION = "#c8500f"
"""Colour of emitters."""
ABSORPTION = "#1f6fb2"
"""Colour of absorbers."""
OUTLINE = "#19d3c5"
"""Colour of outlines on dark maps."""
MOST_PIXELS = 900
"""Most pixels along an axis of a map; larger images are averaged."""
SHADES = 255
"""Number of colours; 0 is blank."""


def palette(look: str) -> list[str]:
    """`SHADES` colours, the darkest first; for print the brightest first."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colour) for colour in colormaps[MAPS[look]](np.linspace(0, 1, SHADES))]


@dataclass(frozen=True)
class Layer:
    """A map and its colours.

    Parameters
    ----------
    title, unit : str
        Its name, and the unit of its values.
    values : array
        ``[y, x]``, NaN where blank.
    look : str
        One of `faintsky.system.figures.MAPS`.
    low, high : float
        Values of the darkest and the brightest shade.
    linear : float
        Value up to which the scale is linear; above, it is logarithmic: ``asinh(value / linear)``. 0: linear.
    """

    title: str
    unit: str
    values: Array
    look: str
    low: float
    high: float
    linear: float = 0.0

    def stretched(self, values: ArrayLike) -> Float:
        """Values scaled from 0 (the darkest shade) to 1 (the brightest)."""
        v, low, high = (np.asarray(x, dtype=float) for x in (values, self.low, self.high))
        if self.linear:
            v, low, high = (np.arcsinh(x / self.linear) for x in (v, low, high))
        return np.asarray((v - low) / max(float(high - low), 1e-300))

    def shades(self) -> NDArray[np.uint8]:
        """The map averaged to `MOST_PIXELS`, in shades of 1 to `SHADES`, 0 where blank, ``[y, x]``."""
        values = averaged(self.values)
        scaled = 1 + (SHADES - 1) * np.clip(self.stretched(values), 0, 1)
        return np.where(np.isfinite(values), np.rint(np.nan_to_num(scaled, nan=1.0)), 0).astype(np.uint8)

    def ticks(self) -> list[float]:
        """Round values for the colour bar."""
        if not self.linear:
            return [value for value, _ in rounded((self.low, self.high), 5)]
        rms, top = self.linear / 2, self.high
        decades = range(int(np.floor(np.log10(rms))), int(np.ceil(np.log10(top))) + 1)
        steps = (1, 2, 5) if top < 100 * rms else (1, 3) if top < 1000 * rms else (1,)
        shown = [v for v in (m * 10.0**k for k in decades for m in steps) if 1.5 * rms < v <= top]
        return [-shown[0], 0.0, *shown] if shown and shown[0] <= 2.5 * rms else [0.0, *shown]


def rounded(ends: tuple[float, float], about: float) -> list[tuple[float, str]]:
    """About ``about`` round values between two ends, with their texts."""
    low, high = sorted(ends)
    rough = (high - low) / max(about, 1.0)
    unit = 10 ** np.floor(np.log10(rough))
    step = float(unit * next(m for m in (1, 2, 5, 10) if m * unit >= 0.999 * rough))
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    values = step * np.arange(np.ceil(low / step - 1e-6), np.floor(high / step + 1e-6) + 1)
    return [(float(v), f"{v + 0.0:.{digits}f}".replace("-", "−")) for v in values]


def averaged(values: Array) -> Array:
    """Means over squares of pixels, for a map of at most `MOST_PIXELS` pixels along an axis."""
    step = step_of(values.shape)
    if step == 1:
        return values
    n_y, n_x = (n // step * step for n in values.shape)
    parts = [values[j:n_y:step, i:n_x:step] for j in range(step) for i in range(step)]
    count = sum(np.isfinite(part).astype(np.float32) for part in parts)
    total = sum(np.nan_to_num(part) for part in parts)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def step_of(shape: Sequence[int]) -> int:
    """Side of the squares over which a map of that shape is averaged [pixel]."""
    return -(-max(shape) // MOST_PIXELS)


def outlines(mask: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Outlines of a mask's objects (1, otherwise 0) at the size of `averaged` maps, ``[y, x]``."""
    step = step_of(mask.shape)
    thin = mask[: mask.shape[0] // step * step : step, : mask.shape[1] // step * step : step]
    rim = (maximum_filter(thin, 3) != thin) | (minimum_filter(thin, 3) != thin)
    return (rim & (thin > 0)).astype(np.uint8)


def brightness_unit(cube: RadioCube) -> tuple[float, str]:
    """Factor and name of the unit for brightness: mJy/beam, or the data's own unit if it gives no fluxes."""
    return (1e3, "mJy/beam") if cube.has_flux else (1.0, str(cube.unit))


def spectral_axis(cube: RadioCube) -> tuple[NDArray, str]:
    """Frequencies, or velocities if only these are known, ``[chan]``, and their name."""
    velocities = cube.velocities()
    if cube.spectral.relative and velocities is not None:
        return velocities, "velocity [km/s]"
    return cube.frequencies / 1e9, "frequency [GHz]"


def display_unit(found: Denoised | DetectedImage, image: RadioImage) -> tuple[float, str]:
    """Factor and name of a unit that suits the size of the noise."""
    name = unit_text(image.unit) if str(image.unit) else ""
    rms = found.prepared.typical_rms
    if not name.startswith("Jy"):
        return 1.0, name
    prefixes = ((1.0, ""), (1e3, "m"), (1e6, "µ"), (1e9, "n"))
    factor, prefix = next((p for p in prefixes if rms * p[0] > 0.01), prefixes[-1])
    return factor, prefix + name


def cube_layers(cube: RadioCube, found: Detections) -> list[Layer]:
    """Peak S/N of the data and of the residual, moment 0 and continuum."""
    p = found.prepared
    scale, name = brightness_unit(cube)
    where = "of all channels" if found.mask is None else "within the mask"
    continuum = p.restored(p.continuum.at(p.continuum.middle)) * scale
    if found.shown:
        snr, rest, moment = (found.shown[k] for k in ("snr", "rest", "moment"))
        moment = moment * scale
    else:
        line, whole = p.restored(p.line), tuple(slice(0, n) for n in cube.shape)
        moment = (line if found.mask is None else np.where(found.mask > 0, line, 0)).sum(axis=0) * scale
        snr = strongest(p.line, p.sigma, whole, signed=False)
        other = p.line if found.model is None else p.line - p.flat(found.model)
        rest = strongest(other, p.sigma, whole, signed=True)
    left = "residual" if found.model is not None else "line"
    out = []
    for image, title, unit, look, ends in (
        (snr, "line: peak S/N of 3 channels", "S/N", "snr", (0, 100)),
        (rest, f"{left}: strongest S/N of 3 channels", "S/N", "signed", (0, 100)),
        (moment, f"line: moment 0 {where}", f"{name} channel", "amount", (0, 100)),
        (continuum, "continuum", name, "paper", (0.5, 99.7)),
    ):
        values = np.where(p.valid, image, np.nan)
        finite = values[np.isfinite(values)]
        low, high = (float(v) for v in (np.percentile(finite, ends) if finite.size else (0, 1)))
        low = low if look == "paper" else -high if look == "signed" else min(low, 0)
        out.append(Layer(title, unit, values, look, low, max(high, low + 1e-12)))
    return out


def image_layers(
    image: RadioImage, found: Denoised | DetectedImage, names: tuple[str, str] = ("denoised", "uncertainty")
) -> list[Layer]:
    """The maps on a page on an image: input, denoised image or model, uncertainty or noise, and residual.

    Parameters
    ----------
    image : RadioImage
        The data.
    found : Denoised or DetectedImage
        The result.
    names : tuple of str, optional
        Names of the second and the third map.

    Returns
    -------
    list of Layer
    """
    factor, unit = display_unit(found, image)
    rms = found.prepared.typical_rms * factor
    finite = found.image[np.isfinite(found.image)] * factor
    top = max(8 * rms, 1.2 * float(np.quantile(finite, 0.999)))
    data = np.where(found.prepared.valid, found.prepared.data, np.nan)
    spread = found.uncertainty[np.isfinite(found.uncertainty)] * factor
    return [
        Layer("input", unit, data * factor, "brightness", -2.5 * rms, top, 2 * rms),
        Layer(names[0], unit, found.image * factor, "brightness", -2.5 * rms, top, 2 * rms),
        Layer(names[1], unit, found.uncertainty * factor, "amount", 0, float(np.quantile(spread, 0.995))),
        Layer("residual", unit, found.residual * factor, "signed", -5 * rms, 5 * rms),
    ]
