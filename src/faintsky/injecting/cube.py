"""Emitters injected into a user's own cube, to measure completeness and flux bias.

A source is drawn on the sky, multiplied by the primary beam, convolved with the cube's psf, scaled to a
matched S/N at its position, and added to the data. The psf is given, measured from the noise of a dirty cube,
or the header's Gaussian for a restored cube. Real noise, sidelobes, continuum residuals and emission remain
as they are.
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
from astropy.table import Table
from scipy.ndimage import distance_transform_edt

from faintsky.arrays import Bool, Float, Labels
from faintsky.companions import cut
from faintsky.detection import flux_width, world_columns
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.image import SHAPE, RadioCube
from faintsky.injecting.recovery import add_found, inner_pixels
from faintsky.matching import column, match
from faintsky.preparing import PreparedCube, PrimaryBeam, gaussian_psf, precision
from faintsky.source_model import (
    frequencies_2d,
    gaussian_transform,
    line_profile,
    matched_norm,
    psf_transform,
)

SIZES = (0.0, 1.5)
"""Range of the sources' major axis [beam]; the axis ratio is 0.4 to 1."""
LINE_WIDTHS = (3.0, 12.0)
"""Range of the lines' FWHM [channel], at most an eighth of the band."""
APART = 3.0
"""Least distance of two sources in one run, in observed widths of the wider one."""
_TRIES = 2000


