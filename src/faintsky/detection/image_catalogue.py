"""From Gaussians to objects, masks and tables in astronomers' units."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects

from faintsky.arrays import Float, Index, Labels
from faintsky.beams import SIZES, observed_sizes, sampling_errors
from faintsky.catalog import coordinates_meta, join_flags, make_components, make_table, mask_extents
from faintsky.detection.gaussians import images_of
from faintsky.detection.sources import Sources, pixels_of
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.image import RadioImage
from faintsky.preparing import PreparedImage, PrimaryBeam
from faintsky.units import unit_text

FLOOD = 3.0
"""Level of a mask over the noise."""
DIP = 3.0
"""Least depth of the dip between two objects, over the noise."""
EXTENDED = 3.0
"""Intrinsic size above which an object is flagged [beam]."""
ARTEFACT = 2.0
"""Ratio of the noise to that without artefacts above which an object is flagged."""


def join_objects(sources: Sources, level: Float) -> list[Index]:
    """Join components to objects: two are one unless a significant dip lies between them.

    ``level`` is the noise at each source over that without artefacts.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs, n = [], len(sources)
    noise = np.abs(sources.values[:, 0]) / np.maximum(np.abs(sources.snr), 1e-9) * level
    for rows in split_by(sources.group):
        v = sources.values[rows]
        for i in range(len(rows)):
            for j in range(i):
                if v[i, 0] * v[j, 0] <= 0:
                    continue
                along = np.linspace(0, 1, 33)
                x, y = (v[j, k] + along * (v[i, k] - v[j, k]) for k in (1, 2))
                profile = images_of(v, x, y).sum(axis=0) * np.sign(v[i, 0])
                lower = min(profile[:9].max(), profile[-9:].max())
                if lower - profile.min() < DIP * max(noise[rows[i]], noise[rows[j]]):
                    pairs.append((rows[i], rows[j]))
    graph = coo_matrix((np.ones(len(pairs)), np.array(pairs, int).reshape(-1, 2).T), shape=(n, n))
    return split_by(connected_components(graph, directed=False)[1])


def split_by(groups: NDArray[np.integer]) -> list[Index]:
    """Indices that share a number, in the order of the numbers."""
    order = np.argsort(groups, kind="stable")
    cuts = np.flatnonzero(np.diff(groups[order])) + 1
    return list(np.split(order, cuts)) if len(order) else []


def boxes_of(sources: Sources, members: Sequence[Index]) -> Index:
    """Box of each object's mask, ``[n, 4]``: first y and x, and one past the last y and x."""
    out = np.zeros((len(members), 4), np.intp)
    for k, rows in enumerate(members):
        v = sources.values[rows]
        half = 3.5 * np.sqrt(np.maximum(v[:, 3], v[:, 5]).max()) + 1
        low, high = v[:, 2:0:-1].min(axis=0) - half, v[:, 2:0:-1].max(axis=0) + half
        out[k] = [*np.floor(low), *(np.floor(high) + 2)]
    return out


def label_objects(
    sources: Sources, members: Sequence[Index], noise: Float, origin: tuple[int, int] = (0, 0)
) -> Labels:
    """Mask of the objects: the brightest one at each pixel where its model exceeds the flood level.

    The mask of an object holds at least the pixels above half of its peak.

    Parameters
    ----------
    sources : Sources
        The components.
    members : sequence of array
        Components of each object.
    noise : array
        ``[y, x]``, in the image's unit, 0 where blank.
    origin : tuple of int, optional
        Pixel ``(y, x)`` of the image at which `noise` begins.

    Returns
    -------
    array of int
        Number of the object, from 1, 0 outside, ``[y, x]``.
    """
    labels, best = np.zeros(noise.shape, np.int32), np.zeros(noise.shape)
    for number, (rows, limits) in enumerate(zip(members, boxes_of(sources, members)), start=1):
        y, x = np.arange(limits[0], limits[2]), np.arange(limits[1], limits[3])
        at = (a.ravel().astype(float) for a in np.meshgrid(x, y))
        shown = np.abs(images_of(sources.values[rows], *at).sum(axis=0)).reshape(y.size, x.size)
        half = shown.max() / 2
        # the part inside
        (j, i), box = zip(*(_within(p - o, n) for p, o, n in zip((y, x), origin, noise.shape)))
        shown = shown[j, i]
        inside = (shown > np.minimum(FLOOD * noise[box], half)) & (noise[box] > 0)
        inside &= shown > best[box]
        labels[box][inside], best[box][inside] = number, shown[inside]
    return labels


