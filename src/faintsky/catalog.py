"""The catalogue: its columns with units and UCDs, its flags, and its four file formats.

A row of a catalogue is one thing in the sky, a row of its components one fitted Gaussian, diffuse region or
line, with the ``id`` of the object that it belongs to. Truth tables have the same columns.
"""

from __future__ import annotations

import io
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Column, MaskedColumn, Table
from numpy.typing import ArrayLike, NDArray

from faintsky.arrays import Bool, Float
from faintsky.errors import InputError
from faintsky.system import replacing

if TYPE_CHECKING:
    from faintsky.grid import LocalFrame
    from faintsky.image import RadioData

AT_ONCE = 5000
"""Rows written as text at once: a row takes 6 kB of memory meanwhile."""


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
    of_components : bool
        Whether tables of components have it, too.
    """

    dtype: str
    unit: str
    ucd: str
    description: str
    only_3d: bool = False
    of_components: bool = False

    @property
    def missing(self) -> float | int | str:
        """The value of an entry that is not known."""
        return "" if self.dtype == "U" else -1 if self.dtype == "i8" else np.nan


_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_FLUX = {True: ("phot.flux.density;em.radio", "Jy"), False: ("phot.flux;em.radio", "Jy km/s")}


def _columns(two_d: bool) -> dict[str, ColumnSpec]:
    word, jansky = _FLUX[two_d]
    columns = {}
    for name, (dtype, marks, ucd, unit, meaning) in _TABLES["columns"].items():
        if two_d and "C" in marks:
            continue
        unit, ucd = unit.format(flux=jansky), ucd.format(flux=word)
        columns[name] = ColumnSpec(dtype, unit, ucd, meaning, "C" in marks, "k" in marks)
        if "±" in marks:
            words = ";".join(["stat.error", *(w for w in ucd.split(";") if w != "meta.main")])
            unit = "arcsec" if name in ("ra", "dec") else unit
            text = f"1-sigma error of: {meaning}"
            columns[f"{name}_err"] = ColumnSpec("f8", unit, words, text, "C" in marks, "k" in marks)
    return columns


COLUMNS: dict[str, ColumnSpec] = _columns(two_d=False)
"""Every column of a cube's catalogue, in order."""
IMAGE_COLUMNS: dict[str, ColumnSpec] = _columns(two_d=True)
"""Every column of an image's catalogue: fluxes in Jy, and the frequency as the only spectral column."""

FLAGS: dict[str, str] = _TABLES["flags"]
"""Flags of an object and what they mean; ``rotating`` is of truth tables only."""


def iau_names(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.str_]:
    """Names by position, ``J123456.7-012345``, truncated as the IAU asks; empty where there is no position.

    Parameters
    ----------
    ra, dec : array
        ICRS [deg].
    """
    names = []
    for east, north in zip(np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))):
        if not np.isfinite([east, north]).all():
            names.append("")
            continue
        # rounding errors of a tenth of a microarcsecond must not turn 7.0 into 6.9
        tenths = int(np.floor(east % 360 * 2400 + 1e-6)) % 864_000
        seconds = int(np.floor(abs(north) * 3600 + 1e-6))
        hours, rest = divmod(tenths, 36_000)
        degrees, arc = divmod(seconds, 3600)
        place = f"J{hours:02d}{rest // 600:02d}{rest % 600 // 10:02d}.{rest % 10}"
        names.append(f"{place}{'-' if north < 0 else '+'}{degrees:02d}{arc // 60:02d}{arc % 60:02d}")
    return np.array(names, dtype=str)


