"""From sources in pixels to a catalogue in astronomers' units."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.ndimage import binary_dilation, map_coordinates

from faintsky.arrays import Float
from faintsky.beams import sampling_errors
from faintsky.catalog import join_flags, make_components, make_table
from faintsky.detection.counts import NoisePeaks
from faintsky.detection.fits import axes_of_covariance
from faintsky.detection.methods import channel_velocity, flux_width, noise_meta
from faintsky.detection.objects import touching
from faintsky.detection.pursuit import Component
from faintsky.detection.resolved import Resolved, channel_between, measured, width_at
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.image import RadioCube
from faintsky.preparing import PreparedCube, PrimaryBeam
from faintsky.source_model import line_profile

Pair = tuple[float, float]
"""A value and its error."""
GAUSSIAN_AREA = float(np.sqrt(np.pi / (4 * np.log(2))))
"""Integral of a Gaussian over its peak and FWHM (1.0645)."""
BOX_LEVEL = 0.1
"""The box contains the pixels where the source's own sky image is above this fraction of its peak."""
DYNAMIC_RANGE = 0.05
"""Sources fainter than this fraction of a bright one in the same channels are doubtful."""
SIDELOBES = 0.15
"""The same in dirty cubes without a psf."""


def build_catalog(
    cube: RadioCube,
    prepared: PreparedCube,
    components: Sequence[Component],
    things: Sequence[list[int] | Resolved],
    noise: NoisePeaks,
    *,
    beam: PrimaryBeam | None = None,
) -> tuple[Table, Table, list[list[int] | Resolved]]:
    """Catalogue and components of a cube's sources, strongest first.

    Parameters
    ----------
    cube : RadioCube
    prepared : PreparedCube
    components : sequence of Component
    things : sequence
        For each source the list of its components, or a galaxy.
    noise : NoisePeaks
        Expected in the cube.
    beam : PrimaryBeam, optional
        If already known.

    Returns
    -------
    catalog, components : Table
    things : list
        In the order of the catalogue.
    """
    beam = beam or PrimaryBeam(cube, prepared.relative, prepared.valid)
    strength = [t.snr if isinstance(t, Resolved) else max(components[i].snr for i in t) for t in things]
    order = sorted(range(len(things)), key=lambda i: -strength[i])
    gain = beam.gain() * (1.0 if prepared.relative is None else np.nan_to_num(prepared.relative, nan=1.0))
    rows, parts = [], []
    for number, k in enumerate(order, start=1):
        g = things[k]
        if isinstance(g, Resolved):
            whole = galaxy_row(cube, prepared, g, beam, gain)
            of_it = [whole]
        else:
            whole = _row(cube, prepared, [components[i] for i in g], components, g, beam)
            own = [[components[i]] for i in g]
            of_it = [whole] if len(g) == 1 else [_row(cube, prepared, c, components, g, beam) for c in own]
        looked = [] if isinstance(g, Resolved) else [components[i].false_alarm for i in g]
        chance = min([float(noise.fitted.above(strength[k])), *(v for v in looked if v is not None)])
        rows.append({"id": number, "false_alarm": chance, **whole})
        parts += [{"id": number, **part} for part in of_it]
    meta = catalog_meta(cube, prepared, beam, prepared.sigma, noise)
    return (
        make_table(_columns(cube, rows), meta=meta),
        make_components(_columns(cube, parts), meta=meta),
        [things[k] for k in order],
    )


def catalog_meta(
    cube: RadioCube, prepared: PreparedCube, beam: PrimaryBeam, sigma: Float, noise: NoisePeaks
) -> dict[str, Any]:
    """Metadata of a cube's tables. See `noise_meta` for the arguments; ``noise`` is expected in the cube."""
    return noise_meta(cube, prepared, beam, sigma) | {
        "noise_peaks_amplitude": float(noise.amplitude), "noise_peaks_stretch": float(noise.stretch),
        "box_rule": "10% of the peak of the source's sky image; z: centre +- FWHM",
    }  # fmt: skip


