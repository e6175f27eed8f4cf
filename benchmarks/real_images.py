"""Ours, PyBDSF and Aegean on real images: who lists what.

    python -m benchmarks.real_images FOLDER [--work DIR] [--peers-at SIGMA]

FOLDER holds the files of `FILES`, which are not part of this repository. For each image: how many entries
each has, how many of those that both peers list ours has, and what ours has that neither has. Two entries are
the same within a beam. ``benchmarks/results/real_images`` keeps the numbers in ``table.md``, what ours alone
has in ``only_ours.csv`` (its ``verdict`` is filled in by hand, and kept when the script runs again), and
pictures of those images that may be shown; pictures of the others stay in the work folder.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from benchmarks.finders import METHODS, SEED, read, run
from faintsky.errors import FaintskyError
from faintsky.image import RadioImage
from faintsky.io import open_image
from faintsky.system.figures import panels, panels_of, save_figure
from reproduction import common

FILES = {
    "GRB201006A": "lofar_hba_grb201006a.fits", "AMI": "amila_swift_554620.fits",
    "Scorpio": "atca_scorpio_snr.fits", "Parkes": "parkes_1904-66_sin.fits",
}  # fmt: skip
SHOWN = ("GRB201006A", "AMI")
"""Images under licences that let pictures of them be kept here."""
OUT = common.BENCHMARKS / "real_images"
MARKS = {"faintsky": ("o", "tab:red"), "pybdsf": ("s", "tab:blue"), "aegean": ("D", "tab:green")}
ONLY = ("image", "x", "y", "ra", "dec", "snr", "flux", "kind", "flags", "verdict")


def catalogues(
    image: Path, work: Path, threshold: float, *, again: bool = False, diffuse: bool = False
) -> tuple[dict[str, Table], dict[str, str]]:
    """Every method's catalogue, and why there is none of others."""
    tables, failed = {}, {}
    for method in METHODS:
        stem = work / f"{method}_{threshold:.2f}"
        try:
            run(method, image, stem, seed=threshold, again=again)
            tables[method] = read(stem, image, diffuse=diffuse)
        except FaintskyError as error:
            failed[method] = str(error).replace(f" on {image}", "").replace(f"{image}: ", "")
    return tables, failed


def places(table: Table) -> Any:
    """``[n, 2]`` [pixel]."""
    return np.stack([table["x"], table["y"]], axis=1)


def near(table: Table, other: Table, radius: float) -> Any:
    """Whether each row has one of another table within a radius [pixel]."""
    if not len(other):
        return np.zeros(len(table), dtype=bool)
    return cKDTree(places(other)).query(places(table))[0] < radius


def overlay(image: RadioImage, tables: dict[str, Table], path: Path) -> None:
    """The image with everyone's entries."""
    noise, (figure, (ax,)) = image.scatter(), panels(1, 1, 7, 7)
    ax.imshow(image.data, origin="lower", cmap="gray_r", vmin=-3 * noise, vmax=10 * noise)
    for (method, table), size in zip(tables.items(), (90, 50, 25)):
        marker, colour = MARKS[method]
        ax.scatter(table["x"], table["y"], size, marker=marker, facecolors="none", edgecolors=colour,
                   linewidths=0.8, label=f"{method} ({len(table)})")  # fmt: skip
    ax.legend(loc="upper right", fontsize=7)
    save_figure(figure, path)
    common.small(path, path, 200_000)


def stamps(image: RadioImage, only: Table, beam: float, path: Path) -> None:
    """Squares of twelve beams about what ours alone has."""
    figure, axes = panels_of(len(only), 1.8, 1.9, most=5)
    half, noise = round(6 * beam), image.scatter()
    padded = np.pad(image.data, half, constant_values=np.nan)
    for ax, row in zip(axes, only):
        x, y = (int(np.clip(round(row[k]), 0, n - 1)) for k, n in zip("xy", image.data.shape[::-1]))
        ax.imshow(padded[y : y + 2 * half + 1, x : x + 2 * half + 1], origin="lower", cmap="gray_r",
                  vmin=-3 * noise, vmax=10 * noise)  # fmt: skip
        ax.set(title=f"{x}, {y}: S/N {row['snr']:.1f}", xticks=[], yticks=[])
        ax.title.set_fontsize(7)
    save_figure(figure, path)
    common.small(path, path)


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_real_images"))
    parser.add_argument("--peers-at", type=float, default=SEED)
    parser.add_argument("--again", action="store_true")
    o = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    list_of, verdicts = OUT / "only_ours.csv", {}
    if list_of.exists():
        with list_of.open() as file:
            verdicts = {(r["image"], round(float(r["x"])), round(float(r["y"]))): r["verdict"]
                        for r in csv.DictReader(file)}  # fmt: skip
    lines = ["| image | " + " | ".join(METHODS) + " | both peers | of these ours has | ours alone | notes |"]
    lines += ["|---" * 8 + "|"]
    rows: list[tuple[Any, ...]] = []
    for name, file_name in FILES.items():
        path = o.folder / file_name
        image = open_image(path)
        tables, failed = catalogues(path, o.work / name, o.peers_at, again=o.again, diffuse=True)
        beam = float(np.sqrt(np.prod(image.middle_beam[:2]))) if image.middle_beam else 4.0
        counts = [str(len(tables[m])) if m in tables else "failed" for m in METHODS]
        both, ours = Table({"x": [], "y": []}), tables.get(METHODS[0])
        if {"pybdsf", "aegean"} <= set(tables):
            both = tables["pybdsf"][near(tables["pybdsf"], tables["aegean"], beam)]
        cells = ["", ""]
        if ours is not None:
            alone = np.ones(len(ours), dtype=bool)
            for peer in METHODS[1:]:
                alone &= ~near(ours, tables[peer], beam) if peer in tables else True
            only = ours[alone]
            cells = [str(int(near(both, ours, beam).sum())), str(len(only))]
            ra, dec = image.sky(only["x"], only["y"])
            for row, east, north in zip(only, ra, dec):
                place = f"{row['x']:.1f}", f"{row['y']:.1f}"
                key = (name, *(round(float(v)) for v in place))
                sky, strength = (f"{east:.5f}", f"{north:.5f}"), (f"{row['snr']:.1f}", f"{row['flux']:.3g}")
                own = row["kind"], row["flags"], verdicts.get(key, "")
                rows.append((name, *place, *sky, *strength, *own))
            folder = OUT if name in SHOWN else o.work
            overlay(image, tables, folder / f"{name}.png")
            if len(only):
                stamps(image, only, beam, folder / f"{name}_only_ours.png")
        notes = "; ".join(failed.values())
        lines.append(f"| {name} | " + " | ".join([*counts, str(len(both)), *cells, notes]) + " |")
        print(lines[-1], flush=True)
    (OUT / "table.md").write_text(
        f"# Real images\n\nPeers at {o.peers_at:g} sigma, islands of 3 sigma.\n\n" + "\n".join(lines) + "\n"
    )
    with list_of.open("w", newline="") as file:
        csv.writer(file).writerows([ONLY, *rows])


if __name__ == "__main__":
    main()
