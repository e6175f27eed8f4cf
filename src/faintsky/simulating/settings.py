"""Settings of simulations: every option of every telescope, checked and completed with defaults."""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    model_validator,
)

from faintsky.errors import InputError
from faintsky.grid import ImageGrid, SpectralGrid
from faintsky.simulating.imaging import parse_weighting
from faintsky.simulating.instrument import Observation
from faintsky.sky import ModelFile, read_model
from faintsky.system import Settings
from faintsky.telescopes import Preset, Telescope, load_array, telescope
from faintsky.units import quantity

PRODUCTS = {
    "cube": ("sky", "dirty", "psf", "pb", "compact"),
    "image": ("sky", "noise", "dirty", "clean", "psf", "pb", "compact"),
}
USUAL = ("sky", "noise", "dirty", "psf", "pb")
"""Default products, as far as the data have them."""
BACKENDS = {
    "fast": "this package itself",
    "casa": "CASA (pip install faintsky[casa])",
    "wsclean": "the program WSClean",
}
EXTRA_NOISE = ("correlated", "white")
"""Kinds of additional noise: in the visibilities, in the pixels."""
FIELDS = ("sky1", "sky2")
"""Kinds of fields of a cosmic web: with a massive cluster, with groups only."""
COMMON = (
    *("preset", "backend", "sky", "ra", "dec", "hour_angle", "start", "total_time", "integration", "freq"),
    *("cell", "size", "products", "noise", "pbcor"),
)
"""Options that every telescope has."""


