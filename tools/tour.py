"""Run what docs/tour.md shows, and write what it prints into the page: python tools/tour.py."""

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "tour.md"


def shell(block: str) -> str:
    """A block of code, with what its commands print; they are the lines that begin with a dollar."""
    shown = ""
    for command in re.findall(r"(?m)^\$ (.*)", block):
        words = re.sub(r"^faintsky ", f"{sys.executable} -m faintsky.cli ", command)
        done = subprocess.run(words, shell=True, check=True, stdout=subprocess.PIPE, text=True)
        shown += f"$ {command}\n{done.stdout.expandtabs()}"
    return shown


def python(block: str) -> str:
    """The same for a block of Python, all in one session."""
    names: dict[str, object] = {}
    shown = ""
    for example in doctest.DocTestParser().get_examples(block):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(example.source, "tour", "single"), names)
        lines = example.source.splitlines()
        shown += "".join(f"{'...' if i else '>>>'} {line}\n" for i, line in enumerate(lines))
        shown += "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines())
    return shown


def main() -> None:
    """Blocks of the shell first: those of Python read their files."""
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        text = re.sub(r"(?s)(?<=```\n)\$ .*?(?=```)", lambda found: shell(found[0]), text)
        text = re.sub(r"(?s)(?<=```python\n)>>> .*?(?=```)", lambda found: python(found[0]), text)
        os.chdir(PAGE.parent)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