def _within(places: Index, n: int) -> tuple[slice, slice]:
    """Slice of consecutive indices that lie in 0 … n - 1, and the slice of these values."""
    low, high = max(int(places[0]), 0), min(int(places[-1]) + 1, n)
    high = max(low, high)
    return slice(low - int(places[0]), high - int(places[0])), slice(low, high)


def _shapes(values: Float, errors: Float, beams: Float) -> dict[str, Float]:
    """Intrinsic FWHMs [pixel] and angle [deg], beam deconvolved, with errors to first order."""
    sigma = beams[:, :2] / FWHM_PER_SIGMA
    angle = np.deg2rad(beams[:, 2])
    # the major axis points from +y towards -x
    axis = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    across = np.stack([axis[:, 1], -axis[:, 0]], axis=1)
    own = sum(
        s[:, None, None] ** 2 * a[:, :, None] * a[:, None, :]
        for s, a in ((sigma[:, 0], axis), (sigma[:, 1], across))
    )
    rest = np.stack([values[:, [3, 4]], values[:, [4, 5]]], axis=1) - own
    size, vectors = np.linalg.eigh(rest)
    moments = errors[:, 3:, 3:]

    def spread(u: Float, v: Float) -> Float:
        w = np.stack([u[:, 0] * v[:, 0], u[:, 0] * v[:, 1] + u[:, 1] * v[:, 0], u[:, 1] * v[:, 1]], axis=1)
        return np.sqrt(np.maximum(np.einsum("ni,nij,nj->n", w, moments, w), 0.0))

    out: dict[str, Float] = {}
    minor, major = vectors[:, :, 0], vectors[:, :, 1]
    for name, k, v in (("min", 0, minor), ("maj", 1, major)):
        out[f"dc_{name}"] = width = FWHM_PER_SIGMA * np.sqrt(np.maximum(size[:, k], 0))
        error = FWHM_PER_SIGMA**2 * spread(v, v) / 2
        out[f"dc_{name}_err"] = error / np.maximum(np.maximum(width, np.sqrt(error)), 1e-9)
    out["dc_pa"] = np.rad2deg(np.arctan2(-major[:, 0], major[:, 1])) % 180
    out["dc_pa_err"] = np.minimum(
        np.rad2deg(spread(minor, major) / np.maximum(size[:, 1] - size[:, 0], 1e-9)), 90.0
    )
    return out


def _fitted_sizes(image: RadioImage, values: Float) -> dict[str, Float]:
    """FWHMs [arcsec] and position angle [deg] of Gaussians ``[n, 6]``."""
    size, vectors = np.linalg.eigh(np.stack([values[:, [3, 4]], values[:, [4, 5]]], axis=1))
    minor, major = FWHM_PER_SIGMA * np.sqrt(np.maximum(size, 0)).T
    angle = np.rad2deg(np.arctan2(-vectors[:, 0, 1], vectors[:, 1, 1]))
    there = image.frame(values[:, 1], values[:, 2]).to_sky(major, minor, angle)
    return dict(zip(SIZES, there))