def _number(kind: str, low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> Any:
    """A reader of numbers with units; ``above`` excludes the lower end."""

    def read(value: Any, info: ValidationInfo) -> float | None:
        if value is None:
            return None
        option = "--" + str(info.field_name).replace("_", "-")
        number = quantity(value, kind, option) if kind else float(value)
        if above and not number > low:
            raise InputError(f"{option} {value!r} is not above {low:g}", "give a larger number")
        if not (math.isfinite(number) and low <= number <= high):
            ends = f" from {low:g} to {high:g}" if math.isfinite(low) and math.isfinite(high) else ""
            raise InputError(f"{option} {value!r} is out of range", f"give a number{ends}")
        return number

    return BeforeValidator(read)


def _angle(value: Any, info: ValidationInfo) -> float | None:
    """A right ascension or declination [deg]."""
    from astropy.coordinates import Angle

    if isinstance(value, str):
        hours = info.field_name == "ra" and re.search(r"[hH:]", value)
        try:
            value = float(Angle(value, unit="hourangle" if hours else "deg").deg)
        except ValueError as error:
            hint = "give degrees or 1h2m3s"
            raise InputError(f"--{info.field_name} {value!r} is not understood", hint) from error
    low, high = (-180, 360) if info.field_name == "ra" else (-90, 90)
    if value is not None and not low <= value <= high:
        raise InputError(f"--{info.field_name} {value:g} is out of range", f"give {low} to {high} deg")
    return value if value is None or info.field_name == "dec" else value % 360


def _time(value: Any) -> float | None:
    """A UTC date as MJD [day]; numbers are MJD."""
    if not isinstance(value, str):
        return None if value is None else float(value)
    from astropy.time import Time

    try:
        return float(Time(value, scale="utc").mjd)
    except ValueError as error:
        raise InputError(f"start {value!r} is not a time", "give UTC as 2014-01-01T01:20:00") from error


def _words(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


Value = float | str | None
"""An option's type: a number, or text with its unit."""


def _option(help: str, example: str = "", default: Any = None) -> Any:
    return Field(default, description=help, examples=[example] if example else None)


class Checked(Settings):
    """Settings that are checked when made, with messages that name the option."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            first = error.errors()[0]
            option = "--" + str((first["loc"] or ("?",))[0]).replace("_", "-")
            if first["type"] == "extra_forbidden":
                raise InputError(f"there is no option {option}", "leave it out") from error
            raise InputError(f"{option} {first['input']!r} is not possible", first["msg"].lower()) from error


class SimulationSettings(Checked):
    """All settings of a data set, checked and complete.

    Parameters
    ----------
    telescope : str
        One of `faintsky.telescopes.TELESCOPES`.
    drawn : tuple of str, optional
        Options with a value of its own for each sample; by default those that the preset draws and the user
        does not give.
    **options
        The fields; `telescope_options` lists those of a telescope. The default, also for None, is that of the
        telescope or the preset.

    Raises
    ------
    InputError
        For any invalid value.
    """

    telescope: str
    drawn: tuple[str, ...] = ()
    preset: str = _option("Kind of sky and of observations.", default="")
    backend: str = _option("Program that observes.", default="")
    sky: str | Path | None = _option("Observe this model of the sky [Jy/pixel or Jy/arcsec2].", "SKY.fits")
    array: str | Path | None = _option("Array configuration, or a CASA file.", "NAME|FILE.cfg")
    ra: Annotated[Value, BeforeValidator(_angle)] = _option("Right ascension of the field [deg].", "DEG")
    dec: Annotated[Value, BeforeValidator(_angle)] = _option("Declination of the field [deg].", "DEG")
    hour_angle: Annotated[Value, _number("hours")] = _option(
        "Hour angle of the track's middle, apparent place [h]; 0 by default.", "H"
    )
    start: Annotated[Value, BeforeValidator(_time)] = _option(
        "Start of the first integration, instead of the hour angle.", "UTC"
    )
    total_time: Annotated[Value, _number("time", 0, above=True)] = _option("Time on source.")
    integration: Annotated[Value, _number("time", 0, above=True)] = _option("Integration time.")
    freq: Annotated[Value, _number("frequency", 0, above=True)] = _option("Frequency of the middle channel.")
    channels: Annotated[int | None, _number("", 1, 100_000)] = _option("Number of channels.", "N")
    channel_width: Annotated[Value, _number("width", 0, above=True)] = _option("Width of a channel.")
    cell: Annotated[Value, _number("angle", 0, above=True)] = _option(
        "Side of a pixel; an eighth of the beam if the array or band has no default.", "0.1arcsec"
    )
    size: Annotated[int | None, _number("", 16, 20_000)] = _option("Side of the image [pixel].", "N")
    pwv: Annotated[Value, _number("length", 0, 20)] = _option("Precipitable water vapour [mm].", "MM")
    weighting: str | None = _option("Weights of baselines.", "natural|briggs:R")
    robust: Annotated[float | None, _number("", -2, 2)] = _option("Briggs' robustness, -2 to 2.", "R")
    rms: Annotated[Value, _number("brightness", 0, above=True)] = _option(
        "Noise of the dirty image. For noise images it refers to a beam of 6 arcsec.", "0.1mJy/beam"
    )
    snr: Annotated[float | None, _number("", 0, above=True)] = _option(
        "S/N of the central source's dirty peak, set by extra noise (10-50 at random by default); in the "
        "presets emitters and varied the matched S/N of all lines.", "X",
    )  # fmt: skip
    extra_noise: str = _option(
        "Where the noise of --snr is added: correlated, in the visibilities, or white, in the pixels.",
        "correlated|white",
        EXTRA_NOISE[0],
    )
    quick: bool = _option(
        "Use one psf and FFTs instead of visibilities: faster, accurate to a few per cent.", default=False
    )
    primary_beam: str = _option("Model of the primary beam; auto: EveryBeam's if installed.", default="auto")
    gain_rms: Annotated[float | None, _number("", 0, 0.5)] = _option(
        "Rms amplitude errors of stations; 0 by default, in varied random up to 0.05.", "X"
    )
    phase_rms: Annotated[float | None, _number("", 0, 90)] = _option(
        "Rms phase errors of stations [deg]; 0 by default, in varied random up to 10.", "DEG"
    )
    gain_time: Annotated[Value, _number("time", 0, above=True)] = _option(
        "Lag at which the correlation of gain errors is 1/e; in varied random from 5 to 60 min.", "20min"
    )
    web: str | Path | None = _option(
        "Diffuse emission of a cosmic web: a split (train:8 for eight realisations of each kind), or a "
        "file or folder.", "train|validation|test|FILE",
    )  # fmt: skip
    field: str | None = _option(
        "Part of the web: sky1 has a massive cluster, sky2 groups; both by default.", "sky1|sky2"
    )
    products: Annotated[tuple[str, ...], BeforeValidator(_words)] = _option(
        "Files to write in addition to the truth.", default=()
    )
    noise: bool = _option("Add noise.", default=True)
    pbcor: bool = _option("Divide by the primary beam; blank where it is below 0.2.", default=False)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """Add defaults from the sky's file, the preset and the telescope."""
        given = {name: value for name, value in data.items() if value is not None}
        record = telescope(given["telescope"])
        known = (*COMMON, *record.options, "telescope", "drawn")
        for name in given:
            if name in cls.model_fields and name not in known:
                raise InputError(f"{record.title} has no option --{name.replace('_', '-')}", "leave it out")
        preset = given.setdefault("preset", next(iter(record.presets)))
        _choose("preset", preset, record.presets)
        made = record.presets[preset]
        if "drawn" not in given and made.varied and not ("sky" in given and made.data == "cube"):
            fixed = {*given, "hour_angle"} if "start" in given else {*given}
            fixed |= {"dec"} if "sky" in given else set()
            given["drawn"] = tuple(name for name in made.varied.options if name not in fixed)
        if "sky" in given:
            given = _of_file(read_model(given["sky"]), given)
        given.setdefault("backend", record.backends[made.data][0])
        possible, wanted = PRODUCTS[made.data], _words(given.get("products", USUAL))
        wrong = [p for p in wanted if p not in possible] if "products" in given else []
        given["products"] = [*(p for p in possible if p in wanted), *wrong]
        return {**record.defaults, **made.defaults, **given}

    def model_post_init(self, context: Any) -> None:
        """Check combinations of options."""
        record, image = self.record, self.data == "image"
        _choose("backend", self.backend, record.backends[self.data])
        _choose("extra noise", self.extra_noise, EXTRA_NOISE)
        for product in self.products or ("",):
            _choose("product", product, PRODUCTS[self.data])
        if self.start is not None and self.hour_angle:
            raise InputError("both an hour angle and a start are given", "give one of them")
        if self.sky is not None and self.web is not None:
            raise InputError("both a sky and a cosmic web are given", "give one of them")
        if self.field is not None and (self.web is None or self.field not in FIELDS):
            raise InputError(
                f"field {self.field!r} is not possible", f"give {' or '.join(FIELDS)}, and a web"
            )
        if self.snr is not None and (self.sky is not None or self.preset_record.sky == "empty"):
            raise InputError("an S/N cannot be set for this sky", "leave --snr out")
        values = self.values
        low, high = record.band
        if not low <= values["freq"] <= high:
            freq, ends = _shown(values["freq"]), f"{_shown(low)} to {_shown(high)}"
            raise InputError(f"{freq} is outside the band of {record.about}", f"give {ends}")
        short = values["total_time"] < values["integration"]
        if short and not {"total_time", "integration"} & set(self.drawn):
            raise InputError("the total time is shorter than one integration", "make it longer")
        if image and self.sky_file is not None and len(self.sky_file.data) > 1:
            raise InputError("holds more than one plane", "give an image", self.sky)
        _check_backend(self.backend, self.quick, "clean" in self.products)
        if self.web is not None:
            from faintsky.sky.web import check_web

            check_web(self.web)
        _ = self.observation

    @property
    def record(self) -> Telescope:
        """Record of the telescope."""
        return telescope(self.telescope)

    @property
    def preset_record(self) -> Preset:
        """Record of the preset."""
        return self.record.presets[self.preset]

    @property
    def data(self) -> str:
        """``"cube"`` or ``"image"``."""
        return self.preset_record.data

    @property
    def shown(self) -> str:
        """The preset; ``"sky"`` if the user's own model is observed."""
        return self.preset if self.sky is None else "sky"

    @property
    def box_rule(self) -> str:
        """Rule of the boxes in the truth of cubes, one of `faintsky.simulating.BOX_RULES`."""
        return self.preset_record.box_rule if self.sky is None else "tenth"

    @cached_property
    def sky_file(self) -> ModelFile | None:
        """The user's own model."""
        return None if self.sky is None else read_model(self.sky)

    @cached_property
    def values(self) -> dict[str, Any]:
        """All options of an observation."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    @cached_property
    def observation(self) -> Observation:
        """The observation of all samples, with defaults for options that are drawn."""
        made = self.observe(self.values)
        usual = self.record.defaults
        near = np.isclose(made.freq, quantity(usual["freq"], "frequency", ""), rtol=0.05)
        if self.cell is None and not self.drawn and not (near and made.array.name == usual["array"]):
            return self.observe({**self.values, "cell": made.natural_cell()})
        return made

    def observe(self, values: Mapping[str, Any]) -> Observation:
        """The observation with some of the options, in base units."""
        cell = float(values["cell"] or self.record.usual_cell or 0.0)
        n, file = values["size"], self.sky_file
        grid, width = ImageGrid(n, n, cell, values["ra"], values["dec"]), values["channel_width"]
        if file is not None:
            grid = replace(file.grid, cell=cell, ra=grid.ra, dec=grid.dec)
            width = math.copysign(width, file.spectral.width) if file.spectral else width
        weighting = values["weighting"] or "natural"
        return Observation(
            telescope=self.telescope,
            array=load_array(values["array"]),
            grid=grid,
            spectral=SpectralGrid.centred(values["channels"], values["freq"], width),
            total_time=values["total_time"],
            integration=values["integration"],
            hour_angle=values["hour_angle"] or 0.0,
            start=values["start"],
            robust=parse_weighting(weighting) if values["robust"] is None else values["robust"],
            pwv=values["pwv"] or 0.0,
            primary_beam=self.record.choose_beam(self.primary_beam),
            cells="wsclean" if self.data == "image" else "casa",
        )

    def parameters(self) -> dict[str, Any]:
        """Plain values for ``dataset.json``, from which the same `SimulationSettings` can be made."""
        made, names = self.observation, (*COMMON, *self.record.options, "drawn")
        plain = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        plain |= {"preset": self.shown, "cell": made.grid.cell, "size": made.grid.n_x}
        plain["telescope"] = self.telescope
        plain["array_sha256"] = made.parameters()["array"]["positions"]
        for name, own in (("primary_beam", made.primary_beam), ("array", made.array.name)):
            plain |= {name: own} if name in plain else {}
        if self.sky_file is not None:
            plain["sky"] = Path(self.sky or "").name
            plain["sky_sha256"] = hashlib.sha256(self.sky_file.data.tobytes()).hexdigest()
        if self.web is not None:
            from faintsky.sky.web import check_web, split_of, wanted_boxes

            plain["web"] = check_web(self.web)
            boxes = [b.parameters() for b in wanted_boxes(self.web)] if split_of(self.web) else []
            plain["web_sha256"] = hashlib.sha256(json.dumps(boxes).encode()).hexdigest()
        return json.loads(json.dumps(plain))


def _of_file(file: ModelFile, given: dict[str, Any]) -> dict[str, Any]:
    """The options given, with those of the user's own model."""
    grid = file.grid
    known = {"ra": grid.ra, "dec": grid.dec, "cell": grid.cell}
    if "size" in given and (given["size"], given["size"]) != grid.shape:
        raise InputError(f"size {given['size']} is not the sky's {grid.n_x} x {grid.n_y}", "leave --size out")
    if file.spectral is not None:
        channels, width = file.spectral.n_chan, abs(file.spectral.width)
        if given.get("channels", channels) != channels:
            raise InputError(
                f"channels {given['channels']} is not the sky's {channels}", "leave --channels out"
            )
        known |= {"freq": file.spectral.middle, "channels": channels}
        if channels > 1:
            known["channel_width"] = width
    return {**known, **given}


def _choose(what: str, value: str, known: Any) -> None:
    if value not in known:
        raise InputError(f"{what} {value!r} is not known", f"choose from {', '.join(known)}")


def _shown(freq: float) -> str:
    return f"{freq / 1e9:g} GHz" if freq >= 1e9 else f"{freq / 1e6:g} MHz"


def _check_backend(backend: str, quick: bool, clean: bool) -> None:
    if quick and (clean or backend == "wsclean"):
        what = "clean images need" if clean else "WSClean needs"
        raise InputError(f"{what} visibilities, which --quick does not make", "leave --quick out")
    if backend == "wsclean":
        from faintsky.simulating.wsclean import check_wsclean

        check_wsclean()
    elif clean:
        from faintsky.simulating.radler_clean import check_radler

        check_radler()


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def telescope_options(name: str) -> type[Checked]:
    """The options of a telescope, as a class for signatures, help and the command line."""
    record = telescope(name)
    choices = {
        "preset": (*record.presets,),
        "backend": tuple(dict.fromkeys(b for some in record.backends.values() for b in some)),
        "primary_beam": record.beam_choices,
        "products": tuple(dict.fromkeys(p for data in record.backends for p in PRODUCTS[data])),
    }
    fields: dict[str, Any] = {}
    for key in (*COMMON, *record.options):
        known = SimulationSettings.model_fields[key]
        default = {"preset": choices["preset"][0], "backend": choices["backend"][0]}.get(key, known.default)
        text, example = known.description or "", (known.examples or [None])[0]
        if key in choices:
            example = ("," if key == "products" else "|").join(choices[key])
        usual = {"": record.defaults, **{f"for {k} ": v.defaults for k, v in record.presets.items()}}
        own = [f"{who}{_short(values[key])}" for who, values in usual.items() if key in values]
        example = example or next(iter(own), None)
        if own and own != [example]:
            text += f" By default {', '.join(own)}."
        if key == "preset":
            text += " " + "; ".join(f"{k}: {v.about}" for k, v in record.presets.items()) + "."
        elif key == "backend":
            text += " " + "; ".join(f"{k}: {BACKENDS[k]}" for k in choices[key]) + "."
        elif key == "products":
            text += f" By default {','.join(p for p in choices[key] if p in USUAL)}."
        default = None if key == "products" else default
        examples = [example] if example else None
        kind = tuple[str, ...] | str | None if key == "products" else known.annotation
        fields[key] = kind, Field(default, description=text, examples=examples)
    return create_model(f"{record.title}Options", __base__=Checked, **fields)


def read_record(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """``dataset.json`` of a folder; empty if there is none with parameters."""
    try:
        record = json.loads((Path(folder) / "dataset.json").read_text(encoding="utf-8"))
        return record if isinstance(record["parameters"], dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def parameters_of(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Parameters in a data set's record; empty without a record."""
    return read_record(folder).get("parameters", {})


def recorded_settings(folder: str | os.PathLike[str]) -> tuple[SimulationSettings, int]:
    """Settings and seed of a folder that ``faintsky simulate`` wrote.

    Raises
    ------
    InputError
        If there is no such record, or the same settings would give other data now.
    """
    path, record = Path(folder) / "dataset.json", read_record(folder)
    try:
        known, seed = record["parameters"], int(record["seed"])
        settings = SimulationSettings(**{k: v for k, v in known.items() if not k.endswith("_sha256")})
    except (ValueError, KeyError, TypeError) as error:
        hint = "give a folder of `faintsky simulate`"
        raise InputError("has no record of a simulated data set", hint, path) from error
    now = settings.parameters()
    changed = [k for k in known if k != "products" and known[k] != now.get(k)]
    if changed:
        raise InputError(f"cannot be made again: another {changed[0]}", "simulate it again", path)
    return settings, seed
