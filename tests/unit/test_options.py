"""Options are written once: opened up in signatures and docstrings, checked, and given as objects."""

import inspect
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Interval
from pydantic import BaseModel, Field

from faintsky.errors import InputError
from faintsky.options import options_of, split_doc, with_options


@dataclass
class Shared:
    """Shared.

    Parameters
    ----------
    kind : {"one", "two"}, optional
        Which.
    jobs : int, optional
        How many.
    """

    kind: Literal["one", "two"] = "one"
    jobs: Annotated[int | None, Ge(1)] = None
    asked: dict[str, Any] = field(default_factory=dict, init=False)


class Settings(BaseModel):
    """Of a model."""

    size: int = Field(64, ge=8, description="Side [pixel].", examples=["2000"])


@with_options
def work(
    data: str, *, share: Annotated[float, Interval(ge=0, le=1)] = 0.5, shared: Shared, settings: Settings
) -> Any:
    """Do it.

    Parameters
    ----------
    data : str
        What to work on.
    share : float
        How much.
    jobs : int
        In this function's own words.

    Returns
    -------
    Any
    """
    return data, share, shared, settings


def test_signature_and_help_show_every_option():
    names = ["data", "share", "kind", "jobs", "size"]
    assert list(inspect.signature(work).parameters) == names
    assert inspect.signature(work).parameters["share"].annotation is float
    head, entries, tail = split_doc(work.__doc__)
    assert (head.strip(), list(entries)) == ("Do it.", names)
    assert entries["jobs"] == ("int", "In this function's own words.")
    assert entries["kind"] == ('{"one", "two"}, optional', "Which.")
    assert entries["size"] == ("int", "Side [pixel].")
    assert tail.startswith("Returns")
    parameters, _ = options_of(work)
    assert "2000" in parameters["size"].annotation.__metadata__


def test_the_function_gets_objects_and_what_was_asked():
    data, share, shared, settings = work("x", share=1, kind="two", size=32)
    assert (data, share, shared.kind, shared.jobs, settings.size) == ("x", 1, "two", None, 32)
    assert shared.asked == {"data": "x", "share": 1, "size": 32}


@pytest.mark.parametrize(("given", "fault"), [
    ({"share": 1.5}, "share 1.5 is out of range; give at least 0 and at most 1"),
    ({"share": float("nan")}, "share nan is out of range"),
    ({"jobs": 0}, "jobs 0 is out of range; give at least 1"), ({"size": 4}, "size 4 is out of range"),
    ({"kind": "three"}, "kind 'three' is not known; choose one of one, two"),
])  # fmt: skip
def test_what_is_out_of_bounds_is_refused(given, fault):
    with pytest.raises(InputError, match=fault):
        work("x", **given)


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match="work: got an unexpected keyword argument 'sise'"):
        work("x", sise=3)
