"""The README's numbers are the tracked results, and what it points at exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("script", ["readme_numbers.py", "deepfocus_tables.py", "dda_tables.py"])
def test_numbers_are_the_tracked_ones(script):
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script, "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_page_has_a_blank_to_fill():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert "@@" not in page.read_text(encoding="utf-8"), page.name
