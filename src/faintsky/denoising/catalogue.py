"""From regions of a denoised image to a catalogue: fluxes, shapes by moments, and their errors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.ndimage import binary_dilation, find_objects

from faintsky.arrays import Array, Array32, Bool, Float, Labels
from faintsky.beams import beam_covariance, observed_sizes, sampling_errors
from faintsky.catalog import coordinates_meta, join_flags, make_table, mask_extents
from faintsky.denoising.regions import RegionSettings, relabelled
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.image import RadioImage
from faintsky.preparing import PreparedImage, PrimaryBeam, convolve
from faintsky.units import unit_text

SIDELOBE = 5.0
"""Regions whose peak is below this many times the rms of the sidelobes are flagged."""


@dataclass(frozen=True)
class MeasuredRegion:
    """Measurements of a region, in pixels and the image's unit summed over pixels.

    Attributes
    ----------
    number : int
        Its label.
    box : tuple of slice
        Pixels ``(y, x)`` that contain it.
    flux, flux_err : float
        Sum of the denoised image, and its standard error.
    peak, peak_err : float
        Brightest pixel, and its standard deviation.
    significance : float
        Largest mean over sigma.
    area : int
        [pixel]
    moments : array
        x, y [pixel], and the covariance's xx, xy and yy [pixel**2].
    errors : array
        Of `moments`.
    """

    number: int
    box: tuple[slice, slice]
    flux: float
    flux_err: float
    peak: float
    peak_err: float
    significance: float
    area: int
    moments: Float
    errors: Float


def sum_error(sigma: Array, kernel: Float) -> float:
    """Standard error of a weighted sum over pixels, ``sqrt(sum_ij s_i s_j rho_ij)``.

    Parameters
    ----------
    sigma : array
        Standard deviation times weight of each pixel, ``[y, x]``, 0 outside the sum.
    kernel : array
        ``rho``, by the separation of two pixels.
    """
    reach = [(k // 2, n - 1) for k, n in zip(kernel.shape, sigma.shape)]
    # pairs of pixels are at most as far apart as the box is wide
    inner = tuple(slice(max(h - n, 0), h + min(h, n) + 1) for h, n in reach)
    s = np.asarray(sigma, dtype=float)
    return float(np.sqrt(max((s * convolve(s, kernel[inner])).sum(), 0.0)))


def measure(
    mean: Array, sigma: Array, labels: Labels, kernel: Float, *, shapes: bool = True
) -> list[MeasuredRegion]:
    """Measure every region of a denoised image.

    Parameters
    ----------
    mean, sigma : array
        Denoised image and its standard deviation, ``[y, x]``, in one unit.
    labels : array of int
        ``[y, x]``, 0 outside of regions.
    kernel : array
        Of `RegionSettings.error_kernel`.
    shapes : bool, optional
        Whether to calculate the errors of the moments, which takes most of the time; otherwise NaN.

    Returns
    -------
    list of MeasuredRegion
    """
    regions = []
    for number, box in enumerate(find_objects(labels), start=1):
        if box is None:
            continue
        inside = labels[box] == number
        f = np.where(inside, mean[box], 0).astype(float)
        s = np.where(inside, sigma[box], 0).astype(float)
        total = f.sum()
        yy, xx = np.indices(f.shape)
        x, y = (xx * f).sum() / total, (yy * f).sum() / total
        dx, dy = xx - x, yy - y
        second = [dx * dx, dx * dy, dy * dy]
        cov = [(m * f).sum() / total for m in second]
        # derivative of a weighted mean by a pixel: its value minus the mean, over the sum
        slopes = [dx, dy, *(m - c for m, c in zip(second, cov))]
        at = np.unravel_index(int(f.argmax()), f.shape)
        errors = np.array([sum_error(s * d, kernel) / total if shapes else np.nan for d in slopes])
        regions.append(
            MeasuredRegion(
                number, box, total, sum_error(s, kernel), float(f[at]), float(s[at]),
                float((f / np.where(s > 0, s, np.inf)).max()), int(inside.sum()),
                np.array([x + box[1].start, y + box[0].start, *cov]),
                np.maximum(errors, _within_a_pixel(f.shape)),
            )
        )  # fmt: skip
    return regions


def region_reliability(r: MeasuredRegion, noise: Array, settings: RegionSettings, beam_area: float) -> float:
    """Probability that a region is real.

    Parameters
    ----------
    r : MeasuredRegion
    noise : array
        ``[y, x]``, in the image's unit.
    settings : RegionSettings
    beam_area : float
        [pixel]; 1 for white noise.

    Returns
    -------
    float
    """
    error = float(settings.flux_error(r.flux, r.flux_err, noise[r.box].max() * beam_area))
    return float(settings.probability(r.flux / max(error, 1e-300), r.significance, r.area / beam_area))


def _within_a_pixel(shape: tuple[int, ...]) -> Float:
    """Least errors of a region's moments: a region one pixel wide may lie anywhere in that pixel."""
    one = [n == 1 for n in shape[::-1]]
    return np.array([*one, one[0], any(one), one[1]]) * (1 / 12) ** np.array([0.5, 0.5, 1, 1, 1])


