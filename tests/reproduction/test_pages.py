"""The README's numbers are the tracked results, and what it points at exists."""

import re
import sys
from pathlib import Path

import pytest

from reproduction import pages

ROOT = Path(__file__).parents[2]


def test_numbers_are_the_tracked_ones(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pages", "--check"])
    pages.main()


def test_an_outdated_number_is_seen(monkeypatch, tmp_path):
    for page in pages.PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text(text.replace("| 0.9", "| 0.8"), encoding="utf-8")
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["pages", "--check"])
    with pytest.raises(SystemExit, match=r"README\.md"):
        pages.main()


def test_links_lead_somewhere():
    seen = 0
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
            seen += 1
    assert seen > 100


def test_the_site_shows_every_page():
    shown = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem == "index" or re.search(rf"(?m)^{page.stem}$|<{page.stem}>", shown), page.name


def test_no_page_has_a_blank_to_fill():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert "@@" not in page.read_text(encoding="utf-8"), page.name


def test_files_that_the_pages_name_are_there():
    named = []
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        ends = r"\.(?:py|csv|json|sh)" if page.stem != "architecture" else r"(?:\.py)?"
        pattern = rf"`(?:python |sh )?((?:[a-z_0-9]+/)+(?:[a-z_0-9]+{ends})?)\b[^`]*`"
        text = page.read_text(encoding="utf-8")
        named += [
            (page.name, n) for n in re.findall(pattern, text) if "." in n or page.stem == "architecture"
        ]
    assert len(named) > 50
    assert not [n for n in named if not any((ROOT / b / n[1]).exists() for b in ("", "src/faintsky"))]


def test_seeds_that_scripts_begin_with_are_listed():
    text = (ROOT / "reproduction" / "seeds.md").read_text(encoding="utf-8")
    ranges = [(int(a), int(b or a)) for a, b in re.findall(r"^\| (\d+)(?:[–\-](\d+))?\b", text, re.M)]
    seen = 0
    for folder in ("reproduction", "benchmarks", "tools"):
        for script in (ROOT / folder).glob("*.py"):
            found = re.findall(
                r"(?m)^(?:SEED|FIRST) = ([\d_]+)$|(?:--|first-)seed\", type=int, default=(\d+)",
                script.read_text(),
            )
            for number in (int(a or b) for a, b in found):
                assert any(a <= number <= b for a, b in ranges), f"{script.name}: {number}"
                seen += 1
    assert seen > 10


def test_one_version_is_cited_and_released():
    cited, released = (
        re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.M).group(1)
        for name, pattern in (
            ("CITATION.cff", r"^version: (\S+)"),
            ("pyproject.toml", r'^version = "(.+)"'),
        )
    )
    assert cited == released
    assert f"## {released}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
