"""Interactive maps and catalogue: linked views, objects to select, and a table to sort and filter.

Bokeh draws them in the browser. The page contains Bokeh, the maps and the objects.
"""

from collections.abc import Mapping, Sequence
from html import escape, unescape
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from faintsky.catalog import has_flag
from faintsky.image import RadioCube, RadioImage
from faintsky.report.layers import ABSORPTION, EMISSION, OUTLINE, SHADES, Layer, outlines, palette

ROWS = 20_000
"""Most objects on a page: the most significant ones of the catalogue."""
SIDE = 460
"""Width of a map on the page [pixel]."""
HEIGHTS = (0.4, 1.6)
"""Smallest and largest height of a map on the page, over its width."""
LETTER, PADDING = 7, 24
"""Width of a letter of the table and, beside its text, of a cell with the mark of sorting [pixel]."""
NODES = 33
"""Points along an axis at which sky coordinates are computed; between them they are interpolated."""
FORMATS = {
    "ra": 5, "dec": 5, "velocity": 1, "pa": 0, "dc_pa": 0, "snr": 1, "reliability": 3, "pb": 2, "freq": 6,
}  # fmt: skip
"""Digits of columns shown without errors."""


def resources() -> str:
    """Scripts for the page's head: Bokeh's and our own."""
    from bokeh.resources import Resources

    own = (Path(__file__).parent / "explorer.js").read_text()
    return Resources(mode="inline", components=["bokeh", "bokeh-widgets", "bokeh-tables"]).render() + (
        f"<script>{own}</script>"
    )


