"""The primary beam of an image or cube: given, or the telescope's by the header; corrected for or not."""

import re
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import map_coordinates

from faintsky.arrays import Array, Bool, Float
from faintsky.grid import ARCSEC, SPEED_OF_LIGHT
from faintsky.image import RadioData

COMPACT = 60.0
"""Wavelength over beam below which ALMA's dishes are those of 7 m [m], whose longest baseline is 49 m."""
SINGLE = 15.0
"""Wavelength over beam below which there is only one dish [m]: its beam of 1.13 wavelengths over 12 m gives
10.6 m."""
LEAST = 0.02
"""Least primary beam by which an image is divided."""


class PrimaryBeam:
    """Primary beam of an image or cube.

    Parameters
    ----------
    data : RadioData
        With the primary beam given, or a header that names the telescope.
    noise : array, optional
        Of the data, in any unit, ``[y, x]``, or every n-th pixel; None where it is flat or unknown.
    valid : array of bool, optional
        Valid pixels of `noise`, same shape.
    in_data : bool, optional
        As below, if already known, as for a part of an image.

    Attributes
    ----------
    diameter : float or None
        Of the dishes [m]: given, or ALMA's by the beam; 0 for a single dish; None where unknown.
    in_data : bool
        Whether the data are already divided by it: their noise below 0.6 of the beam is 30 % higher than
        above 0.9. False without a noise map.
    """

    def __init__(
        self, data: RadioData, noise: Array | None = None, valid: Bool | None = None, *, in_data: bool = False
    ) -> None:
        self._data, self._is_given = data, "pb" in data.companions
        self.diameter = _diameter(data)
        self.in_data = in_data
        if noise is None or valid is None or not self.known:
            return
        plane = self._thinned(-(-data.shape[-2] // noise.shape[0]))
        inner, outer = noise[(plane > 0.9) & valid], noise[(plane > 0.1) & (plane < 0.6) & valid]
        if inner.size >= 10 and outer.size >= 10:
            self.in_data = bool(np.nanmedian(outer) > 1.3 * np.nanmedian(inner))

    @property
    def origin(self) -> str:
        """``given``, such as ``dishes of 12 m``, ``single dish`` (1 everywhere) or ``unknown``."""
        if self._is_given:
            return "given"
        if self.diameter is None:
            return "unknown"
        return f"dishes of {self.diameter:g} m" if self.diameter else "single dish"

    @property
    def known(self) -> bool:
        """Whether the primary beam is known."""
        return self.origin != "unknown"

    @property
    def meta(self) -> dict[str, Any]:
        """Metadata for a catalogue."""
        return {"primary_beam": self.origin, "primary_beam_in_data": self.in_data}

    @property
    def notes(self) -> list[str]:
        """What is assumed about the dishes, in words."""
        if self._is_given or self.diameter is None:
            return []
        if self.diameter == 0:
            return [
                "the beam is that of a single dish: no correction for a primary beam; --dish sets another"
            ]
        if self._data.dish is not None:
            return [f"primary beam of dishes of {self.diameter:g} m, as given"]
        told_by = "TELESCOP" if self._data.beams is None else "TELESCOP and the beam"
        return [f"primary beam of dishes of {self.diameter:g} m (from {told_by}); --dish sets another"]

    @cached_property
    def plane(self) -> Float | None:
        """The beam at the middle channel, ``[y, x]``, 0 where unknown; None if unknown everywhere."""
        return self._thinned(1) if self.known else None

    def _thinned(self, step: int) -> Float:
        """Every n-th pixel of `plane`, in strips."""
        n_chan, n_y, n_x = self._data.shape
        strips = []
        for first in range(0, n_y, 256 * step):
            rows = slice(first, min(first + 256 * step, n_y))
            if self._is_given:
                part = self._data.companion_part("pb", (rows, slice(0, n_x)))
                strips.append(part[len(part) // 2, ::step, ::step].astype(float))
            else:
                y, x = np.meshgrid(
                    np.arange(rows.start, rows.stop, step), np.arange(0, n_x, step), indexing="ij"
                )
                strips.append(self._power(x, y, n_chan // 2))
        return np.nan_to_num(np.concatenate(strips), nan=0.0)

    def at(self, x: float, y: float, z: float) -> float:
        """Value of the beam at a position.

        Parameters
        ----------
        x, y, z : float
            Pixel and channel.

        Returns
        -------
        float
            NaN where unknown.
        """
        given = self._data.pb
        if given is None:
            return float(self._power(x, y, z))
        k = int(np.clip(round(z), 0, given.shape[0] - 1))
        # unknown neighbours do not count as zero
        j, i = (slice(max(int(v) - 1, 0), int(v) + 3) for v in (max(y, 0.0), max(x, 0.0)))
        near = given[k, j, i]
        if not (near > 0).any():  # a blank channel: that of the nearest one with data
            others = np.flatnonzero((given[:, j, i] > 0).any(axis=(1, 2)))
            near = given[others[np.abs(others - z).argmin()], j, i] if others.size else near
        known = (near > 0).astype(float)
        filled = np.where(known > 0, near, 0.0).astype(float)
        at = [[y - j.start], [x - i.start]]
        value, weight = (map_coordinates(a, at, order=1, mode="nearest")[0] for a in (filled, known))
        return float(value / weight) if weight > 0 else np.nan

    def share(self, x: float, y: float, z: float) -> float:
        """Fraction of a flux that the data contain: the beam's value; 1 if unknown or already divided out.

        Parameters
        ----------
        x, y, z : float
            Pixel and channel.

        Returns
        -------
        float
        """
        value = np.nan if self.in_data else self.at(x, y, z)
        return value if np.isfinite(value) else 1.0

    def gain(self) -> Float:
        """Factor that corrects an image for the beam, ``[y, x]``, at most one over `LEAST`."""
        if self.plane is None or self.in_data:
            return np.ones(self._data.shape[1:])
        return 1 / np.maximum(self.plane, LEAST)

    def displacement(self, covariance: Float, x: float, y: float, z: float) -> Float:
        """Shift of a source's position by the beam's slope.

        A Gaussian times a beam that falls off to one side is a Gaussian shifted to the other side, by the
        covariance times the gradient of the beam's logarithm. The shift is zero where the beam is unknown, or
        already divided out.

        Parameters
        ----------
        covariance : array
            Intrinsic, ``[2, 2]`` in (x, y) [pixel**2].
        x, y, z : float
            Pixel and channel.

        Returns
        -------
        array
            ``(x, y)`` [pixel].
        """
        if not self.known or self.in_data:
            return np.zeros(2)
        step = 2.0
        ends = [self.at(x + dx, y + dy, z) for dx, dy in ((step, 0), (-step, 0), (0, step), (0, -step))]
        if not np.all(np.isfinite(ends)):
            return np.zeros(2)
        logs = np.log(ends)
        move = covariance @ np.array([logs[0] - logs[1], logs[2] - logs[3]]) / (2 * step)
        # far out the beam is no longer a Gaussian, and such a source is not a point in it
        return np.clip(move, -step, step)

    def _power(self, x: ArrayLike, y: ArrayLike, z: float) -> Float:
        """The telescope's beam at pixels and a channel; NaN where the dishes are unknown."""
        from faintsky.telescopes import primary_beam

        x = np.asarray(x, dtype=float)
        if not self.diameter:
            return np.full(x.shape, np.nan if self.diameter is None else 1.0)
        # other dishes are illuminated like those of 12 m
        own = 7.0 if self.diameter == 7.0 else 12.0
        radius = self._data.radius(x, y) * (self.diameter / own)
        return primary_beam(radius, float(self._data.frequency(z)), own)


def _diameter(data: RadioData) -> float | None:
    """See `PrimaryBeam`; the headers of ALMA's arrays all say ``ALMA``."""
    if data.spectral is None or data.spectral.relative:
        return None
    if data.dish is not None:
        return data.dish
    if not re.match(r"(ALMA|ACA)\b", str(data.header.get("TELESCOP", "")).strip().upper()):
        return None
    if data.beams is None:
        return 12.0
    beam = np.sqrt(data.beams[:, 0] * data.beams[:, 1]) * ARCSEC
    longest = float(np.nanmedian(SPEED_OF_LIGHT / data.spectral.frequencies / beam))
    return 0.0 if longest < SINGLE else 7.0 if longest < COMPACT else 12.0
