"""`faintsky demo`: both jobs from nothing to their reports."""

import json
import re
from pathlib import Path

import pytest
from outputs import check_alone

from faintsky.cli import main


def test_the_demonstration_finds_sources_and_cleans_an_image(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo"), "--json", "--no-open"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["found"] >= summary["sources"] - 1
    assert summary["false"] == 0
    seen, false = re.match(r"found (\d+), false (\d+)", summary["DeepFocus"]).groups()
    assert 0 < int(seen) <= summary["sources"]
    assert int(false) <= 2
    for name in ("cube", "cube by DeepFocus", "image"):
        page = summary[f"report on the {name}"]
        assert page.startswith(str(tmp_path))
        text = Path(page).read_text(encoding="utf-8")
        assert "<html" in text
        check_alone(text)
    errors = summary["image_errors"]
    assert errors["before"] == pytest.approx(1.0, abs=0.1)
    assert errors["after"] < 0.5
    assert errors["regions"] >= 1