def _shape(moments: Float, errors: Float, beam: Float | None) -> dict[str, float]:
    """Intrinsic FWHMs and position angle, with errors [pixel, deg], beam deconvolved."""
    cov = np.array([[moments[2], moments[3]], [moments[3], moments[4]]])
    if beam is not None:
        cov = cov - beam_covariance((beam[0], beam[1], beam[2]))
    values, vectors = np.linalg.eigh(cov)
    fwhm = FWHM_PER_SIGMA * np.sqrt(np.maximum(values, 0))
    out: dict[str, float] = {}
    for name, k in (("min", 0), ("maj", 1)):
        vx, vy = vectors[:, k]
        spread = np.sqrt(
            (vx * vx * errors[2]) ** 2 + (2 * vx * vy * errors[3]) ** 2 + (vy * vy * errors[4]) ** 2
        )
        # an unresolved axis is smaller than its error
        low = FWHM_PER_SIGMA**2 * spread / 2
        out[f"dc_{name}"], out[f"dc_{name}_err"] = fwhm[k], low / max(fwhm[k], np.sqrt(low), 1e-9)
    out["dc_pa"] = float(np.rad2deg(np.arctan2(-vectors[0, 1], vectors[1, 1])) % 180)
    cross = np.sqrt(errors[3] ** 2 + ((errors[2] + errors[4]) / 4) ** 2)
    out["dc_pa_err"] = float(min(np.rad2deg(cross / max(values[1] - values[0], 1e-9)), 90.0))
    return out


def region_catalog(
    image: RadioImage,
    prepared: PreparedImage,
    mean: Array32,
    sigma: Array32,
    labels: Labels,
    settings: RegionSettings,
    sidelobes: Array | None = None,
    beam: PrimaryBeam | None = None,
) -> Table:
    """Catalogue of all regions, with their labels as ``id``, in this order.

    Parameters
    ----------
    image : RadioImage
        The input, for coordinates and primary beam.
    prepared : PreparedImage
        The input, prepared.
    mean, sigma : array
        Denoised image and its calibrated standard deviation, ``[y, x]``, in the unit of the file.
    labels : array of int
        The regions.
    settings : RegionSettings
        Errors and reliability.
    sidelobes : array, optional
        Rms of the sidelobes that are in a dirty image, ``[y, x]``, in its unit.
    beam : PrimaryBeam, optional
        If already known.

    Returns
    -------
    Table
    """
    if beam is None:
        flat = np.ptp(prepared.rms[prepared.valid]) == 0
        beam = PrimaryBeam(image, None if flat else prepared.rms, prepared.valid)
    gain = beam.gain()
    kernel = settings.error_kernel(prepared.beam, max(mean.shape))
    regions = measure(mean * gain, sigma * gain, labels, kernel)
    noise = np.nan_to_num(prepared.rms * gain)
    rows = []
    for r in regions:
        seen = mean[r.box][labels[r.box] == r.number].max()
        faint = sidelobes is not None and bool(seen < SIDELOBE * sidelobes[r.box].max())
        rows.append(_row(image, prepared, r, settings, beam.plane, labels, float(noise[r.box].max()), faint))
    names = rows[0] if rows else []
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in names}
    if rows:
        snr, area = np.array(columns["snr"]), np.array([r.area for r in regions]) / prepared.beam_area
        columns["reliability"] = list(settings.probability(snr, [r.significance for r in regions], area))
        columns |= _on_the_sky(image, columns, labels, prepared.beam)
        if image.frequencies is not None:
            columns["freq"] = float(image.frequencies[0])
    meta = coordinates_meta(image) | {
        "beam_arcsec_deg": None if prepared.beam is None else image.sky_beam(prepared.beam),
        "beam": prepared.beam_origin,
        "rms_median": prepared.typical_rms,
        "rms_unit": unit_text(image.unit),
        **beam.meta,
        "box_rule": "pixels of the region",
    }
    known = {"kind": "diffuse", "n_components": 1, "flux_method": "mask"} if rows else {}
    return make_table(columns | known, meta=meta, two_d=True)


def renumbered(labels: Labels, table: Table) -> tuple[Labels, Table]:
    """Labels and catalogue of the regions in a catalogue, numbered in its order."""
    labels = relabelled(labels, np.asarray(table["id"]))
    table["id"] = table["island"] = np.arange(1, len(table) + 1)
    return labels, table