def row_tables(cube: RadioCube, row: Mapping[str, object], part: Mapping[str, object]) -> tuple[Table, Table]:
    """Tables of one row each: a source, and its component.

    Parameters
    ----------
    cube : RadioCube
    row, part : mapping
        Values by column, of the source and of the component.

    Returns
    -------
    catalog, components : Table
    """
    return make_table(_columns(cube, [row])), make_components(_columns(cube, [part]))


def _columns(cube: RadioCube, rows: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """Columns of rows, converted to the sky where they depend on the projection."""
    if not rows:
        return {"snr_effective": []}
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    factor = cube.peak_factor(columns["x"], columns["y"])
    brightness = ("flux", "flux_hz", "flux_peak", "continuum")
    scaled = {k: np.array(columns[k]) * factor for name in brightness for k in (name, f"{name}_err")}
    return columns | cube.sky_columns(columns) | scaled


def _moments(group: Sequence[Component]) -> dict[str, Any]:
    """Centre, axes and width of the sum of the intrinsic models."""
    f = np.array([abs(c.source.amplitude) * c.source.fwhm_z for c in group])
    f = f / f.sum()
    x, y, z = (np.array([getattr(c.source, k) for c in group]) for k in ("x", "y", "z"))
    cx, cy, cz = (float((f * v).sum()) for v in (x, y, z))
    cov = np.zeros((2, 2))
    var_z = 0.0
    for w, c in zip(f, group):
        s = c.source
        chol = np.array([[s.l11, 0.0], [s.l21, s.l22]])
        d = np.array([s.x - cx, s.y - cy])
        cov += w * (chol @ chol.T + np.outer(d, d))
        var_z += w * ((s.fwhm_z / FWHM_PER_SIGMA) ** 2 + (s.z - cz) ** 2)
    maj, minor, pa = axes_of_covariance(cov)
    return {
        "x": cx, "y": cy, "z": cz, "maj": maj, "min": minor, "pa": pa,
        "fwhm_z": float(np.sqrt(var_z)) * FWHM_PER_SIGMA, "cov": cov,
    }  # fmt: skip


def _combined_errors(group: Sequence[Component]) -> dict[str, float]:
    """Errors of a source of several components, weighted by flux."""
    f = np.array([abs(c.source.amplitude) * c.source.fwhm_z for c in group])
    f = f / f.sum()
    errors = [c.source.errors() for c in group]
    return {k: float(np.sqrt(np.nansum([(w * e[k]) ** 2 for w, e in zip(f, errors)]))) for k in errors[0]}


def _with_beam_errors(e: dict[str, float], m: dict[str, Any], prepared: PreparedCube) -> dict[str, float]:
    """Errors plus those of a psf measured from the noise, or of a beam narrower than a pixel.

    The psf's main lobe is as uncertain as the fluxes, and the variances of source and beam add. Positions are
    shifted by sidelobes of neighbours, which are known only as well as the psf.
    """
    error, (sampling, alias) = prepared.flux_error, _sampling(prepared)
    out = dict(e, flux=float(np.linalg.norm([e["flux"], error, sampling, alias / 2])))
    for axis in ("maj", "min"):
        size = max(m[axis], e[f"fwhm_{axis}"], 1e-6)
        parts = [e[f"fwhm_{axis}"], error * prepared.beam_pixels**2 / size, 2 * np.sqrt(alias)]
        out[f"fwhm_{axis}"] = float(np.linalg.norm(parts))
    for axis in ("x", "y"):
        parts = [e[axis], prepared.psf_error * prepared.beam_pixels, alias / np.sqrt(12)]
        out[axis] = float(np.linalg.norm(parts))
    return out


def _sampling(prepared: PreparedCube) -> tuple[float, float]:
    """`sampling_errors` of a Gaussian psf; 0 for one made of uv cells, which its pixels always sample."""
    return sampling_errors(prepared.beam) if prepared.psf_origin == "beam" else (0.0, 0.0)


def _row(
    cube: RadioCube,
    prepared: PreparedCube,
    group: Sequence[Component],
    everyone: Sequence[Component],
    members: Sequence[int],
    beam: PrimaryBeam,
) -> dict[str, object]:
    """One catalogue row, without id and sky position, its widths in pixels."""
    m = _moments(group)
    if not cube.holds_data(m["x"], m["y"], m["z"], m["fwhm_z"]):
        # the centre of several components around a hole: use the nearest one's position
        near = min((c.source for c in group), key=lambda s: np.hypot(s.x - m["x"], s.y - m["y"]))
        m |= {"x": near.x, "y": near.y, "z": near.z}
    e = _with_beam_errors(_combined_errors(group), m, prepared)
    move_x, move_y = beam.displacement(m["cov"], m["x"], m["y"], m["z"])
    if not cube.holds_data(m["x"] - move_x, m["y"] - move_y, m["z"], m["fwhm_z"]):
        move_x = move_y = 0.0
    pb = beam.at(m["x"], m["y"], m["z"])
    scale = prepared.gain(m["x"], m["y"]) / beam.share(m["x"], m["y"], m["z"])
    km_s = float(channel_velocity(cube, m["z"])[0])
    inflate = _continuum_inflation(prepared, m["x"], m["y"], m["z"], m["fwhm_z"])
    line = sum(boost(c) * c.source.amplitude * c.source.fwhm_z for c in group) * GAUSSIAN_AREA * scale
    line_err = abs(line) * e["flux"] * inflate
    peak, peak_err = _peak(group)
    peak_err = float(np.linalg.norm([peak_err, *(v * peak for v in _sampling(prepared))]))
    known = group[0].continuum if len(group) == 1 else None
    level, level_err = known or _continuum(prepared, m)
    row: dict[str, object] = {
        "kind": "line", "n_components": len(group), "flux_method": "fit",
        **_line_columns(cube, (m["z"], e["z"]), (m["fwhm_z"], e["fwhm_z"]), (line, line_err)),
        "x": m["x"] - move_x, "x_err": e["x"], "y": m["y"] - move_y, "y_err": e["y"],
        "dc_maj": m["maj"], "dc_maj_err": e["fwhm_maj"],
        "dc_min": m["min"], "dc_min_err": e["fwhm_min"],
        "dc_pa": m["pa"], "dc_pa_err": e["pa"],
        "flux_peak": peak * scale, "flux_peak_err": peak_err * inflate * scale,
        "pb": pb,
        "continuum": level * scale, "continuum_err": level_err * scale,
        "snr": max(c.snr for c in group),
        "reliability": max(c.reliability for c in group),
        "snr_effective": max(c.effective_snr for c in group),
    }  # fmt: skip
    # the spectrum is the sum of the fitted lines
    z = np.arange(4 * cube.shape[0]) / 4
    sign = np.sign(group[0].source.amplitude)
    total = sign * sum(c.source.amplitude * line_profile(z, c.source.z, c.source.fwhm_z) for c in group)
    relative = e["fwhm_z"] / max(m["fwhm_z"], 1e-9)
    seen = max(c.snr for c in group) / np.sqrt(max(m["fwhm_z"], 1.0))
    for name, share in (("w50", 0.5), ("w20", 0.2)):
        (low, high), _, _ = width_at(total, np.zeros(z.size), share)
        width = (high - low) / 4 * km_s
        width = width if name == "w50" or share * seen > 2 else np.nan
        row |= {name: width, f"{name}_err": width * relative}
    row |= {"kin_pa": np.nan, "kin_pa_err": np.nan}
    row.update(_box(m, group, cube.shape))
    row["flags"] = _flags(cube, prepared, m, e, group, everyone, members, pb)
    return row


def _line_columns(cube: RadioCube, z: Pair, width: Pair, flux: Pair) -> dict[str, float]:
    """Columns of a line: position and width [channel] and flux [Jy channel], each with its error."""
    channels, values = np.arange(cube.shape[0]), cube.velocities()
    km_s, per_channel = float(channel_velocity(cube, z[0])[0]), float(flux_width(cube, z[0])[0])
    hertz = float(np.interp(z[0], channels, cube.channel_widths()))
    velocity = np.nan if values is None else float(np.interp(z[0], channels, values))
    pairs = {
        "freq": (float(cube.frequency(z[0])), z[1] * hertz),
        "velocity": (velocity, z[1] * km_s if np.isfinite(velocity) else np.nan),
        "z": z, "fwhm_z": width, "fwhm_velocity": (width[0] * km_s, width[1] * km_s),
        "flux": (flux[0] * per_channel, flux[1] * per_channel), "flux_hz": (flux[0] * hertz, flux[1] * hertz),
    }  # fmt: skip
    return {key: value for name, pair in pairs.items() for key, value in zip((name, f"{name}_err"), pair)}


def galaxy_row(
    cube: RadioCube, prepared: PreparedCube, r: Resolved, beam: PrimaryBeam, gain: Float
) -> dict[str, object]:
    """Catalogue row of a resolved galaxy, from the data in its mask.

    Parameters
    ----------
    cube : RadioCube
    prepared : PreparedCube
    r : Resolved
    beam : PrimaryBeam
    gain : array
        Factor that turns the flattened data into true brightness, ``[y, x]``.

    Returns
    -------
    dict
        Values by column.
    """
    m = measured(r, prepared, gain)
    maj, minor, pa = axes_of_covariance(m.covariance)
    x, y = m.x, m.y
    (ends, w50_err, _), (outer, w20_err, above) = (width_at(m.spectrum, m.noise, v) for v in (0.5, 0.2))
    # the centre of the galaxy, whichever half is brighter
    z = r.box[0].start + channel_between(m.spectrum, m.noise)
    w50, w20 = ends[1] - ends[0], outer[1] - outer[0] if above else np.nan
    z_err = max(0.5 * (w20_err if above else w50_err), m.z_err)
    flux_err = m.flux_err * _continuum_inflation(prepared, x, y, z, w50)
    km_s, values = float(channel_velocity(cube, z)[0]), cube.velocities()
    size_err = m.position_err * maj / max(maj, minor, 1e-6)
    k, j, i = (int(v) for v in np.unravel_index(int(r.inside.argmax()), r.inside.shape))
    place = (r.box[1].start + j, r.box[2].start + i)
    peak = float(r.inside[k, j, i] * gain[place])
    peak_err = float(prepared.sigma[r.box[0].start + k] * gain[place])
    pb = beam.at(x, y, z)
    level, level_err = _continuum(prepared, {"x": x, "y": y, "z": z})
    # in the direction of rising velocities, which may be that of falling channels
    rising = (
        np.sign(values[-1] - values[0]) if values is not None else -np.sign(np.diff(cube.frequencies[:2])[0])
    )
    gx, gy = m.gradient * rising
    strength = max(gx**2 + gy**2, 1e-300)
    angle = float(np.rad2deg(np.arctan2(-gx, gy)) % 360)
    angle_err = float(np.rad2deg(np.hypot(gy * m.gradient_err[0], gx * m.gradient_err[1]) / strength))
    filled, rows, columns = (np.flatnonzero(r.mask.any(axis=axis)) for axis in ((1, 2), (0, 2), (0, 1)))
    n_chan, n_y, n_x = cube.shape
    box = {
        "x_min": r.box[2].start + columns[0], "x_max": r.box[2].start + columns[-1],
        "y_min": r.box[1].start + rows[0], "y_max": r.box[1].start + rows[-1],
        "z_min": float(r.box[0].start + filled[0]), "z_max": float(r.box[0].start + filled[-1]),
    }  # fmt: skip
    holds = {
        "edge": box["x_min"] <= 0 or box["y_min"] <= 0 or box["x_max"] >= n_x - 1 or box["y_max"] >= n_y - 1
        or box["z_min"] <= 0 or box["z_max"] >= n_chan - 1 or _beside_blanks(prepared, r),
        "extended": True,
        "no_primary_beam": not np.isfinite(pb),
        "low_primary_beam": pb < 0.2,
        "no_rest_frequency": cube.rest_frequency is None,
        "width_in_noise": not above,
        "barely_resolved": np.hypot(maj, prepared.beam_pixels) < 3 * prepared.beam_pixels,
    }  # fmt: skip
    return {
        "kind": "line", "n_components": 1, "flux_method": "mask",
        **_line_columns(cube, (z, z_err), (w50, w50_err), (m.flux, flux_err)),
        "x": x, "x_err": m.position_err, "y": y, "y_err": m.position_err,
        "dc_maj": maj, "dc_maj_err": size_err, "dc_min": minor, "dc_min_err": size_err,
        "dc_pa": pa, "dc_pa_err": min(90.0, float(np.rad2deg(size_err / max(maj - minor, 1e-6)))),
        "flux_peak": peak, "flux_peak_err": peak_err,
        "pb": pb, "continuum": level, "continuum_err": level_err,
        "snr": r.snr, "reliability": r.reliability, "snr_effective": r.snr,
        "w50": w50 * km_s, "w50_err": w50_err * km_s,
        "w20": w20 * km_s, "w20_err": w20_err * km_s if above else np.nan,
        "kin_pa": angle, "kin_pa_err": min(angle_err, 180.0),
        **box, "flags": join_flags(name for name, value in holds.items() if value),
    }  # fmt: skip


def _continuum_inflation(prepared: PreparedCube, x: float, y: float, z: float, fwhm_z: float) -> float:
    """Factor by which the continuum's error raises that of a line's flux; 1 where none was subtracted.

    The error is that of a straight line through the channels without the line, at the line's middle.

    Parameters
    ----------
    prepared : PreparedCube
    x, y, z, fwhm_z : float
        Position and width of the line [pixel, channel].

    Returns
    -------
    float
    """
    n_y, n_x = prepared.present.shape
    if not prepared.present[int(np.clip(round(y), 0, n_y - 1)), int(np.clip(round(x), 0, n_x - 1))]:
        return 1.0
    width, used = GAUSSIAN_AREA * np.sqrt(2) * fwhm_z, np.flatnonzero(prepared.sigma > 0)
    free = used[np.abs(used - z) > 0.5 * width]
    if free.size < 4:
        free = used
    spread = max(float(((free - free.mean()) ** 2).sum()), 1.0)
    return float(np.sqrt(1 + width * (1 / free.size + (z - free.mean()) ** 2 / spread)))


def boost(c: Component) -> float:
    """Factor on a fitted amplitude that corrects the bias of maximum likelihood.

    Each free parameter (channel and width; position, unless a continuum gives it; shape, unless it is a
    point) adds 1 to the expected square of the fitted S/N.
    """
    s = c.source
    free = 2 if c.continuum is not None else 4 if s.axes()[0] == 0 else 7
    square = s.fitted_snr**2
    return float(np.sqrt(max(square - free, 0.5 * square) / max(square, 1e-30)))


def _peak(group: Sequence[Component]) -> tuple[float, float]:
    """Peak of the observed line [Jy/beam] and its error, of the brightest component."""
    c = max(group, key=lambda c: abs(c.source.amplitude) * float(c.image.max()))
    s = c.source
    y = np.clip(s.y, 0, c.image.shape[0] - 1)
    x = np.clip(s.x, 0, c.image.shape[1] - 1)
    value = s.amplitude * float(map_coordinates(c.image, [[y], [x]], order=3, mode="nearest")[0])
    # peak as the matched filter measures it: errors of the shape hardly change it
    return boost(c) * value, abs(value) / max(abs(s.fitted_snr), 1e-3)


def _continuum(prepared: PreparedCube, m: dict[str, Any]) -> tuple[float, float]:
    """Continuum at the source [Jy/beam] and its error, significant or not."""
    level = prepared.continuum.at(m["z"])
    y, x = np.clip(m["y"], 0, level.shape[0] - 1), np.clip(m["x"], 0, level.shape[1] - 1)
    value = float(map_coordinates(level, [[y], [x]], order=1, mode="nearest")[0])
    return value, float(prepared.continuum.level_err[round(y), round(x)])


def _box(m: dict[str, Any], group: Sequence[Component], shape: tuple[int, ...]) -> dict[str, float]:
    """Pixels where the source's sky image exceeds `BOX_LEVEL` of its peak; centre +- FWHM in frequency."""
    reach = np.sqrt(2 * np.log(1 / BOX_LEVEL))
    top = max(c.source.peak for c in group)
    strong = [c.source for c in group if c.source.peak >= BOX_LEVEL * top]
    centre = np.array([[s.x, s.y] for s in strong])
    half = reach * np.array([[abs(s.l11), np.hypot(s.l21, s.l22)] for s in strong])
    low = np.minimum(np.ceil(centre - half), np.round(centre)).min(axis=0)
    high = np.maximum(np.floor(centre + half), np.round(centre)).max(axis=0)
    out: dict[str, float] = {"z_min": m["z"] - m["fwhm_z"], "z_max": m["z"] + m["fwhm_z"]}
    for end, values in (("min", low), ("max", high)):
        for axis, value, n in zip("xy", values, shape[:0:-1]):
            out[f"{axis}_{end}"] = int(np.clip(value, 0, n - 1))
    return out


def _flags(
    cube: RadioCube,
    prepared: PreparedCube,
    m: dict[str, Any],
    e: dict[str, float],
    group: Sequence[Component],
    everyone: Sequence[Component],
    members: Sequence[int],
    pb: float,
) -> str:
    others = [c for k, c in enumerate(everyone) if k not in members]
    size = prepared.beam_pixels
    holds = {
        "blended": any(touching(a, b, size, 1.2) for a in group for b in others),
        "edge": _at_edge(cube, prepared, m),
        "unresolved": m["maj"] < 2 * e["fwhm_maj"] or m["maj"] < 0.15 * size,
        "extended": len(group) > 1 or m["maj"] > 3 * size,
        "absorption": group[0].source.amplitude < 0,
        "no_primary_beam": not np.isfinite(pb),
        "low_primary_beam": pb < 0.2,
        "sidelobe": prepared.psf_origin == "beam" and in_the_shadow(prepared, group, others),
        "no_rest_frequency": cube.rest_frequency is None,
    }
    return join_flags(name for name, value in holds.items() if value)


def in_the_shadow(prepared: PreparedCube, group: Sequence[Component], others: Sequence[Component]) -> bool:
    """Whether a source is fainter than `DYNAMIC_RANGE`, or `SIDELOBES`, of another in the same channels.

    At that level a restored image may show errors of deconvolution or calibration, a dirty one sidelobes.

    Parameters
    ----------
    prepared : PreparedCube
    group : sequence of Component
        The source.
    others : sequence of Component
        All sources.

    Returns
    -------
    bool
    """
    level = SIDELOBES if prepared.sidelobes_stay else DYNAMIC_RANGE
    peak = max(c.source.peak for c in group)
    z, width = group[0].source.z, group[0].source.fwhm_z
    brighter = [c.source.peak for c in others if abs(c.source.z - z) < 0.5 * (c.source.fwhm_z + width)]
    return bool(brighter) and peak < level * max(brighter)


def _beside_blanks(prepared: PreparedCube, r: Resolved) -> bool:
    """Whether a galaxy's mask touches a blank channel or pixel."""
    room = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in r.box)
    seen = prepared.valid[room[1:]] & (prepared.sigma[room[0]] > 0)[:, None, None]
    inside = np.zeros(seen.shape, bool)
    inside[tuple(slice(s.start - t.start, s.stop - t.start) for s, t in zip(r.box, room))] = r.mask
    return bool((binary_dilation(inside) & ~seen).any())


def _at_edge(cube: RadioCube, prepared: PreparedCube, m: dict[str, Any]) -> bool:
    n_chan, n_y, n_x = cube.shape
    if m["z"] - 0.5 * m["fwhm_z"] < 0 or m["z"] + 0.5 * m["fwhm_z"] > n_chan - 1:
        return True
    near = np.unique(np.clip([round(m["z"] - m["fwhm_z"]), round(m["z"] + m["fwhm_z"])], 0, n_chan - 1))
    if (prepared.sigma[near[0] : near[-1] + 1] <= 0).any():
        return True
    half = int(np.ceil(0.5 * np.hypot(m["maj"], prepared.beam_pixels)))
    x, y = round(m["x"]), round(m["y"])
    if x - half < 0 or y - half < 0 or x + half > n_x - 1 or y + half > n_y - 1:
        return True
    return not bool(prepared.valid[y - half : y + half + 1, x - half : x + half + 1].all())
