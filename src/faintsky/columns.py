"""Catalogues as PyBDSF and Aegean (images) and SoFiA-2 (cubes) write them: names, units, numbers, angles.

PyBDSF: a list of sources (``srl``) of a catalogue, of Gaussians (``gaul``) of its components; ids from 0.
Aegean: its list of components, for either table; angles in (-90, 90], sizes in arcsec, errors of -1 where
there are none. Both give position errors on the sky in degrees. Columns that only they can fill (residuals of
islands, wavelets) are NaN; the flux of an island is the sum over its rows.

SoFiA-2: a catalogue with physical parameters (fluxes in Jy Hz, widths in Hz; sizes in pixels, twice the
standard deviation along the axes), pixels and channels from 0, angles from the pixels' y axis towards -x.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from faintsky.beams import SIZES
from faintsky.catalog import column, has_flag
from faintsky.cutouts import label_boxes
from faintsky.errors import InputError
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.image import SHAPE
from faintsky.system import replacing

if TYPE_CHECKING:
    from faintsky.image import RadioData

UNRESOLVED = 4
"""Aegean's flag FIXED2PSF."""
REGION = 16
"""Aegean's flag NOTFIT."""


def write_columns(
    table: Table,
    style: str,
    path: str | os.PathLike[str],
    data: RadioData,
    *,
    mask: Any = None,
    line: Any = None,
) -> Path:
    """Write a catalogue, or components, in the format of another source finder.

    Parameters
    ----------
    table : astropy.table.Table
        As `faintsky.catalog.make_table` or `faintsky.catalog.make_components` gives it.
    style : str
        ``pybdsf`` or ``aegean``.
    path : path-like
        A ``.fits`` file, or ``.xml`` for a VOTable, written in one step.
    data : RadioData
        The image or cube, for its beam and the angles of its pixels.
    mask, line : array, optional
        Of a cube: labels, and the data without continuum, ``[chan, y, x]``.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        An unknown style.
    """
    if style not in STYLES:
        raise InputError(f"columns of {style!r} are not known", f"give one of {', '.join(STYLES)}")
    final = Path(path)
    made = _sofia(table, data, mask, line) if style == "sofia" else STYLES[style](table, data)
    with replacing(final) as name:
        made.write(name, format="votable" if final.suffix == ".xml" else "fits")
    return final


def _within(table: Table) -> Any:
    """Number of every row within its island, from 0, and how many rows that has."""
    _, island, size = np.unique(table["island"], return_inverse=True, return_counts=True)
    order = np.argsort(island, kind="stable")
    number = np.empty(len(table), dtype=np.int32)
    number[order] = np.concatenate([np.arange(n) for n in size]) if len(size) else []
    return number, size[island]


def _pybdsf(table: Table, data: RadioData) -> Table:
    from astropy import units as u

    components, none = "parent" not in table.colnames, np.full(len(table), np.nan)
    number, (_, size) = np.arange(len(table), dtype=np.int32), _within(table)
    several = np.bincount(table["id"])[table["id"]] if components else np.asarray(table["n_components"])
    _, island = np.unique(table["island"], return_inverse=True)
    frame, cell = data.frame(column(table, "x"), column(table, "y")), data.grid.cell
    isl, source = (np.asarray(table[name] - 1, dtype=np.int32) for name in ("island", "id"))
    if components:
        out = Table({"Gaus_id": number, "Isl_id": isl, "Source_id": source, "Wave_id": 0 * number})
        places = [("Xposn", "x", u.pix), ("Yposn", "y", u.pix)]
    else:
        out = Table({"Source_id": source, "Isl_id": isl})
        places = [("RA_max", "ra", u.deg), ("DEC_max", "dec", u.deg)]

    def pair(name: str, value: Any, error: Any, unit: Any) -> None:
        for key, numbers in ((name, value), (f"E_{name}", error)):
            out[key] = np.asarray(numbers, dtype=float) * unit

    place = [("RA", "ra", u.deg), ("DEC", "dec", u.deg)]
    fluxes = [("Total_flux", "flux", u.Jy), ("Peak_flux", "flux_peak", u.Jy / u.beam)]
    for name, ours, unit in place + fluxes + places:
        error = column(table, f"{ours}_err") / (3600 if unit is u.deg else 1)
        pair(name, column(table, ours), error, unit)
    for prefix, names in (("", SIZES), ("DC_", SHAPE)):
        for name, ours, per in zip(("Maj", "Min", "PA"), names, (3600, 3600, 1)):
            pair(prefix + name, column(table, ours) / per, column(table, f"{ours}_err") / per, u.deg)
        major, minor, pa = frame.to_pixels(*(column(table, ours) for ours in names))
        plane = {"Maj": major * cell / 3600, "Min": minor * cell / 3600, "PA": pa}
        for name, values in plane.items():
            pair(f"{prefix}{name}_img_plane", values, out[f"E_{prefix}{name}"], u.deg)
    flux, flux_err = column(table, "flux"), column(table, "flux_err")
    sums = (np.bincount(island, weights=np.nan_to_num(v))[island] for v in (flux, flux_err**2))
    total, squared = sums if len(table) else (flux, flux)
    pair("Isl_Total_flux", total, np.sqrt(squared), u.Jy)
    known = {"Isl_rms": column(table, "rms"), "Isl_mean": column(table, "background")}
    known |= dict.fromkeys(("Resid_Isl_rms", "Resid_Isl_mean"), none)
    known |= dict.fromkeys(("Wave_Isl_rms", "Wave_Isl_mean") if components else (), none)
    for name, values in known.items():
        out[name] = values * (u.Jy / u.beam)
    out["S_Code"] = np.where(several > 1, "M", np.where(size > several, "C", "S")).astype("U1")
    frequency = table.meta.get("frequency")
    out.meta |= {"INIMAGE": Path(data.name).name, "EQUINOX": 2000.0}
    out.meta |= {} if frequency is None else {"FREQ0": frequency}
    return out


