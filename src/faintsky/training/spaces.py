"""What a search may change in a recipe, and to what: choices and ranges of its keys.

As text, ``batch_size=25/50/100`` are choices, ``learning_rate=1e-5..1e-2`` is a range that is drawn from by
its logarithm where it spans more than a factor of ten, and ``epochs=50`` is one value, the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from faintsky.errors import InputError
from faintsky.training.recipes import Recipe, change_type, make_plan

WIDE = 10.0
"""Ratio of a range's ends from which it is logarithmic."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, whole ones where both are; logarithmic where ``log`` is true."""

    low: float
    high: float
    log: bool


Space = dict[str, Range | tuple[Any, ...]]


def make_space(recipe: Recipe, grid: str | None, changes: Mapping[str, Any]) -> tuple[Space, dict[str, Any]]:
    """What is searched, and what is set for all trials.

    Parameters
    ----------
    recipe : Recipe
    grid : str or None
        Name of one of the recipe's spaces.
    changes : mapping
        By key of the recipe: text as in the module's, or a value. A key of the grid takes these in place of
        the grid's values.

    Returns
    -------
    space : dict
        `Range` or tuple of choices by key; where neither the grid nor `changes` has any, `default_space`.
    fixed : dict
        Values by key.

    Raises
    ------
    InputError
        For an unknown grid or key, or a value of another type than the recipe's.
    """
    if grid is not None and grid not in recipe.spaces:
        names = ", ".join(recipe.spaces) or "none"
        raise InputError(f"no grid of the name {grid!r} for this network", f"known: {names}")
    space: Space = dict(recipe.spaces[grid]) if grid is not None else {}
    defaults = make_plan(recipe, {}).record()
    known = {**defaults["schedule"], **defaults["task"], **defaults["arguments"]}
    fixed: dict[str, Any] = {}
    for key, given in changes.items():
        if key not in known:
            make_plan(recipe, {key: given})  # says which keys there are
        read = _read(key, given, known[key])
        if isinstance(read, Range | tuple):
            space[key] = read
        else:
            space.pop(key, None)
            fixed[key] = read
    return space or {k: v for k, v in default_space(known).items() if k not in fixed}, fixed


def default_space(known: Mapping[str, Any]) -> Space:
    """For any network: its rate within a factor of thirty, its batches within a factor of two."""
    rate, batch = known["learning_rate"], known["batch_size"]
    return {
        "learning_rate": Range(rate / 30, rate * 30, True),
        "batch_size": (max(batch // 2, 1), batch, 2 * batch),
    }


def combinations(space: Space) -> list[dict[str, Any]]:
    """All combinations of the choices, the last key changing fastest.

    Raises
    ------
    InputError
        Where there is a range.
    """
    choices: list[tuple[Any, ...]] = []
    for key, values in space.items():
        if isinstance(values, Range):
            raise InputError(
                f"{key} has a range, which no grid can cover",
                "give choices, such as key=1/2/3, or --sampler tpe",
            )
        choices.append(values)
    return [dict(zip(space, values, strict=True)) for values in product(*choices)]


def _read(key: str, given: Any, default: Any) -> Range | tuple[Any, ...] | Any:
    if not isinstance(given, str):
        return given if isinstance(given, Range) else change_type(key, given, default)
    if ".." in given and isinstance(default, int | float) and not isinstance(default, bool):
        low, high = (change_type(key, part, default) for part in given.split("..", 1))
        if not low < high:
            raise InputError(f"{key}={given} is no range", "give the lower end first")
        return Range(low, high, low > 0 and high / low > WIDE)
    parts = given.split("/")
    if len(parts) > 1:
        return tuple(change_type(key, part, default) for part in parts)
    return change_type(key, given, default)
