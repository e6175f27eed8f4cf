"""The commands: each is a public function, with options from its signature and docstring."""

import inspect
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click

import faintsky
from faintsky.cli.report import Report
from faintsky.errors import InputError
from faintsky.options import Entries, bounds, extras, options_of

COMMANDS = ("denoise", "detect", "train", "tune", "inject", "models", "demo")
GROUPS = {
    "simulate": "Simulate observations with their truth.",
    "evaluate": "Score methods on data whose truth is known.",
}
"""Groups of commands, made of functions with this prefix: ``simulate_alma`` is ``simulate alma``."""
SPELT = {"n": ["-n", "--n"], "settings": ["--set"], "open_report": ["--open/--no-open"]}
"""Options with other names than in Python."""
HIDDEN = ("command", "progress", "watch")


class Commands(click.Group):
    """A group that makes a command only when it is used, so that other commands' modules are not loaded."""

    def __init__(self, prefix: str, names: Sequence[str], **how: Any) -> None:
        super().__init__(**how)
        self.prefix, self.names = prefix, names

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the help."""
        return list(self.names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of the commands."""
        if cmd_name not in self.names:
            return None
        if cmd_name in GROUPS:
            return _group(cmd_name)
        if cmd_name == "models":
            return make_command("models", models)
        return make_command(cmd_name, getattr(faintsky, self.prefix + cmd_name))


@dataclass
class Listing:
    """What the command prints: a mapping as JSON, or lines of text."""

    facts: dict[str, Any]
    lines: list[str]


def models(name: Annotated[str | None, "NAME"] = None) -> Listing:
    """List the shipped models, or show one model's card (--json: the whole card).

    Parameters
    ----------
    name : str, optional
        Show this model's card.
    """
    from faintsky.models import card_lines, list_models, load_model

    if name is not None:
        model = load_model(name)
        return Listing(model.card, card_lines(model))
    titles = {m.name: f"{m.job}: {m.card.get('title', '')}" for m in list_models()}
    lines = [f"{m.name:18} {m.job:8} {m.card.get('title', '')}" for m in list_models()]
    return Listing(titles, lines)


def build_command() -> click.Group:
    """The whole command line as one click command."""
    text = "Find faint sources in radio images and spectral cubes."
    group = Commands("", [*COMMANDS, *GROUPS], name="faintsky", help=text, params=[])
    version = {"message": "faintsky %(version)s", "help": "Print the version."}
    return click.version_option(faintsky.__version__, **version)(group)


def _group(name: str) -> click.Group:
    names = [f.removeprefix(f"{name}_") for f in faintsky.__all__ if f.startswith(f"{name}_")]
    return Commands(f"{name}_", names, name=name, help=GROUPS[name], params=[])