def explore(
    data: RadioCube | RadioImage,
    layers: Sequence[Layer],
    table: Table,
    columns: Sequence[str],
    units: Mapping[str, str],
    mask: NDArray[np.integer] | None = None,
) -> str:
    """Maps with objects, and the table of objects, as HTML.

    Parameters
    ----------
    data : RadioCube or RadioImage
        The input, for coordinates and the beam.
    layers : sequence of Layer
        Four maps; blinking shows the others in place of the first.
    table : astropy.table.Table
        The catalogue.
    columns : sequence of str
        Columns that are shown.
    units : mapping of str to str
        Units shown instead of the table's: a thousandth of these if they begin with ``m``, or GHz for Hz.
    mask : array of int, optional
        Labels of objects, ``[y, x]``, whose outlines are drawn on the second map.

    Returns
    -------
    str
    """
    from bokeh.embed import components
    from bokeh.layouts import column, gridplot, row
    from bokeh.models import (
        Button,
        CDSView,
        ColumnDataSource,
        CustomJS,
        CustomJSFilter,
        DataTable,
        Div,
        RangeSlider,
        Select,
        Spinner,
        TapTool,
        TextInput,
        Toggle,
    )

    n_y, n_x = data.shape[-2:]
    shown = table[:ROWS]
    source = ColumnDataSource(data=_objects(data, shown, columns, units), name="objects")
    maps = ColumnDataSource(data={f"map{k}": [la.shades()] for k, la in enumerate(layers)}, name="maps")
    kinds = ["all", *sorted(set(map(str, shown["kind"])))] if "kind" in shown.colnames else ["all"]
    least = Spinner(low=0, step=1, value=0, title="S/N of at least", width=110)
    kind = Select(title="kind", options=kinds, value="all", width=130)
    words = TextInput(title="with this flag", width=130, placeholder="extended")
    wanted = {"least": least, "words": words, "kind": kind}
    chosen = CustomJSFilter(args=wanted, code="return fsFilter(source, least, words, kind)")
    again = CustomJS(args={"chosen": chosen}, code="chosen.change.emit()")
    for widget in wanted.values():
        widget.js_on_change("value", again)
    view = CDSView(filter=chosen)
    figures, objects, images, mappers = _figures(data, layers, maps, source, view, mask)
    place = Div(text="&nbsp;", styles={"font-family": "monospace", "height": "2.6em"}, width=2 * SIDE)
    view_of = {
        "place": place, "maps": maps, "sky": _lattice(data, n_y, n_x), "shape": [n_y, n_x],
        "ends": [[la.low, la.high, la.linear] for la in layers],
        "names": [[la.title, la.unit] for la in layers],
    }  # fmt: skip
    moved = CustomJS(args=view_of, code="fsMoved(cb_obj, place, maps, sky, ends, names, shape)")
    first = figures[0]
    for figure in figures:
        figure.js_on_event("mousemove", moved)
        figure.select_one(TapTool).mode = "replace"

    def when(widget: Any, what: str, code: str, **args: Any) -> Any:
        """A widget that runs a script when something of it changes."""
        widget.js_on_change(what, CustomJS(args=args, code=code))
        return widget

    labels = {name: _heading(name, units, shown) for name in columns}
    x, y = first.x_range, first.y_range
    when(source.selected, "indices", "fsChosen(source, x, y, labels)", source=source, x=x, y=y, labels=labels)
    marks = when(
        Toggle(label="objects", active=True, width=90), "active",
        "all.forEach(r => r.visible = cb_obj.active)", all=objects,
    )  # fmt: skip
    blink = when(
        Toggle(label="blink", active=False, width=90), "active",
        "fsBlink(cb_obj.active, images, title)", images=images, title=first.title,
    )  # fmt: skip
    stretch = when(
        RangeSlider(start=0, end=SHADES, value=(1, SHADES), step=1, title="shades", width=220), "value",
        "all.forEach(m => { [m.low, m.high] = cb_obj.value })", all=mappers,
    )  # fmt: skip
    back = Button(label="whole image", width=110)
    code = "x.setv({start: -0.5, end: shape[1] - 0.5}); y.setv({start: -0.5, end: shape[0] - 0.5})"
    back.js_on_click(CustomJS(args={"x": x, "y": y, "shape": [n_y, n_x]}, code=code))
    grid = DataTable(
        source=source, view=view, columns=_table_columns(columns, units, shown, source.data),
        index_position=None, width=2 * SIDE + 130, height=min(400, 75 + 26 * max(len(shown), 1)),
        row_height=26, sizing_mode="stretch_width", autosize_mode="none",
    )  # fmt: skip
    parts = [
        row(blink, marks, stretch, back),
        gridplot([figures[:2], figures[2:]], toolbar_location="above", merge_tools=True),
        place,
    ]
    if len(shown):
        parts += [row(least, kind, words), grid]
    script, div = components(column(*parts))
    return f'{div}<div id="detail" class="dim">Click an object, in a map or in the table.</div>{script}'


def _objects(
    data: RadioCube | RadioImage, table: Table, columns: Sequence[str], units: Mapping[str, str]
) -> dict[str, Any]:
    """Bokeh's data: the columns shown and their errors, in the units shown, and ellipses in pixels."""
    out: dict[str, Any] = {}
    for name in columns:
        values = table[name]
        if values.dtype.kind != "f":
            out[name] = list(map(str, values)) if values.dtype.kind in "US" else np.asarray(values)
            continue
        factor = _factor(name, units)
        out[name] = np.asarray(values, float) * factor
        if f"{name}_err" in table.colnames and name not in FORMATS:
            out[f"{name}_err"] = np.asarray(table[f"{name}_err"], float) * factor
    x, y = (np.asarray(table[name], float) for name in ("x", "y"))
    beam = data.middle_beam or (3.0, 3.0, 0.0)
    major, minor, angle = (np.full(len(table), v) for v in beam)
    if len(table):
        shape = data.frame(x, y).to_pixels(
            *(np.asarray(table[n], float) for n in ("fwhm_maj", "fwhm_min", "pa"))
        )
        known = np.isfinite(shape).all(axis=0) & (shape[1] > 0)
        major, minor, angle = (np.where(known, s, b) for s, b in zip(shape, (major, minor, angle)))
    absorbs = has_flag(table["flags"], "absorption") | has_flag(table["flags"], "negative")
    out |= {
        "x_": x, "y_": y, "major_": major, "minor_": minor, "angle_": np.deg2rad(angle),
        "colour_": list(np.where(absorbs, ABSORPTION, OUTLINE)),
    }  # fmt: skip
    if "kind" not in out and "kind" in table.colnames:
        out["kind"] = list(map(str, table["kind"]))
    return out