def _together(sources: Sources, members: Sequence[Index], area: Float) -> tuple[Float, Float]:
    """Each object as one Gaussian of its components' summed moments, ``[n, 6]``, and its errors."""
    values, errors = np.zeros((len(members), 6)), np.zeros((len(members), 6, 6))
    for k, rows in enumerate(members):
        v, e = sources.values[rows], sources.errors[rows]
        if len(rows) == 1:
            values[k], errors[k] = v[0], e[0]
            continue
        w = np.abs(v[:, 0] * area[rows])
        w = w / w.sum()
        middle = w @ v[:, 1:3]
        d = v[:, 1:3] - middle
        moments = w @ (v[:, 3:] + np.stack([d[:, 0] ** 2, d[:, 0] * d[:, 1], d[:, 1] ** 2], axis=1))
        main = np.abs(v[:, 0]).argmax()
        values[k] = [_peak(v), *middle, *moments]
        errors[k] = np.einsum("c,cij->ij", w**2, e)
        errors[k, 0, 0] = e[main, 0, 0]
    return values, errors


def _peak(values: Float) -> float:
    """Value of summed Gaussians ``[n, 6]`` at the peak of the brightest."""
    main = np.abs(values[:, 0]).argmax()
    return float(images_of(values, values[main, 1:2], values[main, 2:3]).sum())


def strengths(sources: Sources, members: Sequence[Index], snr: Float) -> Float:
    """S/N of objects: that of the best component, with components at one place added.

    Parameters
    ----------
    sources : Sources
        The components.
    members : sequence of array
        Components of each object.
    snr : array
        Of the components.

    Returns
    -------
    array
        ``[object]``
    """
    out = np.zeros(len(members))
    for k, rows in enumerate(members):
        values = sources.values[rows]
        main = np.abs(values[:, 0]).argmax()
        out[k] = max(snr[rows].max(), snr[rows[main]] * _peak(values) / values[main, 0])
    return out


def build_tables(
    image: RadioImage,
    prepared: PreparedImage,
    sources: Sources,
    members: Sequence[Index],
    judged: Mapping[str, Any],
    noise: Float,
    labels: Labels,
    numbers: NDArray[np.integer],
    ids: NDArray[np.integer],
    beam: PrimaryBeam,
) -> tuple[Table, Table]:
    """Catalogue and components of some objects, in their order.

    Parameters
    ----------
    image, prepared : RadioImage, PreparedImage
        A part of the image that contains all of them.
    sources : Sources
        The components, in pixels of the part.
    members : sequence of array
        Components of each object.
    judged : mapping
        ``snr``, ``reliability``, ``false_alarm``, ``boost``, ``background`` and ``undeconvolved`` of each
        component.
    noise : array
        ``[y, x]``, in the image's unit.
    labels, numbers : array of int
        Of `label_objects`, and the numbers that these objects have there.
    ids : array of int
        Their catalogue numbers.
    beam : PrimaryBeam
        Over the part.

    Returns
    -------
    catalog, components : Table
    """
    assert prepared.beam is not None
    alone = [np.array([k]) for rows in members for k in rows]
    home = np.repeat(ids, [len(rows) for rows in members])
    meta = coordinates_meta(image) | {
        "beam_arcsec_deg": image.sky_beam(prepared.beam), "beam": prepared.beam_origin,
        "rms_unit": unit_text(image.unit), **beam.meta, "box_rule": "pixels of the mask",
    }  # fmt: skip
    columns: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    if len(members):
        columns = _columns(image, prepared, sources, members, judged, noise, beam)
        columns |= _boxes(image, prepared, columns, labels, numbers)
        columns["id"], columns["island"] = ids, 0
        columns["kind"] = np.array([_kind(p, sources) for p in members])
        parts = _columns(image, prepared, sources, alone, judged, noise, beam)
        parts["id"], parts["island"] = home, 0
        parts["kind"] = np.where(sources.resolved[np.concatenate(members)], "gaussian", "point")
        parts = {k: v for k, v in parts.items() if k not in ("reliability", "false_alarm")}
    return make_table(columns, meta=meta, two_d=True), make_components(parts, meta=meta, two_d=True)


