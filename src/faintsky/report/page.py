"""HTML pages that need nothing beside them: text escaped, figures inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.figure import Figure

TABLE_ROWS = 200
"""Of a catalogue, the most significant ones, that a page shows."""


def embedded(figure: Figure, dpi: int = 90) -> str:
    """A figure as a ``data:`` address for an ``<img>``."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs={"compress_level": 2}
    )
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@dataclass
class Section:
    """A part of a page.

    Parameters
    ----------
    title : str
        Its heading.
    figures : sequence of str, optional
        Of `embedded`.
    shows : str, optional
        What the figures show, for those who do not see them.
    text : str, optional
        Explains the figures.
    columns : sequence of (str, str), optional
        Names and units of a table.
    rows : sequence of sequence of str, optional
        Its cells.
    note : str, optional
        What stands behind the table, or in its place.
    drawings : sequence of str, optional
        SVG beside the figures, made of numbers and of text that is escaped.
    """

    title: str
    figures: Sequence[str] = ()
    shows: str = ""
    text: str = ""
    columns: Sequence[tuple[str, str]] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""
    drawings: Sequence[str] = ()


def render(
    title: str,
    subtitle: str,
    facts: Mapping[str, Any],
    sections: Sequence[Section],
    *,
    provenance: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> str:
    """The page; every value is escaped, so that a header can bring no markup of its own."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    known = {k: v for k, v in provenance.items() if v not in ("", None)}
    return environment.get_template("report.html").render(
        title=title, subtitle=subtitle, facts=facts, notes=notes, sections=sections, provenance=known
    )


def sources(table: Table, shown: Sequence[str], units: Mapping[str, str], **section: Any) -> Section:
    """A section with a catalogue: values with their errors, brightness in mJy where ``units`` says so.

    Parameters
    ----------
    table : astropy.table.Table
    shown : sequence of str
        Its columns.
    units : mapping of str to str
        Units in place of the table's, thousandths of these where they begin with ``m``; GHz of Hz.
    **section
        Of the `Section`.
    """
    columns = [(name, units.get(name, str(table[name].unit or ""))) for name in shown]
    rows = [[_cell(row, name, unit, table.colnames) for name, unit in columns] for row in table[:TABLE_ROWS]]
    return Section(columns=columns, rows=rows, **section)


_FORMATS = {
    "ra": "{:.5f}", "dec": "{:+.5f}", "velocity": "{:.1f}", "pa": "{:.0f}", "snr": "{:.1f}",
    "reliability": "{:.3f}", "area": "{:.4g}", "pb": "{:.2f}",
}  # fmt: skip


def _cell(row: Any, name: str, unit: str, known: Sequence[str]) -> str:
    value = row[name]
    if not isinstance(value, float | np.floating):
        return str(value).replace(",", ", ")
    if not np.isfinite(value):
        return "-"
    if unit == "GHz":
        return f"{value / 1e9:.6f}"
    if name in _FORMATS:
        return _FORMATS[name].format(value)
    factor = 1e3 if unit.startswith("mJy") else 1.0
    return with_error(
        float(factor * value), factor * row[f"{name}_err"] if f"{name}_err" in known else np.nan
    )


def with_error(value: float, error: float) -> str:
    """A value and its error with two digits of the error: ``1580 ± 9.5``."""
    if not np.isfinite(value):
        return "-"
    if not np.isfinite(error) or error <= 0:
        return f"{value:.3g}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{digits}f} ± {error:.{digits}f}"