def _factor(name: str, units: Mapping[str, str]) -> float:
    unit = units.get(name, "")
    return 1e-9 if unit == "GHz" else 1e3 if unit.startswith("mJy") else 1.0


def _heading(name: str, units: Mapping[str, str], table: Table) -> str:
    unit = units.get(name, str(table[name].unit or ""))
    return escape(f"{name} [{unit}]" if unit else name)


def _table_columns(
    columns: Sequence[str], units: Mapping[str, str], table: Table, data: Mapping[str, Any]
) -> list[Any]:
    """Columns as wide as their heads and cells; `data` are those of `_objects`."""
    from bokeh.models import HTMLTemplateFormatter, TableColumn

    out = []
    for name in columns:
        if table[name].dtype.kind != "f":
            text = "<%- value %>"
        elif name in FORMATS:
            text = f"<%- fsFixed(value, {FORMATS[name]}) %>"
        else:
            error = f"{name}_err" if f"{name}_err" in data else "undefined"
            text = f"<%- fsError(value, {error}) %>"
        shown, title = HTMLTemplateFormatter(template=text), _heading(name, units, table)
        longest = max(map(len, _cells(data[name], data.get(f"{name}_err"), FORMATS.get(name))), default=0)
        width = PADDING + LETTER * max(len(unescape(title)), longest)
        out.append(TableColumn(field=name, title=title, formatter=shown, width=width))
    return out


def _cells(values: Any, errors: Any, digits: int | None) -> list[str]:
    """Texts of a column's cells as long as those of `fsFixed` and `fsError` in ``explorer.js``."""
    if getattr(values, "dtype", np.dtype(str)).kind != "f":
        return list(map(str, values))
    if digits is not None:
        return [f"{v:.{digits}f}" for v in values]
    errors = np.full(len(values), np.nan) if errors is None else errors
    out = []
    for value, error in zip(values, errors, strict=True):
        known = np.isfinite(error) and error > 0
        places = int(np.clip(1 - np.floor(np.log10(error)), 0, 20)) if known else 0
        out.append(f"{value:.{places}f} ± {error:.{places}f}" if known else f"{value:#.3g}")
    return out


