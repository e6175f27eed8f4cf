"""Spectrum and image of each source as SVG within the page, which is much faster than figures."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Row
from numpy.typing import ArrayLike

from faintsky.arrays import Array, Bool, Float, Index
from faintsky.image import SHAPE, RadioCube
from faintsky.report.layers import (
    ABSORPTION,
    EMISSION,
    Layer,
    brightness_unit,
    palette,
    rounded,
    spectral_axis,
)
from faintsky.source_model import line_profile

if TYPE_CHECKING:
    from faintsky.detection import Detections

WIDTH, HEIGHT = 900, 232
"""Width and height of a drawing, in its own units."""
MOST_CHANNELS = 600
"""Most channels of a spectrum that are drawn, around the line."""


@dataclass(frozen=True)
class Panel:
    """A rectangle of the drawing (left, top, width, height) and the values at its ends along x and y."""

    place: tuple[float, float, float, float]
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]

    def x(self, values: ArrayLike) -> Float:
        """Horizontal positions of values."""
        low, high = self.x_ends
        return self.place[0] + self.place[2] * (np.asarray(values, dtype=float) - low) / (high - low)

    def y(self, values: ArrayLike) -> Float:
        """Vertical positions of values."""
        low, high = self.y_ends
        return self.place[1] + self.place[3] * (high - np.asarray(values, dtype=float)) / (high - low)

    def line(self, x: ArrayLike, y: ArrayLike, style: str) -> str:
        """A line through points, interrupted where they are NaN.

        Parameters
        ----------
        x, y : array
            Values, ``[n]``.
        style : str
            SVG attributes.

        Returns
        -------
        str
            An SVG path; empty without points.
        """
        across, down = self.x(x), self.y(y)
        known = np.isfinite(across) & np.isfinite(down)
        parts = np.split(np.flatnonzero(known), np.flatnonzero(np.diff(np.flatnonzero(known)) > 1) + 1)
        path = " ".join("M" + " ".join(f"{across[k]:.1f} {down[k]:.1f}" for k in part) for part in parts)
        return f'<path d="{path}" {style}/>' if known.any() else ""

    def axes(self, x_name: str, y_name: str) -> str:
        """The frame, with ticks and names."""
        left, top, width, height = self.place
        bottom, middle = top + height, top + height / 2
        ticks = [f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#333"/>']
        for value, text in rounded(self.x_ends, width / 80 + 0.5):
            at = self.x(value)
            ticks.append(f'<path d="M{at:.1f} {bottom}v4" stroke="#333"/>')
            ticks.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>')
        for value, text in rounded(self.y_ends, height / 35):
            at = self.y(value)
            ticks.append(f'<path d="M{left} {at:.1f}h-4" stroke="#333"/>')
            ticks.append(f'<text x="{left - 7}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
        ticks.append(
            f'<text x="{left + width / 2}" y="{bottom + 32}" text-anchor="middle">{escape(x_name)}</text>'
        )
        turned = f'transform="translate({left - 52} {middle}) rotate(-90)"'
        ticks.append(f'<text {turned} text-anchor="middle">{escape(y_name)}</text>')
        return "".join(ticks)


def source_drawing(cube: RadioCube, found: Detections, row: Row) -> str:
    """Spectrum of a source with its fit, and image of its line; for a resolved galaxy both within its mask.

    Parameters
    ----------
    cube : RadioCube
        The data.
    found : Detections
        The sources found.
    row : Row
        The source's row of the catalogue.

    Returns
    -------
    str
        SVG.
    """
    title = f"source {row['id']}: S/N {row['snr']:.1f}"
    parts = [f'<text x="70" y="14" class="title">{escape(title)}</text>', *_spectrum(cube, found, row)]
    parts += _image(cube, found, row)
    name = f'id="source-{row["id"]}" role="img" aria-label="{escape(title)}"'
    head = f'<svg {name} viewBox="0 0 {WIDTH} {HEIGHT}">'
    return head + "".join(parts) + "</svg>"


def _footprint(found: Detections, row: Row) -> Bool | None:
    """Pixels of a galaxy that was measured in its mask, ``[y, x]``; None for other sources."""
    if found.mask is None or row["flux_method"] != "mask":
        return None
    return np.asarray((found.mask == row["id"]).any(axis=0))


def _spectrum(cube: RadioCube, found: Detections, row: Row) -> list[str]:
    """The panel on the left: data, one sigma about the continuum, and models."""
    p = found.prepared
    n_chan, n_y, n_x = p.line.shape
    x, y = int(np.clip(round(row["x"]), 0, n_x - 1)), int(np.clip(round(row["y"]), 0, n_y - 1))
    scale, unit = brightness_unit(cube)
    whole = _footprint(found, row)
    centre = row["z"] if np.isfinite(row["z"]) else (n_chan - 1) / 2
    first = int(np.clip(round(centre) - MOST_CHANNELS // 2, 0, max(0, n_chan - MOST_CHANNELS)))
    z = np.arange(first, min(n_chan, first + MOST_CHANNELS))
    used = p.sigma[z] > 0
    at: tuple[slice, Index, Index]
    at = (slice(z[0], z[-1] + 1), *(np.nonzero(whole) if whole is not None else np.array([[y], [x]])))
    factor = np.ones(at[1].size) if p.relative is None else np.nan_to_num(p.relative[at[1:]], nan=1.0)
    # a galaxy's spectrum is the flux of all its pixels
    area = 1.0 if whole is None else np.pi / (4 * np.log(2)) * p.beam[0] * p.beam[1]
    unit = unit if whole is None else unit.removesuffix("/beam")
    level, slope = (np.where(p.present[at[1:]], v[at[1:]], 0) for v in (p.continuum.level, p.continuum.slope))
    base = ((level + slope * (z[:, None] - p.continuum.middle)) * factor).sum(axis=1) * scale / area
    data = np.where(used, (np.nan_to_num(p.data[at]) * factor).sum(axis=1) * scale / area, np.nan)
    beams = 1.0 if whole is None else max(at[1].size / area, 1.0)
    noise = p.sigma[z] * scale * float(np.sqrt((factor**2).mean() * beams))
    model = None if found.model is None else base + found.model[at].sum(axis=1) * scale / area
    own = None
    fine = np.linspace(z[0], z[-1], 8 * (len(z) - 1) + 1)
    if np.isfinite(row["z"]) and whole is None:
        divided = np.isfinite(row["pb"]) and not found.catalog.meta["primary_beam_in_data"]
        peak = row["flux_peak"] * (row["pb"] if divided else 1.0) * 1e3
        own = np.interp(fine, z, base) + peak * line_profile(fine, row["z"], row["fwhm_z"])
    values, name = spectral_axis(cube)
    low, high = sorted((float(values[z[0]]), float(values[z[-1]])))
    drawn = np.concatenate(
        [v[np.isfinite(v)] for v in (data, base + noise, base - noise, model, own) if v is not None]
    )
    bottom, top = (float(drawn.min()), float(drawn.max())) if drawn.size else (0.0, 1.0)
    margin = 0.05 * max(top - bottom, 1e-12)
    panel = Panel((70, 22, 560, 164), (low, high), (bottom - margin, top + margin))
    edge = np.append(z - 0.5, z[-1] + 0.5).repeat(2)[1:-1]
    stair = np.clip(np.interp(edge, np.arange(n_chan), values), low, high)
    parts = []
    if np.isfinite(row["z"]):
        wide = row["fwhm_z"] if whole is None else row["fwhm_z"] / 2
        ends = panel.x(np.interp([row["z"] - wide, row["z"] + wide], np.arange(n_chan), values))
        a, b = np.clip(np.sort(ends), 70, 630)
        parts.append(
            f'<rect x="{a:.1f}" y="22" width="{b - a:.1f}" height="164" fill="{EMISSION}" opacity=".12"/>'
        )
    around = (
        np.append(stair, stair[::-1]),
        np.append((base + noise).repeat(2), (base - noise).repeat(2)[::-1]),
    )
    parts.append(panel.line(*around, 'fill="#ddd"'))
    parts.append(panel.line(stair, data.repeat(2), 'fill="none" stroke="#444" stroke-width=".9"'))
    if model is not None:
        parts.append(panel.line(values[z], model, f'fill="none" stroke="{EMISSION}" stroke-width="1.4"'))
    if own is not None:
        dashed = f'fill="none" stroke="{ABSORPTION}" stroke-dasharray="4 2"'
        parts.append(panel.line(np.interp(fine, np.arange(n_chan), values), own, dashed))
    return [*parts, panel.axes(name, unit)]


def _image(cube: RadioCube, found: Detections, row: Row) -> list[str]:
    """The panel on the right: data summed over the line, centred on the source."""
    p = found.prepared
    n_chan, n_y, n_x = p.line.shape
    frame, whole = cube.frame(row["x"], row["y"]), _footprint(found, row)
    wide = np.nan_to_num(frame.to_pixels(*(row[name] for name in SHAPE))[0][0])
    half = int(max(2.5 * p.beam_pixels, 1.5 * np.hypot(wide, p.beam_pixels)))
    x, y = round(row["x"]), round(row["y"])
    ys, xs = slice(max(0, y - half), min(n_y, y + half + 1)), slice(max(0, x - half), min(n_x, x + half + 1))
    low, high = 0, n_chan - 1
    if np.isfinite(row["z"]):
        low = int(np.clip(np.floor(row["z"] - row["fwhm_z"] / 2), 0, n_chan - 1))
        high = int(np.clip(np.ceil(row["z"] + row["fwhm_z"] / 2), low, n_chan - 1))
    values = p.line[low : high + 1, ys, xs]
    if whole is not None and found.mask is not None:
        values = np.where(found.mask[:, ys, xs] == row["id"], p.line[:, ys, xs], 0)
    image = values.sum(axis=0)
    if p.relative is not None:
        image = image * np.nan_to_num(p.relative[ys, xs], nan=1.0)
    if not image.size:
        return []
    side_x, side_y = (float(v) for v in np.hypot(*frame.matrix[0]))
    ends_x = tuple((v - 0.5 - row["x"]) * side_x for v in (xs.start, xs.stop))
    ends_y = tuple((v - 0.5 - row["y"]) * side_y for v in (ys.start, ys.stop))
    shape = np.array([ends_x[1] - ends_x[0], ends_y[1] - ends_y[0]])
    wide, high_side = 164 * shape / shape.max()
    panel = Panel((710, 22, wide, high_side), ends_x, ends_y)
    over = "over the line" if np.isfinite(row["z"]) else "over all channels"
    over = over if whole is None else "within the mask"
    return [
        f'<image x="710" y="22" width="{wide:.1f}" height="{high_side:.1f}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="{_coloured(image)}"/>',
        f'<path d="M{panel.x(0):.1f} {panel.y(0) - 5:.1f}v10m-5 -5h10" stroke="{EMISSION}"/>',
        f'<text x="710" y="14">integrated {over}</text>',
        panel.axes("along x [arcsec]", "along y [arcsec]"),
    ]  # fmt: skip


def _coloured(image: Array) -> str:
    """A small map as the ``data:`` URL of a PNG, north up."""
    from PIL import Image

    values = np.nan_to_num(image)
    shades = Layer("", "", values, "amount", float(values.min()), float(values.max())).shades()
    picture = Image.fromarray(shades[::-1])
    picture.putpalette(b"\0\0\0" + b"".join(bytes.fromhex(c[1:]) for c in palette("amount")))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
