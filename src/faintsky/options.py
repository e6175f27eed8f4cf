"""Options that several functions share, written once.

A class of options is a dataclass or a pydantic model whose fields are documented. A function takes it as one
keyword, and `with_options` opens it up: whoever calls the function, reads its help or looks at its signature
finds the fields as keywords of its own. The command line is made from the same signatures.
"""

import functools
import inspect
import operator
import os
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from annotated_types import Ge, Interval

from faintsky.errors import InputError

PathLike = str | os.PathLike[str]
Progress = Callable[[int, int, str], None]
Reliability = Annotated[float, Interval(ge=0, le=1)]
RELIABILITY = 0.9
"""Default least reliability of catalogued sources."""
BackgroundScale = Annotated[float, Ge(10), "BEAMS"]
BACKGROUND_SCALE = 30.0
"""Default smallest scale of the background [beam]."""


@dataclass
class Opening:
    """Companions and header values given beside an image.

    Parameters
    ----------
    psf : path-like or array, optional
        Dirty beam, 1 at its central pixel.
    pb : path-like or array, optional
        Primary beam, 0 to 1.
    rms : path-like or array, optional
        Noise map, in any unit of brightness; without BUNIT, in the unit of the data.
    mask : path-like or array, optional
        Where to search: whole numbers, 0 outside.
    residual : path-like or array, optional
        CLEAN's residual of a restored image, in the unit of the image. With it and the psf, sources below
        CLEAN's threshold are cleaned before the search.
    model_image : path-like or array, optional
        CLEAN components [Jy/pixel], instead of the residual.
    beam : str or sequence, optional
        The synthesised beam, instead of the header's: ``6arcsec,5arcsec,30deg``, or major [arcsec], minor
        [arcsec] and position angle [deg].
    stokes : str, optional
        Which of several Stokes planes: ``I`` (the default, where there is one), ``Q``, ``RR`` …
    kind : {"auto", "restored", "dirty"}, optional
        Whether the data were deconvolved; by default this is judged from the header and from the surroundings
        of the sources.
    dish : float or str, optional
        Diameter of the dishes, ``7m`` or a number in m: sets the primary beam if none is given. By default
        ALMA's, from TELESCOP and the beam. 0 for a single dish: fluxes are not corrected.
    """

    psf: Annotated[Any, "PSF.fits"] = None
    pb: Annotated[Any, "PB.fits"] = None
    rms: Annotated[Any, "RMS.fits"] = None
    mask: Annotated[Any, "MASK.fits"] = None
    residual: Annotated[Any, "FILE"] = None
    model_image: Annotated[Any, "FILE"] = None
    beam: Annotated[Any, "MAJ,MIN,PA"] = None
    stokes: Annotated[str | None, "I"] = None
    kind: Literal["auto", "restored", "dirty"] = "auto"
    dish: Annotated[Any, "7m"] = None


@dataclass
class CubeOpening(Opening):
    """Companions and header values given beside a cube.

    Parameters
    ----------
    rest_frequency : float or str, optional
        Rest frequency of the line, instead of the header's: ``1420.405752MHz``, or a number in Hz.
    continuum : {"auto", "fit", "none"}, optional
        Subtract a linear continuum from the spectra of a cube: where an F-test on the line-free channels
        finds one (``auto``), everywhere (``fit``), or nowhere (``none``).
    """

    rest_frequency: Annotated[Any, "1420.405752MHz"] = None
    continuum: Literal["auto", "fit", "none"] = "auto"


@dataclass
class Running:
    """How a job is run.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}, optional
        Where PyTorch computes.
    jobs : int, optional
        CPU cores to use; all by default.
    overwrite : bool, optional
        Replace the output of another run.
    dry_run : bool, optional
        Show what would be done and what it needs, and stop.
    command : str, optional
        The command line, kept in ``run.json``.
    progress : callable, optional
        Called with steps done, steps in all, and a word.

    Attributes
    ----------
    asked : dict
        All other arguments of the job.
    """

    device: Annotated[str, "auto|cpu|cuda"] = "auto"
    jobs: Annotated[int | None, Ge(1), "N"] = None
    overwrite: bool = False
    dry_run: bool = False
    command: str | None = None
    progress: Progress | None = None
    asked: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def tell(self, done: int, total: int, word: str) -> None:
        """Report progress.

        Parameters
        ----------
        done, total : int
            Steps done, and steps in all.
        word : str
            What is being done.
        """
        if self.progress is not None:
            self.progress(done, total, word)


@dataclass
class Spread(Running):
    """How a job that has many parts is run.

    Parameters
    ----------
    cluster : str, optional
        Where the parts of the work run: ``local`` processes, ``slurm`` (jobs in its queue, as set in the Dask
        configuration), or the address of a Dask scheduler, ``tcp://host:port``.
    """

    cluster: Annotated[str, "local|slurm|tcp://…"] = "local"


Returned = TypeVar("Returned")
Entries = dict[str, tuple[str, str]]
"""Type and text of documented parameters by name."""


