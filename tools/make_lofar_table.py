"""Make `src/faintsky/telescopes/data/lofar_hba.csv`: the Dutch HBA stations, from the package lofarantpos.

The positions (ITRF) are the stations' phase centres in LOFAR's own calibration tables, which lofarantpos
carries. Needs the ``lofar`` extra::

    python tools/make_lofar_table.py src/faintsky/telescopes/data/lofar_hba.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path


def main():
    """Run the script."""
    from lofarantpos.db import LofarAntennaDatabase

    positions = LofarAntennaDatabase().phase_centres
    core = [n for n in positions if n.startswith("CS") and n[-4:-1] == "HBA"]
    remote = [n for n in positions if n.startswith("RS") and n.endswith("HBA")]
    with Path(sys.argv[1]).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["station", "x_m", "y_m", "z_m"])
        for name in sorted(core + remote):
            writer.writerow([name, *(f"{v:.3f}" for v in positions[name])])


if __name__ == "__main__":
    main()
