"""How Sphinx makes the documentation's site: `make docs`.

The source folder is the repository's root, so that pages link to tables of results, figures and scripts
by the same relative paths as on a forge. What is generated (`docs/api`, `docs/gallery`, `docs/folders`)
is not tracked.
"""

import os
import re
from pathlib import Path

import faintsky

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("FAINTSKY_CACHE", str(ROOT / "build" / "cache"))

project = "faintsky"
author = "the faintsky developers"
copyright = author
release = version = faintsky.__version__
extensions = [
    *("myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"),
    *("sphinx_copybutton", "sphinx_gallery.gen_gallery"),
]
root_doc = "docs/index"
include_patterns = ["docs/**", "benchmarks/results/**.md", "reproduction/results/**.md", "C*.md"]
exclude_patterns = ["docs/_*", "docs/gallery/**.py"]
exclude_patterns += [
    p.name
    for p in ROOT.iterdir()
    if p.name not in ("docs", "benchmarks", "reproduction") and not p.match("C*.md")
]
templates_path = [str(ROOT / "docs" / "_templates")]
suppress_warnings = ["config.cache"]
nitpicky = True
# Names in single backquotes link to their page where there is one. A base class is of no use by itself.
nitpick_ignore_regex = [("py:obj", ".*"), ("py:class", r"faintsky\.system\.settings\.Settings")]
default_role = "autolink"

html_theme = "pydata_sphinx_theme"
html_title = f"faintsky {release}"
html_extra_path = ["_root"]
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {"**": ["pages.html"]}
html_theme_options = {"navbar_center": [], "secondary_sidebar_items": ["page-toc"], "show_toc_level": 2}
highlight_language = "none"

myst_heading_anchors = 4
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
# What is on the API page says all its parameters and what comes back. Classes list attributes instead, and
# `from_array` names one by one what it passes on.
numpydoc_validation_checks = {"GL08", "PR01", "PR02", "PR03", "PR07", "RT01", "RT03"}
numpydoc_validation_exclude = {r"\.[A-Z]\w*$", r"\.from_array$", r"model_post_init"}
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "docs/gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "capture_repr": (),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
}


def page_of_folder(folder: Path) -> str:
    """The name of a page, in `docs/folders`, that shows what a linked folder of results holds."""
    name = "-".join(folder.relative_to(ROOT).parts)
    shown = [f"# `{folder.relative_to(ROOT)}`"]
    for path in sorted(folder.iterdir()):
        place = os.path.relpath(path, ROOT / "docs" / "folders")
        if path.suffix == ".png":
            shown.append(f"## {path.stem.replace('_', ' ')}\n\n![]({place})")
        elif path.suffix in {".md", ".csv"}:
            shown.append(f"- [{path.name}]({place})")
    page = ROOT / "docs" / "folders" / f"{name}.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text("\n\n".join(shown) + "\n", encoding="utf-8")
    return page.name


def linked_folders() -> dict[str, str]:
    """Pages of the folders that pages in `docs` link to, by the link."""
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    links = set(re.findall(r"\]\((\.\./[^)#]+)\)", text)) - {"../examples"}
    places = {link: (ROOT / "docs" / link).resolve() for link in sorted(links)}
    return {link: page_of_folder(place) for link, place in places.items() if place.is_dir()}


FOLDERS = linked_folders()


def adapt(app: object, name: str, source: list[str]) -> None:
    """A page as the site needs it: examples and folders have pages, tables of results a title."""
    source[0] = re.sub(r"\]\(\.\./examples(?:/(\w+)\.py)?\)", r"](gallery/\1)", source[0])
    source[0] = source[0].replace("](gallery/)", "](gallery/index)")
    for link, page in FOLDERS.items():
        source[0] = source[0].replace(f"]({link})", f"](folders/{page})")
    if "/results/" in name and not re.match(r"\s*# ", source[0]):
        source[0] = f"# `{name.partition('/results/')[2]}`\n\n{source[0]}"


def setup(app: object) -> None:
    """Called by Sphinx."""
    app.connect("source-read", adapt)
