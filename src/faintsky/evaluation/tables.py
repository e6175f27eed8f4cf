"""Rows of numbers as Markdown and CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faintsky.system import replacing


def number(value: float, form: str = ".3f") -> str:
    """Text of a number, or a dash for NaN."""
    return format(value, form) if math.isfinite(value) else "–"


def with_error(value: float, error: float | None, form: str = ".3f", error_form: str | None = None) -> str:
    """Text of a number with its error, if known, or a dash for NaN.

    Parameters
    ----------
    value : float
        The number.
    error : float or None
        Its error.
    form, error_form : str, optional
        Formats of the number and of its error; the latter is by default the former.

    Returns
    -------
    str
    """
    known = error is not None and math.isfinite(error)
    tail = f" ± {error:{error_form or form}}" if known else ""
    return f"{number(value, form)}{tail}" if math.isfinite(value) else "–"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(r) + " |" for r in rows) + "\n"


def table_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Rows of one kind as Markdown.

    Parameters
    ----------
    rows : sequence of mapping
        The rows; they may be empty.
    columns : mapping of str to str
        Headings by column; the column may end in a colon and a format (``recall:.3f``). A column is shown
        with its error if there is a ``NAME_error``.
    """
    lines = []
    for row in rows:
        cells = []
        for key in columns:
            name, _, form = key.partition(":")
            value, error = row[name], row.get(f"{name}_error")
            cells.append(with_error(value, error, form or ".3g") if isinstance(value, float) else str(value))
        lines.append(cells)
    return markdown(list(columns.values()), lines) if rows else ""


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Rows of one kind as CSV, in one step."""
    with replacing(path) as name, open(name, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
