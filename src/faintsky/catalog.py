"""The source table: its columns, units, UCDs and flags, and its three file formats."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faintsky.errors import InputError
from faintsky.system import replacing

if TYPE_CHECKING:
    from astropy.table import Table


@dataclass(frozen=True)
class ColumnSpec:
    """What a catalogue column holds.

    Parameters
    ----------
    dtype : str
        ``"f8"`` (missing is NaN), ``"i8"`` (missing is -1) or ``"U"`` (missing is empty).
    unit : str
        In astropy's spelling; empty for a pure number.
    ucd : str
        UCD1+ word of the column (IVOA controlled vocabulary).
    description : str
        One line.
    only_3d : bool
        Whether the column makes no sense for a 2-D image.
    """

    dtype: str
    unit: str
    ucd: str
    description: str
    only_3d: bool = False

    @property
    def missing(self) -> float | int | str:
        """The value of an entry that is not known."""
        if self.dtype == "U":
            return ""
        return -1 if self.dtype[0] == "i" else np.nan


def _error_of(spec: ColumnSpec, unit: str | None = None) -> ColumnSpec:
    words = [w for w in spec.ucd.split(";") if w != "meta.main"]
    description = "1-sigma error of: " + spec.description
    unit = spec.unit if unit is None else unit
    return ColumnSpec("f8", unit, ";".join(["stat.error", *words]), description, spec.only_3d)


def _columns() -> dict[str, ColumnSpec]:
    f, i = "f8", "i8"
    cube = {"only_3d": True}
    measured = {
        "ra": ColumnSpec(f, "deg", "pos.eq.ra;meta.main", "right ascension, ICRS"),
        "dec": ColumnSpec(f, "deg", "pos.eq.dec;meta.main", "declination, ICRS"),
        "freq": ColumnSpec(f, "Hz", "em.freq", "frequency of the line centre, in the header's frame", **cube),
        "velocity": ColumnSpec(
            f, "km/s", "spect.dopplerVeloc", "velocity, in the header's frame and rest frequency", **cube
        ),
        "x": ColumnSpec(f, "pix", "pos.cartesian.x;instr.pixel", "0-based pixel along x"),
        "y": ColumnSpec(f, "pix", "pos.cartesian.y;instr.pixel", "0-based pixel along y"),
        "z": ColumnSpec(f, "chan", "pos.cartesian.z;instr.pixel", "0-based channel", **cube),
        "dc_maj": ColumnSpec(
            f,
            "arcsec",
            "phys.angSize.smajAxis",
            "full width at half maximum of the major axis, the beam taken out",
        ),
        "dc_min": ColumnSpec(
            f,
            "arcsec",
            "phys.angSize.sminAxis",
            "full width at half maximum of the minor axis, the beam taken out",
        ),
        "dc_pa": ColumnSpec(f, "deg", "pos.posAng", "position angle of dc_maj, east of north, [0, 180)"),
        "fwhm_z": ColumnSpec(
            f, "chan", "spect.line.width;instr.pixel", "full width at half maximum of the line", **cube
        ),
        "fwhm_velocity": ColumnSpec(
            f, "km/s", "spect.line.width", "full width at half maximum of the line", **cube
        ),
        "flux": ColumnSpec(
            f, "Jy km/s", "phot.flux;em.radio", "line flux, corrected for the primary beam where it is known"
        ),
        "flux_peak": ColumnSpec(
            f,
            "Jy/beam",
            "phot.flux.density;stat.max;em.radio",
            "peak brightness, corrected for the primary beam where it is known",
        ),
        "continuum": ColumnSpec(
            f, "Jy/beam", "phot.flux.density;spect.continuum;em.radio", "continuum under the line", **cube
        ),
    }
    error_units = {"ra": "arcsec", "dec": "arcsec"}
    columns = {"id": ColumnSpec(i, "", "meta.id;meta.main", "number of the source")}
    for name, spec in measured.items():
        columns[name] = spec
        columns[f"{name}_err"] = _error_of(spec, error_units.get(name))
        if name == "flux_peak":
            columns["pb"] = ColumnSpec(f, "", "arith.factor;instr.beam", "primary beam at the source")
    columns["snr"] = ColumnSpec(f, "", "stat.snr", "signal-to-noise ratio of the detection")
    columns["reliability"] = ColumnSpec(f, "", "stat.probability", "probability that the source is real, 0-1")
    for axis, unit in (("x", "pix"), ("y", "pix"), ("z", "chan")):
        for end, word in (("min", "first"), ("max", "last")):
            ucd = f"pos.cartesian.{axis};instr.pixel;stat.{end}"
            # a box ends on whole pixels, but a line's range is its centre plus and minus its FWHM as it is
            dtype = f if axis == "z" else i
            columns[f"{axis}_{end}"] = ColumnSpec(dtype, unit, ucd, f"{word} {axis} in the box", axis == "z")
    columns["flags"] = ColumnSpec("U", "", "meta.code.qual", "comma-separated flags")
    return columns


COLUMNS: dict[str, ColumnSpec] = _columns()
"""Every column of the source table, in order."""

FLAGS: dict[str, str] = {
    "blended": "overlaps another source",
    "edge": "touches the edge of the image, of the band or of blank pixels",
    "unresolved": "no larger than the beam can tell; its intrinsic widths are upper limits or 0",
    "extended": "much larger than the beam; a Gaussian describes it poorly",
    "rotating": "its velocity changes over it (a disc); one Gaussian with one line describes it poorly",
    "absorption": "negative: absorption against the continuum",
    "no_primary_beam": "the primary beam is not known; fluxes are not corrected for it",
    "no_rest_frequency": "the header has no rest frequency; there are no velocities",
    "low_primary_beam": "the primary beam is below 0.2 here; the corrected fluxes are uncertain",
    "sidelobe": "may be a sidelobe of a brighter source",
}
"""Flags of a source and what they mean."""


def without_fluxes(table: Table, *, keep_values: bool = False) -> None:
    """Make NaN of all that is in Jy, of data whose unit gives no flux; or leave values without a unit."""
    for name in table.colnames:
        if "Jy" in str(table[name].unit or ""):
            if keep_values:
                table[name].unit = None
            else:
                table[name] = np.nan


def _filled(name: str, spec: ColumnSpec, value: ArrayLike | None, n: int, two_d: bool) -> Any:
    from astropy import units as u
    from astropy.table import MaskedColumn

    if value is None:
        return np.full(n, spec.missing, dtype=spec.dtype if spec.dtype != "U" else "U1")
    unit = _unit(name, spec, two_d)
    if isinstance(value, u.Quantity):
        value = value.to_value(unit or u.one)
    if isinstance(value, MaskedColumn | np.ma.MaskedArray):
        masked: Any = value
        value = masked.astype(spec.dtype).filled(spec.missing)
    array = np.asarray(value, dtype=None if spec.dtype == "U" else spec.dtype)
    if spec.dtype == "U":
        array = array.astype(str) if array.size else np.zeros(array.shape, dtype="U1")
    return np.broadcast_to(array, (n,)).copy()


def _unit(name: str, spec: ColumnSpec, two_d: bool) -> str:
    return "Jy" if two_d and name in ("flux", "flux_err") else spec.unit


def make_table(
    columns: Mapping[str, ArrayLike], *, meta: Mapping[str, Any] | None = None, two_d: bool = False
) -> Table:
    """A source table with every column in its place, with its unit, UCD and description.

    Parameters
    ----------
    columns : mapping of str to array
        Values by column name, 1-D and of one length; a quantity is converted, a plain array is taken to be
        in the column's unit. Columns that are not given are filled with NaN, -1 or the empty string;
        names not in `COLUMNS` are kept, as they are, after the others.
    meta : mapping, optional
        Metadata of the table (numbers, strings, lists and mappings of them).
    two_d : bool, optional
        Leave out what a 2-D image does not have, and give fluxes in Jy.

    Returns
    -------
    astropy.table.Table

    Raises
    ------
    ValueError
        Where the columns differ in length.
    """
    from astropy.table import Column, Table

    lengths = {len(np.atleast_1d(np.asarray(v))) for v in columns.values() if np.ndim(v) > 0}
    if len(lengths) > 1:
        raise ValueError(f"columns of a source table differ in length: {sorted(lengths)}")
    n = lengths.pop() if lengths else (1 if columns else 0)
    table = Table(meta=dict(meta or {}))
    for name, spec in COLUMNS.items():
        if two_d and spec.only_3d:
            continue
        values = _filled(name, spec, columns.get(name), n, two_d)
        table[name] = Column(
            values,
            unit=_unit(name, spec, two_d) or None,
            description=spec.description,
            meta={"ucd": spec.ucd},
        )
    for name in columns:
        if name not in COLUMNS:
            value = columns[name]
            table[name] = np.broadcast_to(value, (n,)).copy() if np.ndim(value) == 0 else value
    return table


def add_flag(flags: str, name: str) -> str:
    """``flags`` with ``name`` in it once; raises KeyError for a name not in `FLAGS`."""
    if name not in FLAGS:
        raise KeyError(f"unknown flag {name!r}")
    present = [f for f in str(flags).split(",") if f]
    return ",".join(present if name in present else [*present, name])


def join_flags(names: Iterable[str]) -> str:
    """The flags string of several names, each once, in the order given."""
    flags = ""
    for name in names:
        flags = add_flag(flags, name)
    return flags


def has_flag(flags: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Whether each of the flags strings, of any shape, has ``name`` in it."""
    array = np.asarray(flags, dtype=str)
    return np.array([name in str(f).split(",") for f in array.ravel()], dtype=bool).reshape(array.shape)


