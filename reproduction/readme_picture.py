"""Make the README's picture, docs/images/demo.png: the report on the demonstration's cube (seed 1).

Needs playwright (pip) and Chromium.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import faintsky

IMAGE = Path(__file__).parents[1] / "docs" / "images" / "demo.png"
SIZE = {"width": 1270, "height": 1000}
"""Of the browser's window [pixel]."""


def main() -> None:
    """Simulate, search, look."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        faintsky.simulate_alma(folder, 1, seed=1, preset="paper")
        cube = faintsky.open_cube(
            f"{folder}/0000_dirty.fits", psf=f"{folder}/psf.fits", pb=f"{folder}/pb.fits"
        )
        faintsky.detect(cube, f"{folder}/found")
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.goto(f"file://{folder}/found/report.html")
        page.locator(".slick-row").first.wait_for()
        page.get_by_role("heading", name="Maps and sources").scroll_into_view_if_needed()
        page.evaluate("document.querySelectorAll('h2')[1].scrollIntoView()")
        page.wait_for_timeout(1000)
        IMAGE.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=IMAGE)
        browser.close()
    print(IMAGE)


if __name__ == "__main__":
    main()
