"""Make the station tables in `src/faintsky/telescopes/data`.

    python tools/make_station_tables.py alma src/faintsky/telescopes/data/alma_cycle9.csv
    python tools/make_station_tables.py lofar src/faintsky/telescopes/data/lofar_hba.csv

ALMA's are the configuration files of CASA's data package (extra ``casa``: casadata). LOFAR's are the
Dutch HBA stations: phase centres (ITRF) of LOFAR's own calibration tables, which lofarantpos carries (extra
``lofar``).
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path


def alma() -> Iterator[list]:
    """Header and pads of the ten configurations of cycle 9."""
    import casadata

    yield ["configuration", "pad", "east_m", "north_m", "up_m", "diameter_m"]
    folder = Path(casadata.datapath) / "alma" / "simmos"
    for number in range(1, 11):
        for line in (folder / f"alma.cycle9.{number}.cfg").read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                east, north, up, diameter, pad = line.split()[:5]
                yield [f"C-{number}", pad, east, north, up, float(diameter)]


def lofar() -> Iterator[list]:
    """Header and stations, core and remote."""
    from lofarantpos.db import LofarAntennaDatabase

    yield ["station", "x_m", "y_m", "z_m"]
    positions = LofarAntennaDatabase().phase_centres
    core = [n for n in positions if n.startswith("CS") and n[-4:-1] == "HBA"]
    remote = [n for n in positions if n.startswith("RS") and n.endswith("HBA")]
    for name in sorted(core + remote):
        yield [name, *(f"{v:.3f}" for v in positions[name])]


def main() -> None:
    """Write the table of a telescope."""
    telescope, target = sys.argv[1:]
    sys.argv = sys.argv[:1]  # casaconfig reads it
    with Path(target).open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows({"alma": alma, "lofar": lofar}[telescope]())


if __name__ == "__main__":
    main()