def _kind(rows: Index, sources: Sources) -> str:
    return "complex" if len(rows) > 1 else "gaussian" if sources.resolved[rows[0]] else "point"


def _boxes(
    image: RadioImage, prepared: PreparedImage, columns: dict[str, Any], labels: Labels,
    numbers: NDArray[np.integer],
) -> dict[str, Any]:  # fmt: skip
    """Extents of the masks, and whether they touch an edge."""
    boxes = find_objects(labels, max_label=int(np.max(numbers)))
    places = [boxes[k - 1] for k in numbers]
    out: dict[str, Any] = {}
    for name, axis in (("x", 1), ("y", 0)):
        out[f"{name}_min"] = np.array([-1 if b is None else b[axis].start for b in places])
        out[f"{name}_max"] = np.array([-1 if b is None else b[axis].stop - 1 for b in places])
    out |= mask_extents(labels, numbers, image.frame(columns["x"], columns["y"]))
    bad = binary_dilation(~prepared.valid, np.ones((3, 3)), border_value=1)
    touched = set(np.unique(labels[bad])) if bad.any() else set()
    flags = [f.split(",") if f else [] for f in columns["flags"]]
    out["flags"] = np.array(
        [join_flags([*f, *(["edge"] if k in touched else [])]) for f, k in zip(flags, numbers)]
    )
    return out


