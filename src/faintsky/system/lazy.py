"""A room's public names, each loaded when it is first asked for."""

import ast
import sys
from importlib import import_module
from typing import Any


def lazy(room: str) -> None:
    """Let a package find the names that it imports under ``TYPE_CHECKING``, each when it is first used.

    The package says once where its names live, as type checkers read it, and loads none of them::

        if TYPE_CHECKING:
            from faintsky.matching.pairing import Matching, match

        lazy(__name__)

    These names are its ``__all__``, unless it has one of its own. None must be that of a file of the
    package: Python would give the file.

    Parameters
    ----------
    room : str
        The package's ``__name__``.
    """
    module: Any = sys.modules[room]
    homes: dict[str, str] = {}

    def find(name: str) -> Any:
        if not homes:
            homes.update(_homes(module.__loader__.get_source(room)))
        if name == "__all__":
            return sorted(homes)
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}", name=name, obj=module)
        value = getattr(import_module(homes[name]), name)
        setattr(module, name, value)
        return value

    module.__getattr__, module.__dir__ = find, lambda: sorted(module.__all__)


def _homes(source: str) -> dict[str, str]:
    """Name and module of every ``from module import name`` within an ``if``."""
    return {
        alias.name: str(node.module)
        for block in ast.parse(source).body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