def _figures(
    data: RadioCube | RadioImage,
    layers: Sequence[Layer],
    maps: Any,
    source: Any,
    view: Any,
    mask: NDArray[np.integer] | None,
) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """The linked figures, the renderers of objects, the blinking images, and the brightness mappers."""
    from bokeh.models import ColorBar, FixedTicker, HoverTool, LinearColorMapper, Range1d
    from bokeh.plotting import figure

    n_y, n_x = data.shape[-2:]
    height = round(SIDE * float(np.clip(n_y / n_x, *HEIGHTS)))
    ranges = {"x_range": Range1d(-0.5, n_x - 0.5), "y_range": Range1d(-0.5, n_y - 0.5)}
    figures, objects, images, mappers = [], [], [], []

    def shown(f: Any, k: int, **how: Any) -> tuple[Any, dict[str, float]]:
        """Draw a layer in a figure."""
        mapper = LinearColorMapper(palette=palette(layers[k].look), low=1, high=SHADES)
        if layers[k].look != "signed":
            mappers.append(mapper)
        extent = _extent(layers[k].values.shape, maps.data[f"map{k}"][0].shape, (n_y, n_x))
        drawn = f.image(f"map{k}", color_mapper=mapper, source=maps, **extent, **how)
        drawn.name = layers[k].title
        return drawn, extent

    for k, layer in enumerate(layers):
        f = figure(
            title=layer.title, frame_width=SIDE, frame_height=height, match_aspect=True, **ranges,
            tools="pan,wheel_zoom,box_zoom,reset,tap,save", active_scroll="wheel_zoom",
            background_fill_color="#bfbfbf", x_axis_label="x [pixel]", y_axis_label="y [pixel]",
        )  # fmt: skip
        f.grid.visible = False
        drawn, extent = shown(f, k)
        ticks = [float(p) for p in 1 + (SHADES - 1) * layer.stretched(layer.ticks())]
        f.add_layout(
            ColorBar(
                color_mapper=drawn.glyph.color_mapper, ticker=FixedTicker(ticks=ticks), title=layer.unit,
                width=14, major_label_overrides={p: f"{v:.3g}" for p, v in zip(ticks, layer.ticks())},
            ),
            "right",
        )  # fmt: skip
        blank = maps.data[f"map{k}"][0] == 0
        if blank.any():
            _overlay(f, blank, "#bfbfbf", extent)
        if mask is not None and k == 1 and mask.ndim == 2 and mask.any():
            rims = outlines(mask)
            objects.append(_overlay(f, rims, OUTLINE, _extent(mask.shape, rims.shape, (n_y, n_x))))
        marks = f.ellipse(
            x="x_", y="y_", width="minor_", height="major_", angle="angle_", source=source, view=view,
            fill_alpha=0, line_color="colour_", line_width=1.3, nonselection_line_alpha=0.7,
            selection_line_color=EMISSION, selection_line_width=3, hover_line_color="white",
            hover_fill_alpha=0,
        )  # fmt: skip
        tips = [("id", "@id"), ("S/N", "@snr{0.0}"), ("flux", "@flux{0.0000a}")]
        tips = [(name, text) for name, text in tips if text[1:].partition("{")[0] in source.data]
        f.add_tools(HoverTool(renderers=[marks], tooltips=[*tips, ("flags", "@flags")]))
        figures.append(f)
        objects.append(marks)
        images.append(drawn)
    # the first map may show each of the others in turn
    blinking = [shown(figures[0], k, visible=False, level="image")[0] for k in (1, 3)]
    return figures, objects, [images[0], *blinking], mappers


def _extent(values: Sequence[int], shades: Sequence[int], shape: Sequence[int]) -> dict[str, float]:
    """Extent of a map in pixels of the input, of which the values may be binned."""
    step = [max(round(v / s), 1) for v, s in zip(values, shades)]
    return {
        "x": -0.5, "y": -0.5, "dw": shades[1] * step[1] * shape[1] / values[1],
        "dh": shades[0] * step[0] * shape[0] / values[0],
    }  # fmt: skip


def _overlay(figure: Any, where: NDArray[Any], colour: str, extent: Mapping[str, float]) -> Any:
    from bokeh.models import LinearColorMapper

    clear = LinearColorMapper(palette=[colour], low=0.5, high=1.5, low_color="rgba(0, 0, 0, 0)")
    return figure.image([where.astype(np.uint8)], color_mapper=clear, **extent)


def _lattice(data: RadioCube | RadioImage, n_y: int, n_x: int) -> dict[str, Any]:
    """ICRS unit vectors at `NODES` by `NODES` points of the image, for the coordinates at the pointer."""
    y, x = np.meshgrid(
        np.linspace(-0.5, n_y - 0.5, NODES), np.linspace(-0.5, n_x - 0.5, NODES), indexing="ij"
    )
    ra, dec = (np.deg2rad(np.asarray(v, float)).reshape(x.shape) for v in data.sky(x.ravel(), y.ravel()))
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    known = [None if not np.isfinite(v) else round(float(v), 12) for v in vectors.ravel()]
    return {"nodes": NODES, "vectors": known}