@dataclass
class CubePlace:
    """A cube into which sources are injected, and its own sources.

    Parameters
    ----------
    data : RadioCube
        The user's cube.
    prepared : PreparedCube
        Its noise, psf and beam.
    taken : array of bool
        Voxels of the cube's own sources, ``[chan, y, x]``.
    own : Table
        The cube's own sources.

    Attributes
    ----------
    SNR_RANGE : tuple of float
        Default range of the sources' matched S/N, which is uniform.
    PER_RUN, LEVEL : int, float
        Default number of sources at a time, and S/N at which the completeness is reported.
    """

    SNR_RANGE: ClassVar = (3.0, 20.0)
    PER_RUN: ClassVar = 10
    LEVEL: ClassVar = 7.0

    data: RadioCube
    prepared: PreparedCube
    taken: Bool
    own: Table

    @cached_property
    def beam(self) -> PrimaryBeam:
        """The primary beam."""
        return PrimaryBeam(self.data, self.prepared.relative, self.prepared.valid)

    @cached_property
    def _padded(self) -> tuple[int, int]:
        return 2 * self.prepared.valid.shape[0], 2 * self.prepared.valid.shape[1]

    @cached_property
    def room(self) -> Bool:
        """Pixels at least a beam away from blank ones and within the mask, if there is one, ``[y, x]``."""
        return inner_pixels(self.data, self.prepared)

    def seen(self, x: float, y: float, maj: float, minor: float, pa: float, z: float) -> Float:
        """Image of a source of 1 Jy, convolved with the psf of its channel.

        Parameters
        ----------
        x, y : float
            Centre [pixel].
        maj, minor, pa : float
            Widths [pixel] and position angle [deg].
        z : float
            Channel.

        Returns
        -------
        array
            ``[y, x]`` [Jy/beam]
        """
        planes, beam_at = self.prepared.psf, self.prepared.beam_at(self.data)
        psf = planes[min(max(round(z), 0), len(planes) - 1)] if len(planes) > 1 else planes[0]
        if beam_at is not None:
            psf = gaussian_psf((psf.shape[0], psf.shape[1]), *beam_at(x, y))
        n_y, n_x = psf.shape
        padded = np.zeros(self._padded)
        padded[:n_y, :n_x] = psf
        centred = np.roll(padded, (-(n_y // 2), -(n_x // 2)), axis=(0, 1))
        fx, fy = frequencies_2d(*self._padded)
        source = gaussian_transform(fx, fy, x, y, maj, minor, pa)
        return np.fft.irfft2(np.fft.rfft2(centred) * source, s=self._padded)[:n_y, :n_x]

    def received(self, row: Any) -> tuple[Float, float]:
        """Noise of every channel at a source [Jy/beam], and the fraction of its flux in the data."""
        x, y = row["x"], row["y"]
        return self.prepared.sigma * self.prepared.gain(x, y), self.beam.share(x, y, row["z"])

    def draw(self, n: int, rng: np.random.Generator, snr: tuple[float, float]) -> Table:
        """Draw sources away from each other and from the cube's own.

        Parameters
        ----------
        n : int
            Number of sources.
        rng : numpy.random.Generator
            The source of random numbers.
        snr : tuple of float
            Range of the matched S/N.

        Returns
        -------
        Table
            Columns of a truth table, and ``share``, the fraction of the flux in the data. It has fewer rows
            if there is no room.
        """
        from faintsky.catalog import make_table

        prepared = self.prepared
        n_chan = len(prepared.sigma)
        ys, xs = np.nonzero(self.room)
        good = np.flatnonzero(prepared.sigma > 0)
        widest = max(min(LINE_WIDTHS[1], n_chan / 8), LINE_WIDTHS[0])
        drawn: list[dict[str, float]] = []
        for _ in range(_TRIES if len(ys) else 0):
            if len(drawn) == n:
                break
            k = int(rng.integers(len(ys)))
            maj = rng.uniform(*SIZES) * prepared.beam_pixels
            fwhm_z = rng.uniform(LINE_WIDTHS[0], widest)
            new = {
                "x": xs[k] + rng.uniform(-0.5, 0.5), "y": ys[k] + rng.uniform(-0.5, 0.5),
                "z": rng.uniform(good[0] + fwhm_z, max(good[-1] - fwhm_z, good[0] + fwhm_z)),
                "maj": maj, "min": maj * rng.uniform(0.4, 1.0), "pa": rng.uniform(0, 180), "fwhm_z": fwhm_z,
                "wanted": rng.uniform(*snr),
            }  # fmt: skip
            if self._free(new) and all(_apart(new, s, prepared.beam_pixels) for s in drawn):
                drawn.append(new)
        col = {k: np.array([s[k] for s in drawn]) for k in drawn[0]} if drawn else {}
        if not drawn:
            return make_table({"x": np.zeros(0)})
        columns: dict[str, Any] = world_columns(self.data, col["x"], col["y"], col["z"], col["fwhm_z"])
        shape = {"dc_maj": col["maj"], "dc_min": col["min"], "dc_pa": col["pa"]}
        columns["kind"] = np.full(len(col["x"]), "line")
        columns |= self.data.sky_columns({"x": col["x"], "y": col["y"], **shape})
        transfer = psf_transform(prepared.psf[len(prepared.psf) // 2])
        n_x = prepared.valid.shape[1]
        peak, share = np.zeros(len(drawn)), np.ones(len(drawn))
        for i, s in enumerate(drawn):
            sigma, share[i] = self.received(s)
            z = np.arange(
                max(int(s["z"] - 2 * s["fwhm_z"]), 0), min(int(s["z"] + 2 * s["fwhm_z"]) + 2, n_chan)
            )
            line = share[i] * line_profile(z, s["z"], s["fwhm_z"])
            noise = sigma[z]
            if prepared.channels is not None and (noise > 0).any():
                # errors of single channels' noise would look like a pattern that the noise does not have
                noise = np.where(noise > 0, np.sqrt((noise[noise > 0] ** 2).mean()), 0.0)
            spectral = line @ precision(noise, prepared.channels, z) @ line
            peak[i] = s["wanted"] / np.sqrt(
                spectral * matched_norm(transfer, n_x, s["maj"], s["min"], s["pa"])
            )
        per_channel = flux_width(self.data, col["z"])
        columns["flux"] = peak * col["fwhm_z"] * per_channel * np.sqrt(2 * np.pi) / FWHM_PER_SIGMA
        columns |= {"snr": col["wanted"], "line_flux_peak": peak, "share": share}
        return make_table(columns)

    def _free(self, s: dict[str, float]) -> bool:
        """Whether the voxels within a source's half widths are free of the cube's own sources."""
        half = max(s["maj"] / 2, 1.0)
        z = slice(max(int(s["z"] - s["fwhm_z"]), 0), int(s["z"] + s["fwhm_z"]) + 2)
        y = slice(max(int(s["y"] - half), 0), int(s["y"] + half) + 2)
        x = slice(max(int(s["x"] - half), 0), int(s["x"] + half) + 2)
        return not self.taken[z, y, x].any()

    def with_sources(self, sources: Table) -> RadioCube:
        """The cube with the sources of `draw`; blank voxels stay blank."""
        cube = self.data
        n_chan = cube.shape[0]
        data = np.array(cube.data, dtype=np.float32)
        unit = np.broadcast_to(cube.working_factors(), (n_chan,))
        live = ~cube.blank_channels
        x, y = np.array(sources["x"]), np.array(sources["y"])
        shapes = cube.frame(x, y).to_pixels(*(np.array(sources[name]) for name in SHAPE))
        unit = unit * cube.peak_factor(x, y)[:, None]
        for s, one, shape in zip(sources, unit, zip(*shapes)):
            image = self.seen(s["x"], s["y"], *shape, s["z"])
            line = s["line_flux_peak"] * s["share"] * line_profile(np.arange(n_chan), s["z"], s["fwhm_z"])
            for k in np.flatnonzero((np.abs(line) > 1e-6 * np.abs(line).max()) & live):
                data[k] += (image * (line[k] / one[k])).astype(np.float32)
        return replace(cube, load=partial(cut, data))

    def compare(self, sources: Table, found: Table) -> tuple[Table, int]:
        """Match injected sources and detections.

        Returns
        -------
        sources : Table
            With ``found`` and ``found_flux``, ``found_flux_err``, ``found_snr``, ``found_x``, ``found_y``,
            ``found_z``, ``found_reliability``.
        others : int
            Detections that are neither injected nor in the cube's own catalogue.
        """
        rule = "position" if np.isfinite(column(found, "z")).any() else "position2d"
        pairs = match(sources, found, rule)
        names = ("flux", "flux_err", "snr", "x", "y", "z", "reliability")
        add_found(sources, pairs, {name: column(found, name) for name in names})
        return sources, len(match(self.own, found[pairs.unmatched_found], rule).unmatched_found)


def place_in_cube(cube: RadioCube, catalog: Table, mask: Labels | None, prepared: PreparedCube) -> CubePlace:
    """The place for sources in a cube, with its own sources and a beam around them excluded.

    Parameters
    ----------
    cube : RadioCube
    catalog : Table
        Sources found in it.
    mask : array or None
        Their labels, ``[chan, y, x]``; None uses their boxes.
    prepared : PreparedCube
        Noise, psf and beam of the cube.

    Returns
    -------
    CubePlace
    """
    taken: Bool = np.zeros(cube.shape, dtype=bool)
    if mask is not None:
        taken = mask > 0
    elif "x_min" in catalog.colnames:
        for row in catalog:
            z = (row["z_min"], row["z_max"]) if np.isfinite(row["z_min"]) else (0, cube.shape[0])
            box = np.s_[
                max(int(z[0]), 0) : int(z[1]) + 2,
                max(row["y_min"], 0) : row["y_max"] + 1,
                max(row["x_min"], 0) : row["x_max"] + 1,
            ]
            taken[box] = True
    near = [distance_transform_edt(~t) <= prepared.beam_pixels if t.any() else t for t in taken]
    return CubePlace(cube, prepared, np.array(near), catalog)


def _apart(a: dict[str, float], b: dict[str, float], beam: float) -> bool:
    wide = np.hypot(beam, max(a["maj"], b["maj"]))
    return bool(np.hypot(a["x"] - b["x"], a["y"] - b["y"]) >= APART * wide)