def with_options(function: Callable[..., Returned]) -> Callable[..., Returned]:
    """Open up the classes of options that a function takes, and check what it is given.

    Every option is a keyword, of which choices (``Literal``) and the bounds in its annotation
    (``Annotated[float, Interval(ge=0, le=1)]``) are checked; text among the annotations is the option's
    placeholder on the command line. A parameter of the function itself stands in place of a field of the same
    name. An object with an attribute ``asked`` finds there all that was given, but for its own fields.

    Parameters
    ----------
    function : callable
        With numpydoc's ``Parameters`` for its own ones.
    """
    own = inspect.signature(function, eval_str=True)
    classes = {name: p.annotation for name, p in own.parameters.items() if _is_class(p.annotation)}
    fields = {name: _fields(made) for name, made in classes.items()}
    head, entries, tail = split_doc(function.__doc__)
    parameters: dict[str, inspect.Parameter] = {}
    for name, parameter in own.parameters.items():
        if name not in classes:
            parameters[name] = parameter
            continue
        for key, (annotation, default, entry) in fields[name].items():
            if key not in own.parameters:
                parameters[key] = parameter.replace(name=key, annotation=annotation, default=default)
            entries.setdefault(key, entry)
    ordered = sorted(parameters.values(), key=lambda p: p.kind)
    whole = own.replace(parameters=ordered)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Returned:
        try:
            bound = whole.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{function.__name__}: {error}") from None
        bound.apply_defaults()
        given = bound.arguments
        for name, value in given.items():
            check_value(name, value, parameters[name].annotation)
        passed = {name: value for name, value in given.items() if name in own.parameters}
        for name, made in classes.items():
            passed[name] = made(**{key: given[key] for key in fields[name]})
            if hasattr(passed[name], "asked"):
                passed[name].asked = {k: v for k, v in given.items() if k not in fields[name]}
        return function(**passed)

    plain = [p.replace(annotation=_plain(p.annotation)) for p in ordered]
    call.__signature__ = whole.replace(parameters=plain)  # type: ignore[attr-defined]
    call.__options__ = parameters  # type: ignore[attr-defined]
    call.__doc__ = head + _written({p.name: entries[p.name] for p in ordered if p.name in entries}) + tail
    return call


def _is_class(annotation: Any) -> bool:
    return is_dataclass(annotation) or hasattr(annotation, "model_fields")


def _fields(made: Any) -> dict[str, tuple[Any, Any, tuple[str, str]]]:
    """Annotation, default and documentation of each field."""
    hints = get_type_hints(made, include_extras=True)
    entries = {k: e for base in reversed(made.__mro__) for k, e in split_doc(base.__doc__)[1].items()}
    described = getattr(made, "model_fields", {})
    out = {}
    for name, parameter in inspect.signature(made).parameters.items():
        annotation, (kind, text) = hints[name], entries.get(name, ("", ""))
        if name in described:
            more = (*described[name].metadata, *(described[name].examples or ())[:1])
            annotation = described[name].annotation
            annotation = Annotated[(annotation, *more)] if more else annotation
            text = described[name].description or text
        kind = kind or inspect.formatannotation(_plain(annotation)).replace("typing.", "")
        out[name] = annotation, parameter.default, (kind, text)
    return out


def split_doc(doc: str | None) -> tuple[str, Entries, str]:
    """What stands before numpydoc's parameters, these with their types and texts, and what follows."""
    head, found, rest = inspect.cleandoc(doc or "").partition("Parameters\n----------\n")
    following = re.search(r"^\w+\n-{3,}$", rest, re.MULTILINE)
    end = following.start() if following else len(rest)
    entries = {}
    for part in re.split(r"\n+(?=\S)", rest[:end].strip()) if found else []:
        first, _, text = part.partition("\n")
        names, _, kind = first.partition(" : ")
        for name in names.split(", "):
            entries[name] = kind, textwrap.dedent(text).strip()
    return head, entries, rest[end:]


def _written(entries: Entries) -> str:
    parts = (
        f"{name} : {kind}\n{textwrap.indent(text, '    ')}\n".lstrip()
        for name, (kind, text) in entries.items()
    )
    return "Parameters\n----------\n" + "".join(parts) + "\n"


def options_of(function: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], Entries]:
    """Parameters of a public function with their whole annotations, and their documentation."""
    opened = getattr(function, "__options__", None)
    known = dict(inspect.signature(function, eval_str=True).parameters) if opened is None else opened
    return known, split_doc(function.__doc__)[1]


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def extras(annotation: Any) -> tuple[Any, ...]:
    """What ``Annotated`` adds to a type."""
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def bounds(annotation: Any) -> dict[str, float]:
    """``ge``, ``gt``, ``le``, ``lt`` of a number, as far as its annotation has them."""
    pairs = ((key, getattr(e, key, None)) for e in extras(annotation) for key in ("ge", "gt", "le", "lt"))
    return {key: limit for key, limit in pairs if limit is not None}


def check_value(name: str, value: Any, annotation: Any) -> None:
    """Refuse a number beyond the bounds of its annotation, or a word that is not one of its choices.

    Parameters
    ----------
    name : str
        The option, for messages.
    value : object
        What was given.
    annotation : object
        A type, ``Literal`` or ``Annotated`` with bounds.

    Raises
    ------
    InputError
        Naming the option.
    """
    if get_origin(annotation) is Literal and value not in get_args(annotation):
        known = ", ".join(str(v) for v in get_args(annotation))
        raise InputError(f"{name} {value!r} is not known", f"choose one of {known}")
    limits = bounds(annotation)
    if limits and isinstance(value, int | float):
        kept = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
        words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
        if not all(kept[key](value, limit) for key, limit in limits.items()):
            hint = " and ".join(f"{words[key]} {limit:g}" for key, limit in limits.items())
            raise InputError(f"{name} {value} is out of range", f"give {hint}")
