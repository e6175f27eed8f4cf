"""Memory and time of `detect` and `denoise` on large images and cubes, as the command line runs them.

    python -m benchmarks.large_images IMAGE.fits --size 12000
    python -m benchmarks.large detect|denoise|pybdsf|aegean IMAGE.fits --work DIR [--jobs 2]
    python -m benchmarks.large_cubes CUBE.fits --channels 500 --side 1000
    python -m benchmarks.large detect CUBE.fits --work DIR [--jobs 2]

Memory is the largest sum over all processes of what each has for itself and its share of what they share
(PSS), looked at every second; seconds are those of the processors, user and system, and those that
passed, which say little where others are at work on the machine. Beside them stands what the dry run says,
and of a cube what was found of its lines, by S/N, and of its galaxies. PyBDSF and Aegean, with one process,
are stopped where they need more than `MOST`.
Results are added to ``results/large.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from astropy.io import fits
from astropy.table import Table

from benchmarks.finders import FREQUENCY, PEERS, SEED
from benchmarks.line_cubes import score
from faintsky.published.peers import interpreter

RESULTS = Path(__file__).parent / "results" / "large.json"


MOST = 16e9
"""Memory at which a command is stopped [byte]."""


def watched(command: list[str]) -> tuple[dict[str, Any], list[tuple[float, str]]]:
    """Run a command; its peak memory [GB] and seconds, and what it says of its progress, with the time.

    One that was stopped at `MOST` has no ``summary``.
    """
    start = time.monotonic()
    before = os.times()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said: list[tuple[float, str]] = []

    def listen() -> None:
        assert process.stderr is not None
        said.extend((time.monotonic() - start, line.strip()) for line in process.stderr)

    listener = threading.Thread(target=listen)
    listener.start()
    peak, root = 0.0, psutil.Process(process.pid)
    while process.poll() is None:
        total = 0.0
        try:
            for one in [root, *root.children(recursive=True)]:
                total += one.memory_full_info().pss
        except psutil.Error:
            pass
        peak = max(peak, total)
        if peak > MOST:
            process.kill()
        time.sleep(1)
    out = process.stdout.read() if process.stdout is not None else ""
    listener.join()
    after = os.times()
    if process.returncode and peak <= MOST:
        raise SystemExit(f"{' '.join(command)}: {said[-3:]}")
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    row = {"memory_gb": round(peak / 1e9, 3), "cpu_seconds": round(seconds, 1)}
    row["seconds"] = round(time.monotonic() - start, 1)
    last = (out.splitlines() or [""])[-1]
    summary = json.loads(last) if last.startswith("{") else {}
    return row | ({} if process.returncode else {"summary": summary}), said


def scores(truth: Path, catalog: Path) -> dict[str, Any]:
    """Lines found by S/N, of how many; false rows; galaxies: rows of each, and flux over the true one."""
    lines, numbers = score(Table.read(truth), Table.read(catalog, hdu=1))
    found = {}
    for low, high in itertools.pairwise((5, 6, 7, 8, 20)):
        its = lines[(lines["snr"] >= low) & (lines["snr"] < high)]
        found[f"{low} to {high}"] = [int(its["hit"].sum()), len(its)]
    return {"lines": found, "false": numbers["false"], "galaxies": numbers.get("galaxies", [])}


def of_peer(asked: argparse.Namespace) -> dict[str, Any]:
    """PyBDSF's or Aegean's row."""
    asked.work.mkdir(parents=True, exist_ok=True)
    catalogue = asked.work / f"{asked.command}.fits"
    catalogue.unlink(missing_ok=True)
    script = str(Path(__file__).with_name("peer_catalogue.py"))
    last = [str(asked.image), str(catalogue), str(SEED), str(FREQUENCY)]
    measured, _ = watched([interpreter(asked.command), script, asked.command, *last])
    stopped = measured.pop("summary", None) is None
    return measured | {"sources": None if stopped else len(Table.read(catalogue, hdu=1)), "stopped": stopped}


def of_ours(asked: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Our row, with what the dry run says."""
    command = [sys.executable, "-m", "faintsky.cli", asked.command, str(asked.image), "--out", str(out)]
    command += ["--json", "--overwrite", "--jobs", asked.jobs]
    dry, _ = watched([*command, "--dry-run"])
    measured, said = watched(command)
    sources = measured.pop("summary")["sources"]
    kept = ("memory_gb", "time_minutes", "disk_gb", "blocks", "processes")
    return measured | {
        "sources": sources, "said": {k: dry["summary"][k] for k in kept},
        "eta": [[round(t, 1), line] for t, line in said if line.endswith("left")],
    }  # fmt: skip


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("detect", "denoise", *PEERS))
    parser.add_argument("image", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--jobs", default="1")
    asked = parser.parse_args()
    header = fits.getheader(asked.image)
    side, channels = header["NAXIS1"], header.get("NAXIS3", 1)
    out = asked.work / f"{asked.command}{side}_{channels}_{asked.jobs}"
    row = {"command": asked.command, "side": side, "channels": channels, "jobs": int(asked.jobs)}
    row |= of_peer(asked) if asked.command in PEERS else of_ours(asked, out)
    if channels > 1:
        row |= scores(Path(f"{asked.image}.truth.ecsv"), out / "catalog.fits")
        row["microseconds_a_voxel"] = round(
            1e6 * row["cpu_seconds"] / (channels * side * header["NAXIS2"]), 3
        )
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    rows = [r for r in rows if any(r.get(k, 1) != row[k] for k in ("command", "side", "channels", "jobs"))]
    RESULTS.write_text(json.dumps([*rows, row], indent=1) + "\n")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
