"""Self-contained HTML pages, with escaped text and embedded figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faintsky.report.explorer import resources

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def embedded(figure: Figure, dpi: int = 90) -> str:
    """A figure as a ``data:`` URL for an ``<img>``."""
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
        From `embedded`.
    shows : str, optional
        Alternative text of the figures.
    text : str, optional
        Explains the figures.
    columns : sequence of (str, str), optional
        Names and units of a table.
    rows : sequence of sequence of str, optional
        Its cells.
    note : str, optional
        Text after the table, or instead of it.
    drawings : sequence of str, optional
        SVG drawings, in which text is already escaped.
    live : str, optional
        HTML of Bokeh's figures.
    """

    title: str
    figures: Sequence[str] = ()
    shows: str = ""
    text: str = ""
    columns: Sequence[tuple[str, str]] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""
    drawings: Sequence[str] = ()
    live: str = ""


def render(
    title: str,
    subtitle: str,
    facts: Mapping[str, Any],
    sections: Sequence[Section],
    *,
    provenance: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> str:
    """The page as HTML; all text is escaped, so that a header cannot bring markup of its own.

    Parameters
    ----------
    title, subtitle : str
        Headings.
    facts : mapping
        Names and values of the summary.
    sections : sequence of Section
        Parts of the page.
    provenance : mapping
        Version, command, configuration.
    notes : sequence of str, optional
        Assumptions and corrections.

    Returns
    -------
    str
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    known = {k: v for k, v in provenance.items() if v not in ("", None)}
    return environment.get_template("report.html").render(
        title=title, subtitle=subtitle, facts=facts, notes=notes, sections=sections, provenance=known,
        head=resources() if any(s.live for s in sections) else "",
    )  # fmt: skip