def _columns(
    image: RadioImage, prepared: PreparedImage, sources: Sources, members: Sequence[Index],
    judged: Mapping[str, Any], noise: Float, beam: PrimaryBeam,
) -> dict[str, Any]:  # fmt: skip
    """All columns except those of the mask, one row for each of `members`."""
    assert prepared.beam is not None
    each = sources.values
    beam_det = np.linalg.det(_moments(np.array([prepared.beam])))[0]
    det = np.maximum(each[:, 3] * each[:, 5] - each[:, 4] ** 2, 1e-12)
    area = np.sqrt(det / beam_det)
    slope = np.zeros((len(sources), 6))
    slope[:, 0] = area
    for k, part in ((3, each[:, 5]), (4, -2 * each[:, 4]), (5, each[:, 3])):
        slope[:, k] = each[:, 0] * area * part / (2 * det)
    flux = each[:, 0] * area
    flux_err = np.sqrt(np.maximum(np.einsum("ni,nij,nj->n", slope, sources.errors, slope), 0))
    # a free centre moves to where noise adds: half a unit of chi2 for each coordinate
    snr = judged["snr"]
    unbiased = 1 - 1 / np.maximum(snr, 2.0) ** 2
    values, errors = _together(sources, members, area)
    main = np.array([r[np.abs(each[r, 0]).argmax()] for r in members])
    # the centre of several components may be blank
    blank = ~prepared.valid[pixels_of(values, noise.shape)]
    values[blank, 1:3] = each[main[blank], 1:3]
    x, y = values[:, 1], values[:, 2]
    j, i = pixels_of(values, noise.shape)
    local = noise[j, i]
    # artefacts raise the errors by as much as the scatter of the S/N map
    raised = np.array([np.max(np.abs(sources.snr[r]) / np.maximum(snr[r], 1e-9)) for r in members])
    beams = image.local_beams(prepared.beam, x, y)
    shape = _shapes(values, errors * raised[:, None, None] ** 2, beams)
    strength = strengths(sources, members, snr)
    sampling, alias = sampling_errors(prepared.beam) if prepared.beam_origin != "none" else (0.0, 0.0)
    point = np.array([len(r) == 1 and not sources.resolved[r[0]] for r in members])
    # Condon (1997): relative errors of a point's widths are sqrt(2) times that of its peak
    limit = np.sqrt(beams[:, 0] * beams[:, 1]) * np.sqrt((1 + 1.645 * np.sqrt(2) / strength) ** 2 - 1)
    for name in ("dc_maj", "dc_min"):
        shape[name] = np.where(point, 0.0, shape[name])
        shape[f"{name}_err"] = np.where(point, limit / 1.645, np.hypot(shape[f"{name}_err"], 2 * alias**0.5))
    shape["dc_pa_err"] = np.where(point, 90.0, shape["dc_pa_err"])
    place = {
        f"{k}_err": np.hypot(np.sqrt(errors[:, n, n]) * raised, alias / np.sqrt(12))
        for n, k in ((1, "x"), (2, "y"))
    }
    one = {"x": x, "y": y, **place, **shape}
    columns: dict[str, Any] = one | image.sky_columns(one)
    columns |= observed_sizes(columns, image.sky_beams(prepared.beam, x, y))
    # as fitted, which may be less than the beam
    columns |= {k: np.where(point, columns[k], v) for k, v in _fitted_sizes(image, values).items()}
    gain, plane = beam.gain(), beam.plane
    seen = gain[j, i]
    janskys = image.peak_factor(x, y) * prepared.jy_per_beam * seen
    total = np.array([(flux[r] * unbiased[r]).sum() for r in members])
    error = np.array([np.linalg.norm(flux_err[r]) for r in members]) * raised
    peak, peak_err = values[:, 0], np.sqrt(errors[:, 0, 0]) * raised
    boost, boost_err = (b[main] for b in judged["boost"])
    raw = np.array([flux[r].sum() for r in members])
    columns |= {
        "flux": total, "flux_err": np.hypot(error, sampling * np.abs(total)),
        "flux_peak": peak * unbiased[main], "flux_peak_err": np.hypot(peak_err, sampling * np.abs(peak)),
        "flux_deboosted": raw * boost, "flux_deboosted_err": np.abs(raw) * boost_err, "rms": local / seen,
    }  # fmt: skip
    for name in ("flux", "flux_peak", "flux_deboosted"):
        columns |= {k: columns[k] * janskys for k in (name, f"{name}_err")}
    columns["rms"] = columns["rms"] * janskys
    columns["background"] = judged["background"][main] * janskys / seen
    pb = np.full(len(members), np.nan) if plane is None else plane[j, i]
    groups, sizes = np.unique(sources.group, return_counts=True)
    crowded = dict(zip(groups.tolist(), (sizes > 1).tolist()))
    wide, wide_err = shape["dc_maj"], shape["dc_maj_err"]
    small = point | (wide < 2 * wide_err) | (wide < 0.15 * prepared.beam_pixels)
    holds = {
        "blended": np.array([crowded[int(sources.group[r[0]])] for r in members]),
        "unresolved": small,
        "extended": ~small & (wide > EXTENDED * prepared.beam_pixels),
        "negative": values[:, 0] < 0,
        "artefact": raised > ARTEFACT,
        "undeconvolved": judged["undeconvolved"][main] | (prepared.beam_origin == "none"),
        "no_primary_beam": np.full(len(members), plane is None),
        "low_primary_beam": np.nan_to_num(pb, nan=1.0) < 0.2,
    }
    names = list(holds)
    rows = np.stack([holds[k] for k in names], axis=1)
    columns |= {
        "flags": np.array([join_flags(k for k, v in zip(names, row) if v) for row in rows], dtype="U120"),
        "pb": pb, "snr": strength, "flux_method": "fit", "n_components": np.array([len(r) for r in members]),
        "reliability": np.array([judged["reliability"][r].max() for r in members]),
        "false_alarm": np.array([judged["false_alarm"][r].min() for r in members]),
    }  # fmt: skip
    if image.frequencies is not None:
        columns["freq"] = float(image.frequencies[0])
    return columns


def _moments(beams: Float) -> Float:
    """Second moments of beams ``[n, 3]``, ``[n, 2, 2]`` [pixel**2]."""
    from faintsky.beams import beam_covariance

    return np.stack([beam_covariance((b[0], b[1], b[2])) for b in beams])