def _aegean(table: Table, data: RadioData) -> Table:
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    n, (number, _) = len(table), _within(table)
    place = SkyCoord(column(table, "ra"), column(table, "dec"), unit="deg")
    beam = data.middle_beam
    x, y = column(table, "x"), column(table, "y")
    psf = np.full((3, n), np.nan) if beam is None else data.sky_beams(beam, x, y).T
    out = Table({"island": np.asarray(table["island"], dtype=np.int32), "source": number})
    out["background"], out["local_rms"] = column(table, "background"), column(table, "rms")
    out["ra_str"] = place.ra.to_string(u.hour, sep=":", precision=2, pad=True)
    out["dec_str"] = place.dec.to_string(u.deg, sep=":", precision=2, pad=True, alwayssign=True)
    for name, ours, error in (
        ("ra", "ra", 3600), ("dec", "dec", 3600), ("peak_flux", "flux_peak", 1), ("int_flux", "flux", 1),
        ("a", "fwhm_maj", 1), ("b", "fwhm_min", 1), ("pa", "pa", 1),
    ):  # fmt: skip
        out[name] = column(table, ours)
        out[f"err_{name}"] = np.nan_to_num(column(table, f"{ours}_err") / error, nan=-1.0)
    out["pa"] = 90 - (90 - np.asarray(out["pa"])) % 180
    diffuse = np.asarray(table["kind"]).astype(str) == "diffuse"
    point = has_flag(table["flags"], "unresolved")
    out["flags"] = np.asarray(UNRESOLVED * point + REGION * diffuse, dtype=np.int32)
    out["residual_mean"] = out["residual_std"] = np.full(n, np.nan)
    # the same source in the same image has the same one
    words = (f"{data.name} {ra} {dec}" for ra, dec in zip(out["ra_str"], out["dec_str"]))
    out["uuid"] = np.array([str(uuid.uuid5(uuid.NAMESPACE_URL, word)) for word in words], dtype="U36")
    out["psf_a"], out["psf_b"], out["psf_pa"] = psf[0], psf[1], 90 - (90 - psf[2]) % 180
    return out


SPATIAL_EDGE = 1
"""SoFiA-2's flag of a source at the edge of the image."""
SPECTRAL_EDGE = 2
"""SoFiA-2's flag of a source at the edge of the band."""
OTHERS = 8
"""SoFiA-2's flag of a source with pixels of another one in its box."""
SECOND_MOMENT = 2 / FWHM_PER_SIGMA
"""SoFiA-2's axes, twice the standard deviation, over a FWHM."""


