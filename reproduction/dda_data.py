"""What compact autoencoders are trained on: fields of each of a split's webs, with restored images.

    python -m reproduction.dda_data DIR [--web train:8]

For each box, ``faintsky simulate lofar --quick --products compact`` into ``DIR/parts``, to which ``clean`` is
added: what a perfect deconvolution would leave, the sky with the beam and the dirty image's noise (the kind
``clean_ideal`` of `faintsky.evaluation`), as real CLEAN takes minutes for each image. ``DIR/pairs`` links to
all in such an order that the last tenth, which validates, has fields of every box. Repeat it to go on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from faintsky import simulate_lofar
from faintsky.simulating import SimulationSettings, at_resolution, open_observatory, read_compact
from faintsky.sky.web import cached_box, save_box, wanted_boxes
from faintsky.system import replacing

GROUPS, CLUSTERS, SIZE, SEED = 14, 7, 1000, 7000
"""Fields of each box, pixels a side, and what is added to a box's seed."""


def restore(folder: Path) -> None:
    """Write ``clean`` into each compact file that has none."""
    telescope = None
    for path in sorted(folder.glob("*_compact.npz")):
        with np.load(path) as file:
            stored = {name: file[name] for name in file.files}
        if "clean" in stored:
            continue
        kept = read_compact(path)
        sky, cell = kept["sky"], kept["cell"]
        if telescope is None:
            given = SimulationSettings(telescope="lofar", size=len(sky), quick=True)
            telescope = open_observatory(given).telescope
        noise = kept["dirty"] - telescope.dirty(sky, 0.0, np.random.SeedSequence(0))
        clean = at_resolution(sky * kept["pb"] * np.float32(cell**2), kept["beam"], cell) + noise
        scale = np.float32(np.abs(clean).max() / 2**15)
        stored |= {"clean": (clean / scale).astype(np.float16), "clean_scale": scale}
        with replacing(path) as temporary, open(temporary, "wb") as out:
            np.savez(out, **stored)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--web", default="train:8")
    given = parser.parse_args()
    pairs = given.folder / "pairs"
    pairs.mkdir(parents=True, exist_ok=True)
    for box in wanted_boxes(given.web):
        part, web = given.folder / "parts" / str(box.seed), given.folder / f"web_{box.seed}.npz"
        if not web.is_file():
            save_box(cached_box(box), web)
        n = CLUSTERS if box.peak_mass else GROUPS
        simulate_lofar(part, n, seed=SEED + box.seed, size=SIZE, web=web, quick=True, products=("compact",))
        restore(part)
        for i, file in enumerate(sorted(part.glob("*_compact.npz"))):
            place = (i + 1) * GROUPS // n
            link = pairs / f"{place:02d}_{box.seed}_compact.npz"
            if not link.exists():
                link.symlink_to(file.resolve())


if __name__ == "__main__":
    main()
