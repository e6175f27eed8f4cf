"""Truth tables: sources injected into a cube, and regions of an image's true sky above the noise.

For regions, the true sky times the primary beam, at the resolution of the fitted beam, is cut at `LEVEL`
times the noise. Pixels that touch, by a side or a corner, form a region. Position, widths and flux are those
of the true sky itself within the region (not attenuated, not convolved): its centroid, the Gaussian with its
second moments, and its sum. The peak is that of the true sky at the beam's resolution.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.arrays import Array, Array32, Bool, Float, Int
from faintsky.beams import beam_pixels, observed_sizes
from faintsky.catalog import join_flags, mask_extents
from faintsky.grid import FWHM_PER_SIGMA, SPEED_OF_LIGHT, ImageGrid, LocalFrame, local_frame, wrapped
from faintsky.simulating.instrument import Instrument
from faintsky.sky import SkyModel, shape_of_moments
from faintsky.source_model import frequencies_2d, gaussian_transform, matched_snr, rfft_weights

BOX_RULES = {
    "paper": "pixels of the source's own noise-free image, scaled to 0-1, at or above 3 standard deviations "
    "of that image; along z the line's centre +- its FWHM",
    "tenth": "pixels of the source's own noise-free image at or above a tenth of its peak; along z the "
    "line's centre +- its FWHM",
}


def to_sky(grid: ImageGrid, x: Float, y: Float) -> tuple[NDArray, NDArray]:
    """Right ascension and declination of pixels (SIN projection), both [deg].

    Parameters
    ----------
    grid : ImageGrid
        The pixels.
    x, y : array
        Pixels from 0.

    Returns
    -------
    ra, dec : array
        [deg]
    """
    east, north = -(x - grid.x0) * grid.cell_rad, (y - grid.y0) * grid.cell_rad
    forward = np.sqrt(1 - east**2 - north**2)
    dec0 = np.deg2rad(grid.dec)
    ra = np.deg2rad(grid.ra) + np.arctan2(east, forward * np.cos(dec0) - north * np.sin(dec0))
    dec = np.arcsin(north * np.cos(dec0) + forward * np.sin(dec0))
    return wrapped(np.rad2deg(ra)), np.rad2deg(dec)


def grid_frame(grid: ImageGrid, x: ArrayLike, y: ArrayLike) -> LocalFrame:
    """Local frames of the sky at pixels.

    Parameters
    ----------
    grid : ImageGrid
        The pixels.
    x, y : array
        Pixels from 0, ``[n]`` or a number.

    Returns
    -------
    LocalFrame
    """
    return local_frame(lambda i, j: to_sky(grid, i, j), x, y)


class BeamResponse:
    """Dirty peak and matched S/N of compact sources.

    Parameters
    ----------
    instrument : Instrument
        The psf of its middle channel is used.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.transfer, self.n = instrument.small_transfer()
        self._fx, self._fy = frequencies_2d(*((self.n,) * 2))
        self._total = self.transfer * rfft_weights(self.n) / self.n**2

    def peak(self, fwhm_maj: float, fwhm_min: float, pa: float) -> float:
        """Dirty brightness at the centre of a Gaussian of unit flux: 1 for a point, less if resolved.

        Parameters
        ----------
        fwhm_maj, fwhm_min : float
            Widths [pixel].
        pa : float
            Position angle [deg].

        Returns
        -------
        float
            [1/beam]
        """
        shape = gaussian_transform(self._fx, self._fy, 0.0, 0.0, fwhm_maj, fwhm_min, pa).real
        return float((self._total * shape).sum())

    def snr(self, line: Float, sigma: Float, fwhm_maj: float, fwhm_min: float, pa: float) -> float:
        """Matched S/N of a line; see `faintsky.source_model.matched_snr`.

        Parameters
        ----------
        line : array
            Flux density as received, ``[chan]`` [Jy].
        sigma : array
            Noise, ``[chan]`` [Jy/beam].
        fwhm_maj, fwhm_min : float
            Widths [pixel].
        pa : float
            Position angle [deg].

        Returns
        -------
        float
        """
        return matched_snr(line, sigma, self.transfer, self.n, fwhm_maj, fwhm_min, pa)


