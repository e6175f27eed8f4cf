"""`faintsky.demo`: the whole chain on one small simulated observation."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faintsky.catalog import read_catalog
from faintsky.io.output import OutputFolder, provenance
from faintsky.jobs.detect import detect
from faintsky.matching import match
from faintsky.observing.alma import simulate_alma

if TYPE_CHECKING:
    from astropy.table import Table

    from faintsky.matching import Matching


@dataclass
class DemoResult:
    """What `demo` made.

    Attributes
    ----------
    truth, catalog : astropy.table.Table
        True sources, and what was found.
    matching : Matching
        One to one.
    report : pathlib.Path
        The page on the detection.
    """

    truth: Table
    catalog: Table
    matching: Matching
    report: Path

    def summary(self) -> dict[str, Any]:
        """What the command prints."""
        found = {int(i): int(j) for i, j in zip(self.matching.i_true, self.matching.i_found)}
        lines = {}
        for i, true in enumerate(self.truth):
            there = f"S/N {true['snr']:.1f}, {true['flux']:.2f} Jy km/s"
            if i in found:
                row = self.catalog[found[i]]
                seen = f"found, {row['flux']:.2f} ± {row['flux_err']:.2f} Jy km/s"
            else:
                seen = "missed"
            lines[f"true source {i + 1}"] = f"{there}: {seen}"
        return {
            "sources": len(self.truth),
            "found": len(found),
            "false": len(self.matching.unmatched_found),
            **lines,
            "report": str(self.report),
        }


def demo(
    out: str | os.PathLike[str] = "faintsky-demo",
    *,
    seed: int = 1,
    device: str = "auto",
    overwrite: bool = False,
    open_report: bool = True,
    command: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> DemoResult:
    """Simulate an ALMA cube, find its sources, set them beside the truth, and open a report.

    Parameters
    ----------
    out : path-like, optional
        Folder for ``simulated/`` (as `simulate_alma` writes it) and ``detected/`` (as `detect` does).
    seed : int, optional
        Another one is another sky.
    device : {"auto", "cpu", "cuda"}
        Where PyTorch computes.
    overwrite : bool
        Replace an earlier demonstration.
    open_report : bool
        Open the report in a browser where there is one to open.
    command, progress
        As for `detect`.

    Raises
    ------
    InputError
        Where `out` holds something else.
    """
    record = provenance(command=command, config={"seed": seed}, seed=seed, job="demo")
    output = OutputFolder(out, record, overwrite=overwrite, resumable=True)
    with output:
        data = output.folder / "simulated"
        simulate_alma(
            data, 1, seed=seed, preset="paper", overwrite=overwrite, progress=progress, command=command
        )
        result = detect(
            data / "0000_dirty.fits", output.folder / "detected", psf=data / "psf.fits", pb=data / "pb.fits",
            device=device, overwrite=overwrite, progress=progress, command=command,
        )  # fmt: skip
    truth = read_catalog(data / "0000_truth.ecsv")
    report = output.folder / "detected" / "report.html"
    catalog = result.catalog
    if catalog is None:
        catalog = read_catalog(output.folder / "detected" / "catalog.ecsv")
    if open_report and sys.stdout.isatty() and (os.environ.get("DISPLAY") or sys.platform != "linux"):
        webbrowser.open(report.resolve().as_uri())
    return DemoResult(truth, catalog, match(truth, catalog), report)
