"""Catalogues of images as PyBDSF and Aegean write them: their names, units, numbering and signs of angles.

PyBDSF: a list of sources (``srl``) of a catalogue, of Gaussians (``gaul``) of its components; ids from 0.
Aegean: its list of components, whichever is given; angles in (-90, 90], sizes in arcsec, errors of -1 where
there are none. Both quote errors of positions on the sky in degrees. What only they know (residuals of
islands, wavelets) is NaN; the flux of an island is the sum over its rows.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from faintsky.catalog import has_flag
from faintsky.errors import InputError
from faintsky.system import replacing

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.image import RadioData

UNRESOLVED, REGION = 4, 16
"""Aegean's flags FIXED2PSF and NOTFIT."""


def write_columns(table: Table, style: str, path: str | os.PathLike[str], data: RadioData) -> Path:
    """Write a catalogue, or components, as a FITS table that a peer's users and programs read.

    Parameters
    ----------
    table : astropy.table.Table
        As `faintsky.catalog.make_table` or `faintsky.catalog.make_components` gives it, of an image.
    style : str
        ``pybdsf`` or ``aegean``.
    path : path-like
        A ``.fits`` file, written in one step.
    data : RadioData
        The image, for its beam and the angles of its pixels.

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
    made, final = STYLES[style](table, data), Path(path)
    with replacing(final) as name:
        made.write(name, format="fits")
    return final


def _value(table: Table, name: str) -> Any:
    return np.asarray(np.ma.filled(np.ma.asarray(table[name]).astype(float), np.nan))


def _within(table: Table) -> Any:
    """Number of every row within its island, from 0, and how many rows that has."""
    _, island, size = np.unique(table["island"], return_inverse=True, return_counts=True)
    order = np.argsort(island, kind="stable")
    number = np.empty(len(table), dtype=np.int32)
    number[order] = np.concatenate([np.arange(n) for n in size]) if len(size) else []
    return number, size[island]


def _pybdsf(table: Table, data: RadioData) -> Table:
    from astropy import units as u
    from astropy.table import Table

    components, out = "parent" not in table.colnames, Table()
    none, zero = np.full(len(table), np.nan), np.zeros(len(table), dtype=np.int32)
    _, size = _within(table)
    several = np.bincount(table["id"])[table["id"]] if components else np.asarray(table["n_components"])
    flux, flux_err = _value(table, "flux"), _value(table, "flux_err")
    _, island = np.unique(table["island"], return_inverse=True)
    frame, cell = data.frame(_value(table, "x"), _value(table, "y")), data.grid.cell

    def pair(name: str, value: Any, error: Any, unit: Any) -> None:
        for column, numbers in ((name, value), (f"E_{name}", error)):
            out[column] = np.asarray(numbers, dtype=float) * unit

    def ours(name: str, column: str, unit: Any, per_unit: float = 1.0) -> None:
        error = _value(table, f"{column}_err") / (3600 if column in ("ra", "dec") else per_unit)
        pair(name, _value(table, column) / per_unit, error, unit)

    if components:
        out["Gaus_id"] = np.arange(len(table), dtype=np.int32)
        out["Isl_id"] = np.asarray(table["island"] - 1, dtype=np.int32)
    out["Source_id"] = np.asarray(table["id"] - 1, dtype=np.int32)
    if components:
        out["Wave_id"] = zero
    else:
        out["Isl_id"] = np.asarray(table["island"] - 1, dtype=np.int32)
    ours("RA", "ra", u.deg)
    ours("DEC", "dec", u.deg)
    ours("Total_flux", "flux", u.Jy)
    ours("Peak_flux", "flux_peak", u.Jy / u.beam)
    if components:
        ours("Xposn", "x", u.pix)
        ours("Yposn", "y", u.pix)
    else:
        ours("RA_max", "ra", u.deg)
        ours("DEC_max", "dec", u.deg)
    for prefix, names in (("", ("fwhm_maj", "fwhm_min", "pa")), ("DC_", ("dc_maj", "dc_min", "dc_pa"))):
        for name, column in zip(("Maj", "Min", "PA"), names):
            ours(prefix + name, column, u.deg, 1.0 if name == "PA" else 3600.0)
        major, minor, pa = frame.to_pixels(*(_value(table, column) for column in names))
        plane = {"Maj": major * cell / 3600, "Min": minor * cell / 3600, "PA": pa}
        for name, values in plane.items():
            pair(f"{prefix}{name}_img_plane", values, out[f"E_{prefix}{name}"], u.deg)
    sums = (np.bincount(island, weights=np.nan_to_num(v))[island] for v in (flux, flux_err**2))
    total, squared = sums if len(table) else (flux, flux)
    pair("Isl_Total_flux", total, np.sqrt(squared), u.Jy)
    known = {"Isl_rms": _value(table, "rms"), "Isl_mean": _value(table, "background")}
    known |= {"Resid_Isl_rms": none, "Resid_Isl_mean": none}
    known |= {"Wave_Isl_rms": none, "Wave_Isl_mean": none} if components else {}
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
    from astropy.table import Table

    n, (number, _) = len(table), _within(table)
    place = SkyCoord(_value(table, "ra"), _value(table, "dec"), unit="deg")
    beam = data.middle_beam
    x, y = _value(table, "x"), _value(table, "y")
    psf = np.full((3, n), np.nan) if beam is None else data.sky_beams(beam, x, y).T
    out = Table({"island": np.asarray(table["island"], dtype=np.int32), "source": number})
    out["background"], out["local_rms"] = _value(table, "background"), _value(table, "rms")
    out["ra_str"] = place.ra.to_string(u.hour, sep=":", precision=2, pad=True)
    out["dec_str"] = place.dec.to_string(u.deg, sep=":", precision=2, pad=True, alwayssign=True)
    for name, ours, error in (
        ("ra", "ra", 3600), ("dec", "dec", 3600), ("peak_flux", "flux_peak", 1), ("int_flux", "flux", 1),
        ("a", "fwhm_maj", 1), ("b", "fwhm_min", 1), ("pa", "pa", 1),
    ):  # fmt: skip
        out[name] = _value(table, ours)
        out[f"err_{name}"] = np.nan_to_num(_value(table, f"{ours}_err") / error, nan=-1.0)
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


STYLES = {"pybdsf": _pybdsf, "aegean": _aegean}
"""Whose columns."""