class Arguments(click.Command):
    """A command whose help describes its arguments."""

    def __init__(self, texts: Mapping[str, str], **how: Any) -> None:
        super().__init__(**how)
        self.texts = texts

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Arguments, then options."""
        if self.texts:
            with formatter.section("Arguments"):
                formatter.write_dl(list(self.texts.items()))
        super().format_options(ctx, formatter)


def make_command(name: str, function: Callable[..., Any]) -> click.Command:
    """A command that calls a function.

    The first parameter is the command's argument, unless it is ``out``. All others are options, according to
    their annotations: numbers, choices, ``bool`` as a flag, a mapping as ``key=value``, a list as an option
    that may be repeated, and other sequences as words separated by commas.

    Parameters
    ----------
    name : str
        Name of the command.
    function : callable
        With numpydoc's ``Parameters``. It returns a mapping, or an object with ``facts``.
    """
    known, entries = options_of(function)
    shown = [p for p in known.values() if p.name not in HIDDEN]
    parameters: list[click.Parameter] = []
    texts = {}
    for parameter in shown:
        made = _parameter(parameter, entries, first=parameter is shown[0])
        if isinstance(made, click.Argument):
            texts[made.make_metavar(click.Context(click.Command(name)))] = _plain(entries[parameter.name][1])
        parameters.append(made)
    own = [
        click.Option(["--json", "as_json"], is_flag=True,
                     help="Print the summary as one line of JSON at the end."),
        click.Option(["--config"], metavar="FILE.toml", callback=_configure, is_eager=True,
                     expose_value=False, help="Read options from a TOML file; the command line comes first."),
        click.Option(["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error."),
    ]  # fmt: skip

    def run(as_json: bool, **given: Any) -> None:
        with Report(as_json) as report:
            hidden = {"command": shlex.join(["faintsky", *sys.argv[1:]]), "progress": report.progress}
            report.finish(function(**given, **{k: v for k, v in hidden.items() if k in known}))

    text = _plain((function.__doc__ or "").partition("Parameters\n")[0])
    return Arguments(texts, name=name, callback=run, params=[*parameters, *own], help=text.strip())


def _parameter(parameter: Any, entries: Entries, *, first: bool) -> click.Parameter:
    """The argument or the option that a parameter becomes."""
    name, default = parameter.name, parameter.default
    kind, text = entries.get(name, ("", ""))
    how = _type(parameter.annotation, kind)
    required = default is parameter.empty or (name == "out" and default is None)
    if first and name != "out":
        how["metavar"] = f"{'' if required else '['}{how['metavar'] or name.upper()}{'' if required else ']'}"
        if "…" in how["metavar"]:
            how |= {"nargs": -1, "callback": lambda context, parameter, value: _one_or_list(value)}
        return click.Argument([name], required=required, **how)
    if name == "out":
        how["metavar"] = "DIR"
    if name == "jobs":
        default = None  # unlike a script, a command uses all cores by default
    spelling = SPELT.get(name, ["--" + name.replace("_", "-")])
    if how.get("is_flag") and default is True and name not in SPELT:
        spelling = [f"{spelling[0]}/--no-{spelling[0][2:]}"]
    if not required:
        how["default"] = ",".join(default) if isinstance(default, tuple | list) else default
        how["show_default"] = how["default"] is not None and how["default"] is not False
    return click.Option([name, *spelling], required=required, help=_plain(text), **how)


def _type(annotation: Any, kind: str) -> dict[str, Any]:
    """How click reads a value, and its placeholder in the help."""
    plain = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    parts = get_args(plain) if get_origin(plain) in (Union, UnionType) else (plain,)
    kinds = [get_origin(p) or p for p in parts]
    how: dict[str, Any] = {"metavar": next((e for e in extras(annotation) if isinstance(e, str)), None)}
    if kind.startswith("{"):
        how["metavar"] = "|".join(re.findall(r'"(.+?)"', kind))
    if bool in kinds:
        return {"is_flag": True}
    if Literal in kinds:
        how["type"] = click.Choice([str(c) for p in parts if get_origin(p) is Literal for c in get_args(p)])
    elif any(isinstance(k, type) and issubclass(k, Sequence) and k not in (str, list) for k in kinds):
        how |= {"metavar": how["metavar"] or "A,B,…", "callback": _words}
    elif Mapping in kinds:
        how |= {"metavar": how["metavar"] or "key=value", "multiple": True, "callback": _pairs}
    elif list in kinds:
        how |= {"multiple": True, "callback": lambda context, parameter, value: list(value) or None}
    elif str not in kinds and (int in kinds or float in kinds):
        limits, whole = bounds(annotation), int in kinds
        how["type"] = int if whole else float
        if limits:
            ranges: Any = click.IntRange if whole else click.FloatRange
            how["type"] = ranges(
                min=limits.get("ge", limits.get("gt")), min_open="gt" in limits,
                max=limits.get("le", limits.get("lt")), max_open="lt" in limits,
            )  # fmt: skip
        how["metavar"] = how["metavar"] or ("N" if whole else "X")
    return how


def _one_or_list(values: Sequence[str]) -> Any:
    return list(values) if len(values) > 1 else next(iter(values), None)


def _words(context: click.Context, parameter: click.Parameter, text: Any) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in str(text).split(",") if part.strip())


def _pairs(context: click.Context, parameter: click.Parameter, items: Sequence[str]) -> dict[str, str]:
    for item in items:
        if "=" not in item:
            raise InputError(f"{item!r} is not of the form key=value", "give such as --set steps=2000")
    return {key.strip(): value for key, _, value in (item.partition("=") for item in items)}


def _plain(text: str) -> str:
    """Text of a docstring without its markup."""
    return inspect.cleandoc(text).replace("`", "")


def _configure(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    """Read defaults from a TOML file; the command line has priority."""
    if path is None or context.resilient_parsing:
        return
    own = [p for p in context.command.params if p.name not in ("config", "debug", None)]
    context.meta["config"] = path
    context.default_map = {**(context.default_map or {}), **read_config(Path(path), own)}


def read_config(path: Path, parameters: Sequence[click.Parameter]) -> dict[str, Any]:
    """Options by parameter name from a TOML file.

    Parameters
    ----------
    path : pathlib.Path
        Its keys are names of options, with ``-`` or ``_`` and without leading dashes. The items of a list are
        joined by commas; ``set`` is a table, or a list of ``"key=value"``.
    parameters : sequence of click.Parameter
        Parameters of the command.

    Raises
    ------
    InputError
        If the file cannot be read, or has a key that is not an option.
    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", "check the path of --config", path) from error
    except ValueError as error:
        raise InputError(f"cannot be read as TOML ({error})", "correct the file", path) from error
    known = {max(p.opts, key=len).lstrip("-").replace("-", "_"): p for p in parameters}
    values: dict[str, Any] = {}
    for key, value in settings.items():
        option = known.get(key.replace("-", "_"))
        if option is None:
            names = ", ".join(sorted(n.replace("_", "-") for n in known))
            raise InputError(f"unknown key {key!r}", f"this command's options are {names}", path)
        if isinstance(value, dict) and option.multiple:
            value = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in value.items()]
        elif option.multiple and not isinstance(value, list):
            value = [str(value)]
        elif isinstance(value, list) and not option.multiple:
            value = ",".join(str(v) for v in value)
        values[str(option.name)] = value
    return values