def coordinates_meta(data: RadioData) -> dict[str, Any]:
    """Metadata of a catalogue that the header of its image or cube gives."""
    spectral = data.spectral
    f = None if spectral is None or spectral.relative else data.frequencies
    return {
        "coordinate_frame": "ICRS",
        "frequency": None if f is None else float(f[len(f) // 2]),
        "spectral_frame": data.spectral_frame,
        "velocity_convention": "" if spectral is None else spectral.convention,
        "rest_frequency": data.rest_frequency,
        "flux_convention": "sum over channels, each times c dnu / nu of the line",
    }


def mask_extents(labels: NDArray[np.integer], ids: ArrayLike, frame: LocalFrame) -> dict[str, Float]:
    """Columns ``las`` [arcsec] and ``area`` [arcsec2] of the masks of some objects; NaN without a mask.

    Parameters
    ----------
    labels : array of int
        ``[y, x]``, or ``[chan, y, x]``, where a pixel counts if any of its voxels does.
    ids : array of int
        Labels of the objects, ``[n]``.
    frame : LocalFrame
        The sky about each, ``[n]``.

    Returns
    -------
    dict
        ``las`` and ``area``, ``[n]`` each.
    """
    from scipy.ndimage import find_objects

    boxes = find_objects(labels)
    las, area = np.full((2, np.size(ids)), np.nan)
    turn = np.deg2rad(np.arange(0, 180, 3))
    directions = np.stack([np.cos(turn), np.sin(turn)])
    for k, number in enumerate(np.atleast_1d(ids)):
        box = boxes[number - 1] if 0 < number <= len(boxes) else None
        if box is None:
            continue
        inside = labels[box] == number
        inside = inside.any(axis=0) if inside.ndim == 3 else inside
        rows = np.flatnonzero(inside.any(axis=1))
        first, last = inside[rows].argmax(axis=1), inside.shape[1] - 1 - inside[rows][:, ::-1].argmax(axis=1)
        # the four corners of the first and the last pixel of every row
        x = np.concatenate([first - 0.5, last + 0.5] * 2)
        y = np.concatenate([rows - 0.5] * 2 + [rows + 0.5] * 2)
        along = directions.T @ frame.matrix[k] @ np.stack([x, y])
        las[k] = np.ptp(along, axis=1).max()
        area[k] = inside.sum() * frame.area[k]
    return {"las": las, "area": area}


def without_fluxes(table: Table, *, keep_values: bool = False) -> None:
    """Set columns in Jy to NaN where the data's unit gives no flux; or keep the values without a unit."""
    for name in table.colnames:
        if "Jy" in str(table[name].unit or ""):
            if keep_values:
                table[name].unit = None
            else:
                table[name] = np.nan


def _filled(spec: ColumnSpec, value: ArrayLike | None, n: int) -> Any:
    from astropy import units as u

    text = spec.dtype == "U"
    if value is None:
        return np.full(n, spec.missing, dtype="U1" if text else spec.dtype)
    if isinstance(value, u.Quantity):
        value = value.to_value(spec.unit or u.one)
    if isinstance(value, MaskedColumn | np.ma.MaskedArray):
        masked: Any = value
        value = masked.astype(spec.dtype).filled(spec.missing)
    array = np.asarray(value, dtype=None if text else spec.dtype)
    if text:
        array = array.astype(str) if array.size else np.zeros(array.shape, dtype="U1")
    return np.broadcast_to(array, (n,)).copy()


def _completed(columns: Mapping[str, ArrayLike]) -> dict[str, Any]:
    """The columns, with missing ones derived from the others where possible."""
    out: dict[str, Any] = dict(columns)
    if "ra" in out and "dec" in out and np.ndim(out["ra"]):
        out.setdefault("name", iau_names(out["ra"], out["dec"]))
    out.setdefault("parent", 0)
    out.setdefault("group", 0)
    if "id" in out:
        out.setdefault("island", out["id"])
    for method in ("fit", "mask") if "flux_method" in out else ():
        its = np.asarray(out["flux_method"]) == method
        for error in ("", "_err"):
            if f"flux{error}" in out:
                own = np.where(its, np.asarray(out[f"flux{error}"], dtype=float), np.nan)
                out.setdefault(f"flux_{method}{error}", own)
    if "dc_maj_max" in out:
        limits = np.where(has_flag(out.get("flags", ""), "unresolved"), out["dc_maj_max"], np.nan)
        out["dc_maj_max"] = limits
    return out


def make_table(
    columns: Mapping[str, ArrayLike], *, meta: Mapping[str, Any] | None = None, two_d: bool = False
) -> Table:
    """A catalogue with every column in its place, with its unit, UCD and description.

    Parameters
    ----------
    columns : mapping of str to array
        Values by column name, 1-D and of one length, or one value for all; a quantity is converted, a plain
        array is taken to be in the column's unit. Where they are not given, names follow from positions,
        ``island`` is ``id``, and ``flux_fit`` or ``flux_mask`` is ``flux``, by ``flux_method``. All others
        are filled with NaN, -1 or the empty string. Names not in `COLUMNS` are kept, as they are, after them.
    meta : mapping, optional
        Metadata of the table (numbers, strings, lists and mappings of them).
    two_d : bool, optional
        Leave out the columns of cubes only, and give fluxes in Jy.

    Returns
    -------
    astropy.table.Table
        One row an object.

    Raises
    ------
    ValueError
        Where the columns differ in length.
    """
    n = _length(columns)
    return _table(IMAGE_COLUMNS if two_d else COLUMNS, _completed(columns) if columns else {}, n, meta)


def make_components(
    columns: Mapping[str, ArrayLike], *, meta: Mapping[str, Any] | None = None, two_d: bool = False
) -> Table:
    """A table of components, one row a fitted Gaussian, line or region.

    Parameters
    ----------
    columns : mapping of str to array
        As for `make_table`; ``id`` is that of the object that each belongs to.
    meta : mapping, optional
        Metadata of the table.
    two_d : bool, optional
        As for `make_table`.

    Returns
    -------
    astropy.table.Table
        With the columns that components have.
    """
    specs = {k: s for k, s in (IMAGE_COLUMNS if two_d else COLUMNS).items() if s.of_components}
    given = {k: v for k, v in _completed(columns).items() if k in specs or k not in COLUMNS}
    return _table(specs, given if columns else {}, _length(columns), meta)


def components_of(table: Table) -> Table:
    """The components of a catalogue whose objects have one each.

    Parameters
    ----------
    table : astropy.table.Table
        As `make_table` gives it.

    Returns
    -------
    astropy.table.Table
        One row an object, with the columns that components have.
    """
    columns = {name: table[name] for name in table.colnames}
    return make_components(columns, meta=table.meta, two_d="z" not in columns)


def _length(columns: Mapping[str, ArrayLike]) -> int:
    lengths = {len(np.atleast_1d(np.asarray(v))) for v in columns.values() if np.ndim(v) > 0}
    if len(lengths) > 1:
        raise ValueError(f"columns of a source table differ in length: {sorted(lengths)}")
    return lengths.pop() if lengths else (1 if columns else 0)


def _table(
    specs: Mapping[str, ColumnSpec], columns: Mapping[str, Any], n: int, meta: Mapping[str, Any] | None
) -> Table:

    table = Table(meta=dict(meta or {}))
    for name, spec in specs.items():
        about = {"description": spec.description, "meta": {"ucd": spec.ucd}}
        table[name] = Column(_filled(spec, columns.get(name), n), unit=spec.unit or None, **about)
    for name in [n for n in columns if n not in COLUMNS]:
        value = columns[name]
        table[name] = np.broadcast_to(value, (n,)).copy() if np.ndim(value) == 0 else value
    return table


def column(table: Table, name: str) -> Float:
    """A catalogue column as plain floats, NaN where masked, ``[n]``.

    Raises
    ------
    KeyError
        If the table has no such column.
    """
    values = np.ma.asarray(table[name].data if hasattr(table[name], "data") else table[name])
    return np.asarray(np.ma.filled(values.astype(float), np.nan), dtype=float)


def shift_pixels(table: Table, origin: Sequence[int]) -> None:
    """Move a table's positions and boxes, in place, by rows and columns, or channels, rows and columns."""
    for axis, first in zip("zyx"[-len(origin) :], origin):
        for name in (axis, f"{axis}_min", f"{axis}_max"):
            if name in table.colnames:
                table[name] += first


def join_flags(names: Iterable[str]) -> str:
    """The flags string of several names, each once, in the order given; KeyError for one not in `FLAGS`."""
    flags = list(dict.fromkeys(names))
    if unknown := [name for name in flags if name not in FLAGS]:
        raise KeyError(f"unknown flag {unknown[0]!r}")
    return ",".join(flags)


def has_flag(flags: ArrayLike, name: str) -> Bool:
    """Whether objects have a flag.

    Parameters
    ----------
    flags : array of str
        A catalogue's column ``flags``, of any shape.
    name : str
        One flag, such as ``edge``.

    Returns
    -------
    array of bool
        Of the same shape.
    """
    array = np.asarray(flags, dtype=str)
    return np.array([name in str(f).split(",") for f in array.ravel()], dtype=bool).reshape(array.shape)


def _votable(table: Table) -> Iterator[str]:
    """A VOTable, in parts. Astropy, slow for many rows, writes one row, which is then replaced by all."""
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import CooSys, Info

    document = from_table(table[:1], table_id="sources")
    resource = document.resources[0]
    resource.coordinate_systems.append(CooSys(ID="icrs", system="ICRS", config={"version": "1.3"}))
    element = resource.tables[0]
    for name in ("ra", "dec"):
        if name in table.colnames:
            element.get_field_by_id_or_name(name).ref = "icrs"
    for key, value in table.meta.items():
        element.infos.append(Info(name=str(key), value=str(value)))
    file = io.BytesIO()
    document.to_xml(file)
    head, _, rest = file.getvalue().decode().partition("<TABLEDATA>")
    _, end, tail = rest.partition("</TABLEDATA>")
    yield head + ("<TABLEDATA>\n" if end else "")
    for start in range(0, len(table), AT_ONCE):
        columns = [_cells(column) for column in table[start : start + AT_ONCE].itercols()]
        yield "".join(f"<TR><TD>{'</TD><TD>'.join(cells)}</TD></TR>\n" for cells in zip(*columns))
    yield end + tail


def _cells(column: Column) -> list[str]:
    values = np.asarray(column).tolist()
    if column.dtype.kind == "U":
        return [escape(value, quote=False) for value in values]
    return [_WORDS.get(text, text) for text in map(str, values)]


_WORDS = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}
"""VOTable spellings of special values."""


def _fits(table: Table) -> Any:
    """A FITS table with descriptions (TCOMM) and UCDs (TUCD), and a second one of the metadata as JSON."""
    from astropy.io import fits

    bare = Table(table, copy=False)
    bare.meta.clear()
    hdu = fits.table_to_hdu(bare)
    hdu.name = "SOURCES"
    for k, name in enumerate(table.colnames, start=1):
        for card, text in (("TCOMM", table[name].description), ("TUCD", table[name].meta.get("ucd"))):
            if text:
                hdu.header[f"{card}{k}"] = text
    pairs = [(str(key), json.dumps(value)) for key, value in table.meta.items()] or [("", "null")]
    meta = fits.table_to_hdu(Table(rows=pairs, names=("key", "value"), dtype=(str, str)))
    meta.name = "METADATA"
    return fits.HDUList([fits.PrimaryHDU(), hdu, meta])


def write_catalog(table: Table, folder: str | os.PathLike[str], stem: str = "catalog") -> list[Path]:
    """Write a table as ``.fits``, ``.ecsv``, ``.vot`` (VOTable) and ``.csv``, each in one step.

    Parameters
    ----------
    table : astropy.table.Table
        As `make_table` or `make_components` gives it.
    folder : path-like
        An existing folder.
    stem : str, optional
        File name without extension.

    Returns
    -------
    list of pathlib.Path
        The four files.
    """
    paths = [Path(folder) / f"{stem}{extension}" for extension in (".fits", ".ecsv", ".vot", ".csv")]
    with ExitStack() as stack:
        names = [Path(stack.enter_context(replacing(path))) for path in paths]
        _fits(table).writeto(names[0])
        ecsv, vot, csv = (stack.enter_context(name.open("w", encoding="utf-8")) for name in names[1:])
        vot.writelines(_votable(table))
        for comments, rows in _texts(table):
            ecsv.write(comments + rows)
            csv.write(rows)
    return paths


def _texts(table: Table) -> Iterator[tuple[str, str]]:
    """Comments and rows of a table as ECSV, some rows at a time; the first has the names of the columns."""
    for start in range(0, max(len(table), 1), AT_ONCE):
        text = io.StringIO()
        table[start : start + AT_ONCE].write(text, format="ascii.ecsv", delimiter=",")
        ecsv = text.getvalue()
        names = ecsv.index("\n", ecsv.rindex("\n# ") + 1) + 1
        if start:
            yield "", ecsv[ecsv.index("\n", names) + 1 :]
        else:
            yield ecsv[:names], ecsv[names:]


def _read_fits(path: Path) -> Table:
    from astropy.io import fits

    with fits.open(path) as hdus:
        table = Table.read(hdus[1])
        pairs = hdus["METADATA"].data if "METADATA" in hdus else []
        table.meta = {str(key): json.loads(str(value)) for key, value in pairs if key}
    return table


def read_catalog(path: str | os.PathLike[str]) -> Table:
    """Read a catalogue, or components, from ``.fits``, ``.ecsv``, ``.vot`` or ``.csv``, all columns in order.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    astropy.table.Table
        With units and descriptions, and its metadata where the format keeps them.

    Raises
    ------
    InputError
        Where the file is missing, is not such a table, or has another extension.
    """

    path = Path(path)
    formats = {".ecsv": "ascii.ecsv", ".vot": "votable", ".xml": "votable", ".csv": "ascii.csv"}
    if path.suffix not in {".fits", *formats}:
        raise InputError("not a catalogue", "give a .fits, .ecsv, .vot or .csv file", path)
    if not path.is_file():
        raise InputError("there is no such file", "check the path of the catalogue", path)
    try:
        is_fits = path.suffix == ".fits"
        raw = _read_fits(path) if is_fits else Table.read(path, format=formats[path.suffix])
    except Exception as error:
        reason = str(error).strip().splitlines()
        fault = f"not a readable catalogue ({reason[0] if reason else type(error).__name__})"
        raise InputError(fault, "write it again or give another file", path) from error
    two_d = "x" in raw.colnames and "z" not in raw.colnames
    meta = {k: v for k, v in raw.meta.items() if k not in ("ID", "name", "description")}
    make = make_components if "island" in raw.colnames and "parent" not in raw.colnames else make_table
    return make({name: raw[name] for name in raw.colnames}, meta=meta, two_d=two_d)