def _sofia(table: Table, data: Any, mask: Any, line: Any) -> Table:
    from astropy import units as u

    n, cells = len(table), np.zeros(len(table), dtype=np.int32)
    lowest, highest = np.full((2, n), np.nan)
    ell3s, flags = np.full((3, n), np.nan), np.zeros(n, dtype=np.int32)
    frame = data.frame(column(table, "x"), column(table, "y"))
    major, minor, pa = frame.to_pixels(*(column(table, name) for name in SIZES))
    ends = ("x_min", "x_max", "y_min", "y_max", "z_min", "z_max")
    sides = np.array([data.shape[2], data.shape[1], data.shape[0]])
    box = np.transpose([np.nan_to_num(column(table, name)) for name in ends]).reshape(n, 3, 2)
    box = np.clip(np.stack([np.floor(box[..., 0]), np.ceil(box[..., 1])], axis=2), 0, sides[:, None] - 1)
    box = box.astype(int)
    boxes = {} if mask is None else label_boxes(mask)
    for k in range(n if mask is not None else 0):
        # what SoFiA-2 calls its box is that of its mask
        number = int(table["id"][k])
        if number in boxes:
            box[k] = [(s.start, s.stop - 1) for s in boxes[number][::-1]]
        part = tuple(slice(a, b + 1) for a, b in box[k, ::-1])
        inside, values = mask[part] == number, line[part]
        cells[k] = inside.sum()
        lowest[k], highest[k] = (f(values[inside]) if cells[k] else np.nan for f in (np.min, np.max))
        flags[k] += OTHERS * bool(((mask[part] > 0) & ~inside).any())
        sky = np.where(inside, values, 0).sum(axis=0)
        seen = sky > 3 * column(table, "rms")[k] * np.sqrt(np.maximum(inside.sum(axis=0), 1))
        if seen.sum() > 2:
            ell3s[:, k] = _ellipse(*np.nonzero(seen))
    flags += SPATIAL_EDGE * ((box[:, :2, 0] <= 0) | (box[:, :2, 1] >= sides[:2] - 1)).any(axis=1)
    flags += SPECTRAL_EDGE * ((box[:, 2, 0] <= 0) | (box[:, 2, 1] >= sides[2] - 1))
    z = column(table, "z")
    hertz = np.interp(np.nan_to_num(z), np.arange(sides[2]), data.channel_widths())
    widths = data.channel_widths_velocity()
    km_s = hertz * np.nan if widths is None else np.interp(np.nan_to_num(z), np.arange(sides[2]), widths)
    brightness, corners = u.Jy / u.beam, box.reshape(n, 6).astype(np.int32).T
    return Table({
        "name": np.asarray(table["name"]), "id": np.asarray(table["id"], dtype=np.int32),
        **{name: column(table, name) * u.pix for name in "xyz"},
        **{name: values * u.pix for name, values in zip(ends, corners)},
        "n_pix": cells, "f_min": lowest * brightness, "f_max": highest * brightness,
        "f_sum": column(table, "flux_hz") * (u.Jy * u.Hz),
        "rel": column(table, "reliability"), "flag": flags, "rms": column(table, "rms") * brightness,
        **{name: column(table, name) * hertz / km_s * u.Hz for name in ("w20", "w50")},
        "ell_maj": SECOND_MOMENT * major * u.pix, "ell_min": SECOND_MOMENT * minor * u.pix,
        "ell_pa": pa * u.deg,
        "ell3s_maj": ell3s[0] * u.pix, "ell3s_min": ell3s[1] * u.pix, "ell3s_pa": ell3s[2] * u.deg,
        "kin_pa": column(table, "kin_pa") * u.deg,
        **{f"err_{name}": column(table, f"{name}_err") * u.pix for name in "xyz"},
        "err_f_sum": column(table, "flux_hz_err") * (u.Jy * u.Hz),
        **{name: column(table, name) * u.deg for name in ("ra", "dec")}, "freq": column(table, "freq") * u.Hz,
    })  # fmt: skip


def _ellipse(y: Any, x: Any) -> tuple[float, float, float]:
    """Twice the standard deviations along the axes of some pixels, and the longer one's angle, +y to -x."""
    values, vectors = np.linalg.eigh(np.cov(np.stack([x, y]).astype(float), bias=True))
    minor, major = (2 * float(np.sqrt(max(v, 0.0))) for v in values)
    return major, minor, float(np.rad2deg(np.arctan2(-vectors[0, 1], vectors[1, 1])) % 180)


STYLES: dict[str, Callable[..., Table]] = {"pybdsf": _pybdsf, "aegean": _aegean, "sofia": _sofia}
"""Whose columns."""