def flag_rows(table: Table, rows: ArrayLike, name: str) -> None:
    """Add a flag to some rows of a table, in place; ``rows`` is a boolean array ``[source]``."""
    old = table["flags"]
    new = [add_flag(f, name) if r else str(f) for f, r in zip(old, np.asarray(rows, dtype=bool), strict=True)]
    # a column of fixed-width strings would cut the longer ones: replace it
    fresh = type(old)(
        np.array(new, dtype=str), name="flags", description=old.description, meta=dict(old.meta)
    )
    table.replace_column("flags", fresh)


def _votable(table: Table) -> Any:
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import CooSys, Info

    document = from_table(table, table_id="sources")
    resource = document.resources[0]
    resource.coordinate_systems.append(CooSys(ID="icrs", system="ICRS", config={"version": "1.3"}))
    element = resource.tables[0]
    for name in ("ra", "dec"):
        if name in table.colnames:
            element.get_field_by_id_or_name(name).ref = "icrs"
    for key, value in table.meta.items():
        element.infos.append(Info(name=str(key), value=str(value)))
    return document


def write_catalog(table: Table, folder: str | os.PathLike[str], stem: str = "catalog") -> list[Path]:
    """Write a table as ``.ecsv`` (lossless), ``.vot`` (VOTable) and ``.csv``, each in one step.

    Parameters
    ----------
    table : astropy.table.Table
        As `make_table` gives it.
    folder : path-like
        An existing folder.
    stem : str, optional
        File name without extension.

    Returns
    -------
    list of pathlib.Path
        The three files.
    """
    paths = [Path(folder) / f"{stem}{extension}" for extension in (".ecsv", ".vot", ".csv")]
    with replacing(paths[0]) as name:
        table.write(name, format="ascii.ecsv", delimiter=",")
    with replacing(paths[1]) as name:
        _votable(table).to_xml(str(name))
    with replacing(paths[2]) as name:
        table.write(name, format="ascii.csv")
    return paths


def read_catalog(path: str | os.PathLike[str]) -> Table:
    """Read a source table from ``.ecsv``, ``.vot`` or ``.csv``, with all its columns in order.

    Raises
    ------
    InputError
        Where the file is missing, is not such a table, or has another extension.
    """
    from astropy.table import Table

    path = Path(path)
    formats = {".ecsv": "ascii.ecsv", ".vot": "votable", ".xml": "votable", ".csv": "ascii.csv"}
    if path.suffix not in formats:
        raise InputError("not a catalogue", "give a .ecsv, .vot or .csv file", path)
    if not path.is_file():
        raise InputError("there is no such file", "check the path of the catalogue", path)
    try:
        raw = Table.read(path, format=formats[path.suffix])
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise InputError(
            f"not a readable catalogue ({reason[0] if reason else type(error).__name__})",
            "write it again or give another file",
            path,
        ) from error
    two_d = "z" not in raw.colnames and "freq" not in raw.colnames and "x" in raw.colnames
    meta = {k: v for k, v in raw.meta.items() if k not in ("ID", "name", "description")}
    return make_table({name: raw[name] for name in raw.colnames}, meta=meta, two_d=two_d)