def catalog_by_flux(
    image: RadioImage, prepared: PreparedImage, mean: Array32, sigma: Array32, labels: Labels
) -> tuple[Labels, Table]:
    """Labels and catalogue of regions without reliabilities, the brightest first. See `region_catalog`."""
    table = region_catalog(image, prepared, mean, sigma, labels, RegionSettings())
    table["reliability"] = np.nan
    table.sort("flux", reverse=True)
    return renumbered(labels, table)


def _on_the_sky(
    image: RadioImage, columns: dict[str, Any], labels: Labels, beam: tuple[float, float, float] | None
) -> dict[str, Any]:
    """Columns that depend on the projection, from those in pixels and the beam in `beam_frame`."""
    one = {name: np.array(values) for name, values in columns.items()}
    x, y = one["x"], one["y"]
    out = image.sky_columns(one)
    out |= observed_sizes(out, np.zeros(3) if beam is None else image.sky_beams(beam, x, y))
    out |= mask_extents(labels, one["id"], image.frame(x, y))
    flux, peak = image.flux_factor(x, y), image.peak_factor(x, y)
    names = {"flux": flux, "flux_err": flux, "flux_peak": peak, "flux_peak_err": peak, "rms": peak}
    return out | {name: one[name] * factor for name, factor in names.items()}


def _row(
    image: RadioImage,
    prepared: PreparedImage,
    r: MeasuredRegion,
    settings: RegionSettings,
    plane: Float | None,
    labels: Labels,
    noise: float,
    sidelobe: bool,
) -> dict[str, object]:
    per_pixel, per_beam = prepared.jy_per_pixel, prepared.jy_per_beam
    flux_err = float(settings.flux_error(r.flux, r.flux_err, noise * prepared.beam_area))
    x, y = float(r.moments[0]), float(r.moments[1])
    beam = None if prepared.beam is None else image.local_beams(prepared.beam, x, y)[0]
    shape = _shape(r.moments, r.errors, beam)
    if not prepared.valid[round(y), round(x)]:
        # the centre of a region around a hole: use the region's nearest pixel
        j, i = np.nonzero(labels[r.box] == r.number)
        near = int(np.hypot(i + r.box[1].start - x, j + r.box[0].start - y).argmin())
        x, y = float(i[near] + r.box[1].start), float(j[near] + r.box[0].start)
    # the centre of a region inside the image is inside the image
    pb = np.nan if plane is None else float(plane[round(y), round(x)])
    sampling, alias = (0.0, 0.0) if prepared.beam is None else sampling_errors(prepared.beam)
    for name in ("dc_maj_err", "dc_min_err"):
        shape[name] = float(np.hypot(shape[name], 2 * alias**0.5))
    place_err = np.hypot(r.errors[:2], alias / np.sqrt(12))
    row: dict[str, object] = {
        "id": r.number, "x": x, "y": y, "x_err": place_err[0], "y_err": place_err[1],
        **shape,
        "flux": r.flux * per_pixel, "flux_err": np.hypot(flux_err, sampling * r.flux) * per_pixel,
        "flux_peak": r.peak * per_beam,
        "flux_peak_err": np.hypot(r.peak_err, sampling * r.peak) * per_beam,
        "pb": pb, "snr": r.flux / max(flux_err, 1e-300),
        "rms": float(prepared.rms[round(y), round(x)]) * per_beam,
        "x_min": r.box[1].start, "x_max": r.box[1].stop - 1,
        "y_min": r.box[0].start, "y_max": r.box[0].stop - 1,
    }  # fmt: skip
    size, wide = prepared.beam_pixels, shape["dc_maj"]
    unresolved = wide < max(2 * shape["dc_maj_err"], 0.15 * size)
    holds = {
        "edge": _at_edge(r, prepared.valid, labels),
        "unresolved": beam is not None and unresolved,
        "extended": beam is not None and not unresolved and wide > 3 * size,
        "undeconvolved": beam is None,
        "no_primary_beam": plane is None,
        "low_primary_beam": pb < 0.2,
        "sidelobe": sidelobe,
    }
    row["flags"] = join_flags(name for name, value in holds.items() if value)
    return row


def _at_edge(r: MeasuredRegion, valid: Bool, labels: Labels) -> bool:
    """Whether a region touches the image's border or blank pixels."""
    n_y, n_x = labels.shape
    if r.box[0].start == 0 or r.box[1].start == 0 or r.box[0].stop == n_y or r.box[1].stop == n_x:
        return True
    near = tuple(slice(s.start - 1, s.stop + 1) for s in r.box)
    return bool((binary_dilation(labels[near] == r.number, np.ones((3, 3))) & ~valid[near]).any())
