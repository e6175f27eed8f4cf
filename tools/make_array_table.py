"""Make `src/faintsky/telescopes/data/alma_cycle9.csv` from the configuration files of CASA's data package.

Needs the ``casa`` extra (casadata)::

    python tools/make_array_table.py src/faintsky/telescopes/data/alma_cycle9.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path


def main():
    """Run the script."""
    target = Path(sys.argv[1])
    sys.argv = sys.argv[:1]  # casaconfig reads it
    import casadata

    folder = Path(casadata.datapath) / "alma" / "simmos"
    with target.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["configuration", "pad", "east_m", "north_m", "up_m", "diameter_m"])
        for number in range(1, 11):
            for line in (folder / f"alma.cycle9.{number}.cfg").read_text().splitlines():
                if line.strip() and not line.startswith("#"):
                    east, north, up, diameter, pad = line.split()[:5]
                    writer.writerow([f"C-{number}", pad, east, north, up, float(diameter)])


if __name__ == "__main__":
    main()
