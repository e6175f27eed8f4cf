"""The house: imports point up the list of rooms, files stay small, nothing is left unfinished."""

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import faintsky

SOURCE = Path(faintsky.__file__).parent
ROOMS = [
    *("arrays", "errors", "options", "registry", "units", "system", "grid", "source_model", "cutouts"),
    *("beams", "companions", "image", "catalog", "columns", "io", "blocks", "matching", "sky", "telescopes"),
    *("simulating", "preparing", "networks", "models", "denoising", "detection", "injecting", "training"),
    *("published", "evaluation", "report", "jobs", "__init__", "cli"),
]
FILES = sorted(SOURCE.rglob("*.py"))
HEAVY = ("torch", "astropy", "matplotlib", "scipy", "skimage", "ducc0", "dask", "zarr", "pydantic")

NO_ROOM_S = ("system.lazy", "system.figures")
"""What makes a room's names and what figures look like: met as they are."""
TESTED_BY_THEMSELVES = {
    "options as made from signatures; lines on a terminal": "cli.commands cli.report",
    "steps of the search are compared with plain calculations of the whole cube": (
        "detection.counts detection.matched_filter detection.measuring detection.objects detection.pursuit"
    ),
    "what the models of bright sources leave, by hand": "detection.compact",
    "the reliability of regions, by formula": "detection.diffuse",
    "any box of any array, beside numpy's own": "io.boxes",
    "noise of its planes by formula; weights of the tests' model": "networks.local_unet",
    "every rule, loss and cut of the papers has its own case": (
        "published.dda.training published.decoras.find published.deepfocus.blobs published.deepfocus.chain "
        "published.deepfocus.finding published.deepfocus.pipeline published.deepfocus.thresholds "
        "published.deepfocus.training"
    ),
    "shocks, points and haloes by formula": "sky.web.boxes sky.web.gravity sky.web.points sky.web.shocks",
    "the learning rate follows its schedule, and a training is broken off inside": "training.loop",
}
"""Why, and which files of rooms tests meet past the room."""
UNWANTED = ("NotImplementedError", "TODO", "FIXME", "XXX")


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def room_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


@cache
def imported_names(path: Path) -> set[str]:
    """Whatever a file imports anywhere in it, functions and type checking included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{a.name}" for a in node.names}
    return {name for name in names if name.split(".")[0] == "faintsky"}


def imported_rooms(path: Path) -> set[str]:
    seconds = {name.split(".")[1] if "." in name else "__init__" for name in imported_names(path)}
    return {s if s in ROOMS else "__init__" for s in seconds}


def deep_imports(path: Path) -> set[str]:
    """Files of other rooms that a file imports, past the room; a slice and ``sky.web`` are rooms, too."""
    deep = set()
    for name in imported_names(path):
        parts = name.split(".")[1:]
        for many in range(2, len(parts) + 1):
            file = SOURCE.joinpath(*parts[:many]).with_suffix(".py")
            if file.is_file() and file.parent not in path.parents:
                deep.add(".".join(parts[:many]))
    return deep


def test_imports_point_up():
    wrong = []
    for path in FILES:
        own = room_of(path)
        assert own in ROOMS, f"{own} is not a room of the house"
        below = {r for r in imported_rooms(path) if ROOMS.index(r) > ROOMS.index(own)}
        wrong += [f"{name_of(path)} imports from {room}, which comes after {own}" for room in sorted(below)]
    assert not wrong, "\n".join(wrong)


def test_the_import_check_sees_imports_in_functions(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("def f():\n    from faintsky.cli.report import Report\n    import faintsky\n")
    assert imported_rooms(file) == {"cli", "__init__"}


def test_rooms_are_met_through_their_names():
    deep = {name_of(path): deep_imports(path) - set(NO_ROOM_S) for path in FILES}
    assert not {name: files for name, files in deep.items() if files}


def test_tests_meet_rooms_through_their_names():
    """But for a few, each for its reason: a file that is no longer met so must leave the list."""
    deep = set().union(*(deep_imports(path) for path in Path(__file__).parents[1].rglob("*.py")))
    assert deep - set(NO_ROOM_S) == set(" ".join(TESTED_BY_THEMSELVES.values()).split())


def test_files_are_small_and_finished():
    wrong = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        wrong += [f"{name_of(path)}: {word}" for word in UNWANTED if word in text]
        if text.count("\n") >= 700:
            wrong.append(f"{name_of(path)} has 700 lines or more")
        if text.strip() and not ast.get_docstring(ast.parse(text)):
            wrong.append(f"{name_of(path)} does not say what it is about")
    assert not wrong, "\n".join(wrong)


def undocumented(tree: ast.Module | ast.ClassDef) -> list[str]:
    """Public functions and methods of three arguments and more without their parameters or results.

    One that does as another may refer to it, "See `other`".
    """
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += [f"{node.name}.{name}" for name in undocumented(node)]
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = [a.arg for a in node.args.args + node.args.kwonlyargs if a.arg not in ("self", "cls")]
            doc = ast.get_docstring(node) or ""
            result = node.returns is not None and ast.unparse(node.returns) != "None"
            whole = "Parameters\n---" in doc and (not result or "Returns\n---" in doc or "Yields\n---" in doc)
            if len(arguments) >= 3 and not whole and "See `" not in doc:
                found.append(node.name)
    return found


def test_public_functions_describe_their_parameters():
    wrong = []
    for path in FILES:
        names = undocumented(ast.parse(path.read_text(encoding="utf-8")))
        wrong += [f"{name_of(path)}: {name}" for name in names]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "statement",
    [
        "import faintsky",
        "from faintsky.cli import main; main(['--help'])",
        "from faintsky.cli import main; main(['detect', '--help'])",
    ],
)
def test_imports_are_light(statement):
    code = f"{statement}; import sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.splitlines()[-1] == "[]"


def test_compact_sources_of_an_image_need_no_torch():
    """It takes seconds to load; only a network and cubes need it."""
    code = (
        "import sys, faintsky.detection as d, faintsky.report as r; d.detect_image, r.image_report;"
        "print('torch' in sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == ["False"]


def test_what_pages_and_scripts_import_exists():
    root = SOURCE.parents[1]
    pages = [
        root / "README.md",
        *(p for k in ("*.md", "*.sh", "*.py", "*.ipynb") for p in root.glob(f"*/{k}")),
    ]
    seen = 0
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for module, names in re.findall(r"from (faintsky[\w.]*) import (\([\w\s,]*\)|[\w ,]+)", text):
            for name in re.findall(r"(?:^|,)\s*(\w+)", names.strip("()")):
                whole = importlib.import_module(module)
                assert hasattr(whole, name), f"{page.relative_to(root)}: {module} has no {name}"
                seen += 1
    assert seen > 10


def test_public_names_resolve():
    for path in SOURCE.rglob("__init__.py"):
        room = importlib.import_module(".".join(("faintsky", *path.relative_to(SOURCE).parts[:-1])))
        for name in getattr(room, "__all__", ()):
            assert getattr(room, name) is not None
            assert not (path.parent / f"{name}.py").exists(), f"{name_of(path)}: {name} is also a file"
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = faintsky.no_such_name


def test_sections_of_docstrings_stand_by_themselves():
    wrong = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                lines = (ast.get_docstring(node) or "").splitlines()
                for above, line in pairwise(lines):
                    joined = re.search(r"\S {3,}\w+ : ", line)
                    if joined or (line in ("Parameters", "Returns", "Raises") and above):
                        wrong.append(f"{name_of(path)} {node.name}: {line}")
    assert not wrong, "\n".join(wrong)
