"""Make the README's picture, docs/images/demo.png, from the demonstration's cube (seed 1)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import faintsky
from faintsky.report import cube_figure

IMAGE = Path(__file__).parents[1] / "docs" / "images" / "demo.png"


def main() -> None:
    """Simulate, search, draw."""
    with tempfile.TemporaryDirectory() as folder:
        faintsky.simulate_alma(folder, 1, seed=1, preset="paper")
        cube = faintsky.open_cube(
            f"{folder}/0000_dirty.fits", psf=f"{folder}/psf.fits", pb=f"{folder}/pb.fits"
        )
        found = faintsky.detect(cube).found
        IMAGE.parent.mkdir(parents=True, exist_ok=True)
        cube_figure(cube, found).savefig(IMAGE, dpi=100, metadata={"Software": None})
    print(IMAGE)


if __name__ == "__main__":
    main()
