"""SoFiA-2 on a cube, its catalogue in our columns: for those who have the program.

    python -m benchmarks.sofia CUBE.fits … [--settings FILE.par]

SoFiA-2 (Westmeier et al. 2021) is not on the package indices that this project is made with: what it finds
in these cubes was not measured, nothing is claimed against it. Where the program ``sofia`` is on the path, or
``FAINTSKY_SOFIA`` names it, `benchmarks.line_cubes` runs it on the same cubes as our methods and scores it
in the same way: ``python -m benchmarks.line_cubes --methods classical,smooth_clip_lines,sofia``.

The settings are those that its manual starts with: noise scaling along frequency, kernels of 0, 3 and 6
pixels by 0, 3, 7 and 15 channels, a threshold of 5, linking by one pixel, reliability 0.9. Tune them on cubes
of other seeds before comparing. Rows that SoFiA-2 measures in Jy Hz or Jy m/s are turned into Jy km/s by the
header; ``snr`` is ``f_sum`` over ``err_f_sum``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from astropy.table import Table

from faintsky.detection import flux_width
from faintsky.io import open_cube
from reproduction import common

PROGRAM = "FAINTSKY_SOFIA"
SETTINGS = {
    "scaleNoise.enable": "true",
    "scaleNoise.mode": "spectral",
    "scfind.enable": "true",
    "scfind.kernelsXY": "0, 3, 6",
    "scfind.kernelsZ": "0, 3, 7, 15",
    "scfind.threshold": "5.0",
    "linker.radiusXY": "1",
    "linker.radiusZ": "1",
    "linker.minSizeXY": "3",
    "linker.minSizeZ": "2",
    "reliability.enable": "true",
    "reliability.threshold": "0.9",
    "reliability.autoKernel": "true",
    "parameter.enable": "true",
    "parameter.physical": "false",
    "parameter.offset": "false",
}
"""Of SoFiA-2, by its own names: fluxes in the cube's unit times pixels, places from 0."""
OUTPUT = {"output.writeCatXML": "true", "output.overwrite": "true"}


def sofia_catalogue(cube: Path, settings: Path | None = None) -> Table:
    """What SoFiA-2 finds: x, y, z, snr, reliability, flux [Jy km/s], flux_err.

    Raises
    ------
    SystemExit
        The program is not there, or leaves no catalogue though it did not say that nothing was found.
    """
    program = os.environ.get(PROGRAM) or shutil.which("sofia")
    if not program:
        raise SystemExit(
            f"SoFiA-2 is not installed: put the program sofia on the path, or name it by {PROGRAM}"
        )
    with tempfile.TemporaryDirectory() as folder:
        given = {"input.data": str(Path(cube).resolve()), "output.directory": folder, "output.filename": "s"}
        own = SETTINGS if settings is None else {}
        text = settings.read_text(encoding="utf-8") if settings is not None else ""
        lines = [f"{k} = {v}" for k, v in {**own, **given, **OUTPUT}.items()]
        (Path(folder) / "run.par").write_text("\n".join([text, *lines]) + "\n", encoding="utf-8")
        done = subprocess.run([program, "run.par"], cwd=folder, capture_output=True, text=True, check=False)
        catalogue = Path(folder) / "s_cat.xml"
        if not catalogue.exists() and "No sources" not in done.stdout + done.stderr and done.returncode:
            raise SystemExit(f"SoFiA-2 failed on {cube}: {(done.stderr or done.stdout).strip()[-300:]}")
        found = Table.read(catalogue, format="votable") if catalogue.exists() else Table()
    return in_our_columns(found, cube)


def in_our_columns(found: Table, cube: Path) -> Table:
    """A catalogue of SoFiA-2 as `benchmarks.line_cubes` scores it."""
    names = ("x", "y", "z", "snr", "reliability", "flux", "flux_err")
    if not len(found):
        return Table({name: np.zeros(0) for name in names})
    value = {n: np.asarray(np.ma.filled(found[n].astype(float), np.nan)) for n in found.colnames if n in USED}
    # the sum over voxels over the beam, times the width of a channel at the line, as ours are
    data = open_cube(cube)
    unit = str(found["f_sum"].unit).replace(" ", "")
    factor = flux_width(data, value["z"])
    if "Hz" in unit:
        factor = factor / np.interp(value["z"], np.arange(data.shape[0]), data.channel_widths())
    elif "m/s" in unit or "ms-1" in unit:
        factor = np.full(len(found), 1e-3)
    elif "beam" in unit.lower():
        major, minor, _ = data.middle_beam
        factor = factor / (np.pi / (4 * np.log(2)) * major * minor)
    error = value.get("err_f_sum", np.full(len(found), np.nan))
    return Table(
        [
            value["x"], value["y"], value["z"], value["f_sum"] / error, value.get("rel", error * np.nan),
            value["f_sum"] * factor, error * factor,
        ],
        names=names,
    )  # fmt: skip


USED = ("x", "y", "z", "f_sum", "err_f_sum", "rel")


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("cubes", nargs="+", type=Path)
    parser.add_argument("--settings", type=Path)
    options = parser.parse_args()
    for cube in options.cubes:
        table = sofia_catalogue(cube, options.settings)
        print(f"{cube}: {len(table)} sources")
        table.pprint_all()


if __name__ == "__main__":
    main()
