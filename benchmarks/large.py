"""Memory and time of `detect` and `denoise` on large images, as the command line runs them.

    python -m benchmarks.large_images IMAGE.fits --size 12000
    python -m benchmarks.large detect IMAGE.fits --work DIR [--jobs 2]

Memory is the largest sum over all processes of what each has for itself and its share of what they share
(PSS), looked at every second; seconds are those of the processors, user and system, and those that
passed, which say little where others are at work on the machine. Beside them stands what the dry run says.
Results are added to ``results/large.json``.
"""

from __future__ import annotations

import argparse
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

RESULTS = Path(__file__).parent / "results" / "large.json"


def watched(command: list[str]) -> tuple[dict[str, Any], list[tuple[float, str]]]:
    """Run a command; its peak memory [GB] and seconds, and what it says of its progress, with the time."""
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
        time.sleep(1)
    out = process.stdout.read() if process.stdout is not None else ""
    listener.join()
    after = os.times()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {said[-3:]}")
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return {
        "memory_gb": round(peak / 1e9, 3), "cpu_seconds": round(seconds, 1),
        "seconds": round(time.monotonic() - start, 1), "summary": json.loads(out.splitlines()[-1]),
    }, said  # fmt: skip


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("detect", "denoise"))
    parser.add_argument("image", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--jobs", default="1")
    asked = parser.parse_args()
    side = fits.getheader(asked.image)["NAXIS1"]
    out = asked.work / f"{asked.command}{side}_{asked.jobs}"
    command = [sys.executable, "-m", "faintsky.cli", asked.command, str(asked.image), "--out", str(out)]
    command += ["--json", "--overwrite", "--jobs", asked.jobs]
    dry, _ = watched([*command, "--dry-run"])
    measured, said = watched(command)
    summary = measured.pop("summary")
    kept = ("memory_gb", "time_minutes", "disk_gb", "blocks", "processes")
    row = {
        "command": asked.command, "side": side, "jobs": int(asked.jobs), **measured,
        "sources": summary["sources"], "said": {k: dry["summary"][k] for k in kept},
        "eta": [[round(t, 1), line] for t, line in said if line.endswith("left")],
    }  # fmt: skip
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    rows = [r for r in rows if any(r[k] != row[k] for k in ("command", "side", "jobs"))]
    RESULTS.write_text(json.dumps([*rows, row], indent=1) + "\n")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