def box(image: Array32, rule: str) -> tuple[int, int, int, int]:
    """``x_min, x_max, y_min, y_max`` (inclusive) of a source's own image ``[y, x]``; see `BOX_RULES`."""
    low, high = float(image.min()), float(image.max())
    level = low + 3 * float(image.std()) if rule == "paper" else 0.1 * high
    ys, xs = np.nonzero(image >= min(level, high))
    return int(xs.min()), int(xs.max()), int(ys.min()), int(ys.max())


def truth_columns(
    sky: SkyModel,
    instrument: Instrument,
    sigma: Float,
    continuum: Float,
    rest_frequency: float,
    rule: str,
    response: BeamResponse,
    rotating: Mapping[int, tuple[float, float]],
) -> dict[str, Any]:
    """Columns of a cube's truth table.

    Parameters
    ----------
    sky : SkyModel
        The true sky.
    instrument : Instrument
        The instrument.
    sigma : array
        Noise of the cube for the S/N, ``[chan]`` [Jy/beam]; not finite for blank channels.
    continuum : array
        Noise-free dirty continuum at each source's position and line frequency, ``[source]`` [Jy/beam].
    rest_frequency : float
        [Hz]
    rule : str
        One of `BOX_RULES`.
    response : BeamResponse
        Response of the instrument.
    rotating : mapping
        Matched S/N and peak [Jy/beam] of the sources that are not Gaussians, by their number.

    Returns
    -------
    dict
        Columns of the catalogue, and ``continuum_flux`` and ``line_flux_peak`` [Jy], ``spectral_index`` and
        ``central``. In the ``varied`` preset also ``source``, which the lines of one source share.
    """
    s, grid, spectral = sky.sources, sky.grid, sky.spectral
    n = sky.n_sources
    if n == 0:
        return {"id": np.zeros(0, dtype=int)}
    pb = instrument.primary_beam_at(s["x"], s["y"], s["z"])
    noise = np.where(np.isfinite(sigma), sigma, np.inf)
    shapes = list(zip(s["fwhm_maj"], s["fwhm_min"], s["pa"], strict=True))
    peak = s["line_flux_peak"] * [response.peak(*shape) for shape in shapes]
    snr = np.array([response.snr(sky.line_of(i) * pb[i], noise, *shapes[i]) for i in range(n)])
    for i, (own_snr, own_peak) in rotating.items():
        snr[i], peak[i] = own_snr, own_peak / pb[i]
    ra, dec = to_sky(grid, s["x"], s["y"])
    shape = grid_frame(grid, s["x"], s["y"]).to_sky(s["fwhm_maj"], s["fwhm_min"], s["pa"])
    intrinsic = dict(zip(("dc_maj", "dc_min", "dc_pa"), shape))
    freq = spectral.first + spectral.width * s["z"]
    kms = SPEED_OF_LIGHT / 1e3
    fwhm_velocity = s["fwhm_z"] * abs(spectral.width) / rest_frequency * kms
    # the area of a Gaussian of unit peak and FWHM is sqrt(2 pi) / 2.3548
    line = s["line_flux_peak"] * np.sqrt(2 * np.pi) / FWHM_PER_SIGMA * s.get("line_area", 1.0)
    channel = np.clip(np.rint(s["z"]), 0, len(noise) - 1).astype(int)
    boxes = np.array([box(sky.line_image(i), rule) for i in range(n)])
    beam = float(np.sqrt(instrument.beams[:, :2].prod(axis=1)).mean()) / grid.cell
    return {
        **{name: s[name] for name in ("x", "y", "z", "fwhm_z", "continuum_flux", "line_flux_peak")},
        **{name: s[name] for name in ("spectral_index", "source") if name in s},
        **{"id": np.arange(1, n + 1), "ra": ra, "dec": dec, "freq": freq},
        "velocity": kms * (1 - freq / rest_frequency),
        **_common(n, "line", intrinsic, instrument.beams[len(instrument.beams) // 2]),
        **{"fwhm_velocity": fwhm_velocity, "flux": line * fwhm_velocity},
        "flux_hz": line * s["fwhm_z"] * abs(spectral.width),
        **{"flux_peak": peak, "pb": pb, "continuum": continuum / pb, "snr": snr},
        "rms": np.where(np.isfinite(noise), noise, np.nan)[channel],
        **dict(zip(("x_min", "x_max", "y_min", "y_max"), boxes.T)),
        **{"z_min": s["z"] - s["fwhm_z"], "z_max": s["z"] + s["fwhm_z"]},
        "flags": _flags(s, beam, grid, np.isfinite(sigma)),
        "central": s["central"].astype(bool),
    }


def _common(n: int, kind: str, intrinsic: Mapping[str, Any], beam: Array) -> dict[str, Any]:
    """Columns of all sources: their kind, and their sizes without and with the beam."""
    known = {"kind": np.full(n, kind), "n_components": np.ones(n, dtype=int), "reliability": np.ones(n)}
    return {**known, **intrinsic, **observed_sizes(intrinsic, beam)}


def _flags(s: Mapping[str, NDArray], beam: float, grid: ImageGrid, seen: Bool) -> list[str]:
    """Flags of `faintsky.catalog.FLAGS`.

    ``blended`` means that the widths of two sources (with the beam) meet, ``edge`` is for the cube's ends and
    blank channels, and ``extended`` for more than three beams.
    """
    flags = []
    reach = np.sqrt(s["fwhm_maj"] ** 2 + beam**2)
    number = s.get("source", np.arange(len(s["x"])))
    for i in range(len(s["x"])):
        apart = np.hypot(s["x"] - s["x"][i], s["y"] - s["y"][i])
        near = (apart < (reach + reach[i]) / 2) & (number != number[i])
        low, high = s["z"][i] - s["fwhm_z"][i], s["z"][i] + s["fwhm_z"][i]
        beyond = low < 0 or high > len(seen) - 1 or not seen[int(low) : int(np.ceil(high)) + 1].all()
        outside = not (0 <= s["x"][i] <= grid.n_x - 1 and 0 <= s["y"][i] <= grid.n_y - 1)
        holds = {
            "blended": near.any(),
            "edge": beyond or outside,
            "extended": s["fwhm_maj"][i] > 3 * beam,
            "absorption": s["line_flux_peak"][i] < 0,
            "rotating": bool(s["rotating"][i]) if "rotating" in s else False,
        }
        flags.append(join_flags(name for name, value in holds.items() if value))
    return flags


LEVEL = 1.0
"""Least signal-to-noise ratio of a region's pixels."""
REGION_RULE = (
    f"pixels of the true sky times the primary beam, convolved with the fitted beam, at or above {LEVEL:g} "
    "times the noise, connected by a side or a corner"
)


def at_resolution(image: Array, beam: Array, cell: float) -> Float:
    """An image convolved with a Gaussian beam of unit peak; outside the image it is 0.

    Parameters
    ----------
    image : array
        ``[y, x]`` [Jy/pixel]
    beam : array
        ``[3]``: major, minor [arcsec], position angle [deg].
    cell : float
        Side of a pixel [arcsec].

    Returns
    -------
    array
        ``[y, x]`` [Jy/beam]
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    maj, minor = beam[0] / cell, beam[1] / cell
    n_y, n_x = (next_fast_len(n + int(2.5 * maj), real=True) for n in image.shape)
    kernel = gaussian_transform(*frequencies_2d(n_y, n_x), 0.0, 0.0, maj, minor, float(beam[2])).real
    wide = irfft2(rfft2(image, s=(n_y, n_x)) * kernel, s=(n_y, n_x))
    return wide[: image.shape[0], : image.shape[1]] * float(beam_pixels(beam, cell)[0])


def region_columns(sky: Array, pb: Array, beam: Array, rms: float, grid: ImageGrid) -> dict[str, Any]:
    """Columns of an image's truth table.

    Parameters
    ----------
    sky : array
        The true sky, ``[y, x]`` [Jy/arcsec2].
    pb : array
        Primary beam, ``[y, x]``.
    beam : array
        ``[3]``: major, minor [arcsec], position angle [deg].
    rms : float
        Noise [Jy/beam].
    grid : ImageGrid
        The pixels.

    Returns
    -------
    dict
        Columns of the catalogue, including ``area`` of the region [arcsec2].
    """
    from scipy.ndimage import find_objects, label, maximum, maximum_position

    flux = np.asarray(sky, dtype=float) * grid.cell**2
    seen = at_resolution(flux * pb, beam, grid.cell)
    labels, n = label(seen >= LEVEL * rms, structure=np.ones((3, 3)))
    if n == 0:
        return {"id": np.zeros(0, dtype=int)}
    ids = np.arange(1, n + 1)
    inside = np.nonzero(labels.ravel())[0]
    which = labels.ravel()[inside] - 1
    y, x = (v.astype(float) for v in np.divmod(inside, grid.n_x))
    # a region that holds only another's wings has no flux of its own, and its pixels get equal weights
    weight = np.maximum(flux.ravel()[inside], 0.0) + 1e-12 * seen.ravel()[inside]

    def total(values: Float) -> Float:
        return np.bincount(which, weights=values, minlength=n).astype(float)

    norm = total(weight)
    x0, y0 = total(weight * x) / norm, total(weight * y) / norm
    xx, yy = total(weight * (x - x0[which]) ** 2) / norm, total(weight * (y - y0[which]) ** 2) / norm
    xy = total(weight * (x - x0[which]) * (y - y0[which])) / norm
    frame = grid_frame(grid, x0, y0)
    intrinsic = dict(zip(("dc_maj", "dc_min", "dc_pa"), frame.to_sky(*shape_of_moments(xx, yy, xy))))
    peak = np.array(maximum_position(seen, labels, ids))
    ra, dec = to_sky(grid, x0, y0)
    boxes = find_objects(labels)
    ends = np.array([[v for side in b for v in (side.start, side.stop - 1)] for b in boxes])
    return {
        **{"id": ids, "ra": ra, "dec": dec, "x": x0, "y": y0},
        **_common(n, "diffuse", intrinsic, beam),
        "las": mask_extents(labels, ids, frame)["las"],
        "flux": total(flux.ravel()[inside]),
        "flux_peak": maximum(at_resolution(flux, beam, grid.cell), labels, ids),
        "pb": np.asarray(pb, dtype=float)[peak[:, 0], peak[:, 1]],
        "rms": np.full(n, rms),
        "snr": maximum(seen, labels, ids) / rms,
        **dict(zip(("y_min", "y_max", "x_min", "x_max"), ends.T)),
        "flags": _region_flags(ends, intrinsic["dc_maj"], beam, grid),
        "area": np.bincount(which, minlength=n) * grid.cell**2,
    }


def _region_flags(ends: Int, major: Float, beam: Array, grid: ImageGrid) -> list[str]:
    at_edge = (ends == [0, grid.n_y - 1, 0, grid.n_x - 1]).any(axis=1)
    sizes = np.select([major < beam[1] / 2, major > 2 * beam[0]], ["unresolved", "extended"], "")
    pairs = zip(np.where(at_edge, "edge", ""), sizes, strict=True)
    return [join_flags(str(flag) for flag in pair if flag) for pair in pairs]
