"""The table of a study of hyperparameters: its trials, the best first."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faintsky.system import replacing


def study_table(rows: Sequence[Mapping[str, Any]], folder: Path, title: str) -> None:
    """Write ``table.csv`` and ``table.md``.

    Parameters
    ----------
    rows : sequence of mapping
        One a trial, in order; their keys may differ.
    folder : pathlib.Path
    title : str
        Of the Markdown table, a line.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(folder / "table.csv") as name, open(name, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    lines = [title, "", _line([n.replace("_", " ") for n in names]), _line(["---"] * len(names))]
    lines += [_line([_cell(row.get(n, "")) for n in names]) for row in rows]
    with replacing(folder / "table.md") as name:
        name.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
