"""Print the oldest versions that pyproject.toml allows, as constraints for pip.

    python tools/oldest.py > oldest.txt

Of torch, whose older builds are large, the version in constraints.txt is kept.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = ("torch",)


def main() -> None:
    """The command line."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["train"], "pytest>=8"]
    for line in wanted:
        name, version = re.match(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)", line).groups()  # type: ignore[union-attr]
        if name not in KEPT:
            print(f"{name}~={version}.0" if version.count(".") < 2 else f"{name}=={version}")
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line.partition("==")[0] in KEPT:
            print(line)


if __name__ == "__main__":
    main()
