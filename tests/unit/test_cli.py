"""The command line: options as the contract has them, configuration files, exit statuses, one-line errors."""

import functools
import inspect
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

import faintsky
from faintsky.cli import main
from faintsky.cli.commands import HIDDEN, SPELT, build_command, make_command, models
from faintsky.cli.report import Report
from faintsky.errors import FaintskyError, InputError
from faintsky.options import split_doc
from faintsky.simulating import SimulationSettings

ROOT = Path(__file__).parents[2]
FUNCTIONS = [
    *(getattr(faintsky, name) for name in ("detect", "denoise", "inject", "train", "tune", "demo")),
    *(getattr(faintsky, f) for f in faintsky.__all__ if f.startswith(("simulate_", "evaluate_"))),
    *(faintsky.open_cube, faintsky.open_image),
]
COMMON = "--config --overwrite --json --debug --device --jobs"
CONTRACT = {
    "detect": f"{COMMON} --out --model --psf --pb --rms --mask --reliability --dry-run",
    "denoise": f"{COMMON} --out --model --psf --pb --rms --mask --kind --members --reliability --dry-run",
    "simulate alma": f"{COMMON} --out -n --seed --preset --backend --sky --array --ra --dec --hour-angle "
    "--start --total-time --integration --freq --channels --channel-width --cell --size --pwv --weighting "
    "--snr --products --noise --no-noise --pbcor --dry-run",
    "simulate lofar": f"{COMMON} --out -n --seed --preset --backend --quick --sky --ra --dec --hour-angle "
    "--start --total-time --integration --freq --cell --size --robust --rms --products --noise --no-noise "
    "--pbcor --dry-run",
    "evaluate alma": f"{COMMON} --out --data --methods -n --seed --dry-run",
    "inject": f"{COMMON} --out --model -n --seed --psf --pb --rms --mask --reliability --dry-run",
    "models": "--json --debug --config",
    "demo": f"{COMMON} --out",
}


class Call:
    """Stands for a public function: remembers its arguments and does what it is told."""

    def __init__(self, function, error=None):
        functools.update_wrapper(self, function)
        self.error = error

    def __call__(self, **kwargs):
        inspect.signature(self).bind(**kwargs)
        self.kwargs = kwargs
        if self.error is not None:
            raise self.error
        kwargs["progress"](1, 4, "search")
        return self

    @property
    def facts(self):
        return {"n_sources": 3, "scores": {"recall": 0.5}, "nothing": None}


@pytest.fixture
def detect(monkeypatch):
    call = Call(faintsky.detect)
    monkeypatch.setitem(vars(faintsky), "detect", call)
    return call


def find(command, words):
    for word in words.split():
        command = command.get_command(None, word)
    return command


@pytest.mark.parametrize("words", CONTRACT)
def test_options_of_the_contract(words):
    options = {o for p in find(build_command(), words).params for o in (*p.opts, *p.secondary_opts)}
    assert set(CONTRACT[words].split()) <= options


@pytest.mark.parametrize("function", [*FUNCTIONS, models], ids=lambda f: f.__name__)
def test_every_parameter_is_documented_and_an_option(function):
    signature, described = inspect.signature(function), split_doc(function.__doc__)[1]
    assert set(described) >= set(signature.parameters), "a parameter without a text"
    assert all(kind and text for kind, text in described.values())
    if function in FUNCTIONS[-2:]:
        return
    params = {p.name: p for p in make_command("x", function).params}
    visible = set(signature.parameters) - set(HIDDEN)
    assert set(params) == visible | {"as_json", "config", "debug"}
    for name in visible - set(SPELT) - {next(iter(signature.parameters))}:
        assert "--" + name.replace("_", "-") in params[name].opts


@pytest.mark.parametrize("words", ["", *CONTRACT, "simulate", "evaluate"])
def test_help(capsys, words):
    assert main([*words.split(), "--help"]) == 0
    assert "Usage: faintsky" in capsys.readouterr().out


def test_no_arguments_show_the_help(capsys):
    assert main([]) == 0
    assert "detect" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"faintsky {faintsky.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        "nope",
        "detect",
        "detect a.fits",
        "detect a.fits --out o --reliability 2",
        "detect a.fits --out o --bad",
        "simulate",
        "simulate alma --out o -n 0",
        "simulate alma --out o --size many",
        "detect a.fits --out o --jobs 0",
    ],
)
def test_bad_usage_is_one_line_and_status_2(capsys, words):
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("faintsky: error: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (InputError("is bad", "correct it", "a.fits"), 2, "a.fits: is bad; correct it"),
        (FaintskyError("went wrong"), 1, "went wrong"),
        (ValueError("odd\nthing"), 1, "ValueError: odd thing (--debug shows the traceback)"),
        (MemoryError(), 1, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_errors_are_one_line_with_a_status(capsys, detect, error, status, text):
    detect.error = error
    assert main(["detect", "a.fits", "--out", "o"]) == status
    said = capsys.readouterr()
    assert text in said.err
    assert said.err.strip("\n").count("\n") == 0
    assert said.out.strip() == ""


def test_debug_adds_the_traceback(capsys, detect):
    detect.error = ValueError("odd")
    assert main(["detect", "a.fits", "--out", "o", "--debug"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.splitlines()[-1] == "faintsky: error: ValueError: odd"


def test_options_reach_the_function(detect):
    words = "detect a.fits --out o --model m --psf p.fits --rms r.fits --reliability 0.5 --overwrite"
    assert main(words.split()) == 0
    expected = {"data": "a.fits", "out": "o", "model": "m", "psf": "p.fits", "rms": "r.fits", "pb": None}
    expected |= {"reliability": 0.5, "overwrite": True, "dry_run": False, "device": "auto"}
    assert {k: detect.kwargs[k] for k in expected} == expected


def test_json_is_the_last_line(capsys, detect):
    assert main(["detect", "a.fits", "--out", "o", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"n_sources": 3, "scores": {"recall": 0.5}, "nothing": None}
    assert said.out.count("\n") == 1
    assert said.err == "search 1/4\n"


def test_the_summary_is_readable(capsys, detect):
    assert main(["detect", "a.fits", "--out", "o"]) == 0
    assert capsys.readouterr().out == "n sources: 3\nscores: recall 0.5\nnothing: -\n"


def test_notes_stand_last_on_lines_of_their_own(capsys):
    report = Report(as_json=False)
    report.finish({"notes": ["one, two", "three"], "seconds": 1})
    report.finish({"notes": []})
    assert capsys.readouterr().out == "seconds: 1\nnotes:\n  one, two\n  three\nnotes: none\n"


def test_a_configuration_file_gives_defaults_and_the_command_line_wins(tmp_path, detect):
    config = tmp_path / "c.toml"
    config.write_text(
        'out = "from-file"\nreliability = 0.25\nmodel = "m"\noverwrite = true\ndry-run = true\n'
    )
    assert main(["detect", "a.fits", "--config", str(config), "--reliability", "0.75"]) == 0
    expected = {
        "out": "from-file",
        "reliability": 0.75,
        "model": "m",
        "overwrite": True,
        "dry_run": True,
    }
    assert {k: detect.kwargs[k] for k in expected} == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("relibility = 0.5", "unknown key 'relibility'"),
        ("reliability = ", "cannot be read as TOML"),
        ("[table]\na = 1", "unknown key 'table'"),
        ("reliability = 7", "--reliability"),
        ("reliability = 'x'", "--reliability"),
        (None, "check the path"),
    ],
)
def test_a_bad_configuration_file_is_one_line_and_status_2(tmp_path, capsys, detect, text, fault):
    config = tmp_path / "c.toml"
    if text is not None:
        config.write_text(text)
    assert main(["detect", "a.fits", "--out", "o", "--config", str(config)]) == 2
    said = capsys.readouterr().err
    assert fault in said
    assert f"error: {config}: " in said
    assert said.count("\n") == 1
    assert not hasattr(detect, "kwargs")


def test_lists_in_a_configuration_file(tmp_path, monkeypatch):
    call = Call(faintsky.simulate_alma)
    monkeypatch.setitem(vars(faintsky), "simulate_alma", call)
    config = tmp_path / "c.toml"
    config.write_text('products = ["sky", "dirty"]\nnoise = false\nn = 3\ntotal_time = "60s"\n')
    assert main(["simulate", "alma", "--out", "o", "--config", str(config)]) == 0
    expected = {"products": ("sky", "dirty"), "noise": False, "total_time": "60s", "seed": 0}
    assert call.kwargs["out"] == "o"
    assert call.kwargs["n"] == 3
    assert {k: call.kwargs[k] for k in expected} == expected


def test_one_value_of_a_repeated_option_in_a_configuration_file(tmp_path, monkeypatch):
    config = tmp_path / "c.toml"
    for name, text, option, expected in (
        ("evaluate_lofar", 'data = "fields"', "data", ["fields"]),
        ("train", 'set = "steps=3"', "settings", {"steps": "3"}),
    ):
        call = Call(getattr(faintsky, name))
        monkeypatch.setitem(vars(faintsky), name, call)
        config.write_text(text)
        words = [*name.split("_"), *(["dda"] if name == "train" else [])]
        assert main([*words, "--out", "o", "--config", str(config)]) == 0
        assert call.kwargs[option] == expected


def test_a_dry_run_of_a_simulation_writes_nothing(tmp_path, capsys):
    words = ["simulate", "alma", "--out", str(tmp_path / "o"), "-n", "3", "--dry-run", "--json"]
    assert main([*words, "--size", "64", "--channels", "8"]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == [8, 64, 64]
    assert main([*words, "--backend", "nonsense"]) == 2
    assert main([*words, "--preset", "nonsense"]) == 2
    assert main([*words, "--freq", "230 apples"]) == 2
    words[1] = "lofar"
    capsys.readouterr()
    assert main([*words, "--size", "64", "--robust", "-0.5", "--rms", "0.2mJy/beam"]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == [64, 64]
    assert main([*words, "--products", "clean", "--quick"]) == 2
    assert main([*words, "--backend", "nonsense"]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("telescope", "option", "units"), [
    ("alma", "freq", "GHz, MHz, kHz, Hz or THz"), ("alma", "channel-width", "MHz, kHz, GHz, Hz or THz"),
    ("alma", "cell", "arcsec, mas, arcmin or deg"), ("alma", "integration", "s, min, m or h"),
    ("alma", "total-time", "s, min, m or h"), ("lofar", "freq", "GHz, MHz, kHz, Hz or THz"),
    ("lofar", "cell", "arcsec, mas, arcmin or deg"), ("lofar", "rms", "mJy/beam, Jy/beam or uJy/beam"),
    ("lofar", "gain-time", "s, min, m or h"), ("lofar", "total-time", "s, min, m or h"),
    ("lofar", "integration", "s, min, m or h"),
])  # fmt: skip
def test_a_number_without_its_unit_is_refused(tmp_path, capsys, telescope, option, units):
    words = ["simulate", telescope, "--out", str(tmp_path / "o"), "--dry-run", f"--{option}", "230"]
    assert main(words) == 2
    assert capsys.readouterr().err == f"faintsky: error: --{option} '230' has no unit; add {units}\n"


def test_hours_and_millimetres_need_no_unit(tmp_path):
    how = {"size": 32, "channels": 2}
    for given in ({"hour_angle": "1", "pwv": "1.2"}, {"hour_angle": "15deg", "pwv": "1.2mm"}):
        settings = SimulationSettings(telescope="alma", **how, **given)
        assert (settings.hour_angle, settings.pwv) == (1.0, 1.2)
    words = ["simulate", "alma", "--out", str(tmp_path / "o"), "--size", "32", "--channels", "2", "--dry-run"]
    assert main([*words, "--hour-angle", "-1", "--pwv", "1.2"]) == 0


@pytest.mark.parametrize("option", [("-n", "-3"), ("-n", "0"), ("--seed", "-1"), ("--jobs", "0")])
def test_a_dry_run_refuses_what_the_run_would(tmp_path, capsys, option):
    assert main(["simulate", "lofar", "--out", str(tmp_path / "o"), "--dry-run", *option]) == 2
    assert option[0] in capsys.readouterr().err


def test_numbers_of_samples_are_whole(tmp_path):
    for n, seed in ((2.5, 0), (1, 0.5)):
        with pytest.raises(InputError, match="whole number"):
            faintsky.simulate_alma(tmp_path / "o", n, seed=seed, dry_run=True)


def test_commands_of_the_pages_are_understood():
    """In blocks of code and in the table of commands, but for forms with brackets: options are known."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    blocks = re.findall(r"(?s)```\w*\n(.*?)```", "\n".join(p.read_text(encoding="utf-8") for p in pages))
    blocks += re.findall(r"`(faintsky [a-z][^`]*)`", (ROOT / "docs" / "which.md").read_text(encoding="utf-8"))
    lines = [line.removeprefix("$ ") for line in "\n".join(blocks).replace("\\\n", " ").splitlines()]
    lines = [line for line in lines if line.startswith("faintsky ") and not set("[$|") & set(line)]
    commands = [shlex.split(line, comments=True)[1:] for line in lines]
    for words in commands:
        node, rest = build_command(), words
        while isinstance(node, click.Group):
            node, rest = node.get_command(click.Context(node), rest[0]), rest[1:]
        node.make_context(" ".join(words), list(rest))
    assert len(commands) > 20


def test_help_of_a_simulation_says_forms_and_defaults(capsys):
    assert main(["simulate", "alma", "--help"]) == 0
    alma = " ".join(capsys.readouterr().out.split())
    assert "--weighting natural|briggs:R Weights of baselines. By default natural." in alma
    assert "--array NAME|FILE.cfg" in alma
    assert "By default sky,dirty,psf,pb." in alma
    assert "None" not in alma
    assert main(["simulate", "meerkat", "--help"]) == 0
    assert "By default 1.28GHz, for lines 1.35GHz." in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("ra", "status"), [(500, 2), (-181, 2), (-95, 0), (360, 0), ("nan", 2)])
def test_right_ascensions_out_of_range_are_refused(tmp_path, capsys, ra, status):
    words = ["simulate", "alma", "--out", str(tmp_path / "o"), "--size", "32", "--channels", "2", "--dry-run"]
    assert main([*words, "--ra", str(ra)]) == status
    assert ("--ra" in capsys.readouterr().err) == (status == 2)
    assert main([*words, "--dec", "-91"]) == 2
    assert "--dec -91 is out of range" in capsys.readouterr().err


def test_models_are_listed_and_shown(capsys):
    assert main(["models", "--json"]) == 0
    names = json.loads(capsys.readouterr().out)
    assert "classical" in names
    assert main(["models", "classical", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "classical"
    assert main(["models"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list(names)
    assert main(["models", "denoiser"]) == 0
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 100
    assert page.startswith("denoiser: Local U-Net")
    assert main(["models", "no-such-model"]) == 2
    assert "classical" in capsys.readouterr().err


def test_a_bar_is_drawn_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with Report(as_json=False) as report:
        report.progress(1, 2, "cubes [Jy]")
        report.progress(2, 2, "cubes [Jy]")
    assert report._bar is None


def test_progress_lines_are_few(capsys):
    with Report(as_json=False) as report:
        for i in range(1000):
            report.progress(i + 1, 1000, "cubes")
    assert capsys.readouterr().err.splitlines() == ["cubes 1/1000", "cubes 1000/1000"]


def test_details_of_a_stage_are_no_lines_of_their_own(capsys):
    with Report(as_json=False) as report:
        for i in range(100):
            report.progress(2, 4, f"search ({i} candidates)")
        report.progress(3, 4, "measuring")
    assert capsys.readouterr().err.splitlines() == ["search (0 candidates) 2/4", "measuring 3/4"]


def test_a_long_silent_step_shows_that_it_is_alive(capsys, monkeypatch):
    monkeypatch.setattr("faintsky.cli.report.SILENCE", 0.05)
    with Report(as_json=False) as report:
        report.progress(2, 4, "search")
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "search 2/4"
    assert 2 <= len(lines) <= 10
    assert all(line.startswith("search 2/4, for ") for line in lines[1:])
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("counted", [[600], range(601)])
def test_steps_of_a_stopped_run_do_not_shorten_the_time_that_is_left(capsys, monkeypatch, counted):
    now = 100.0
    monkeypatch.setattr("faintsky.cli.report.time.monotonic", lambda: now)
    monkeypatch.setattr("faintsky.cli.report.Report._show_life", lambda report: None)
    with Report(as_json=False) as report:
        for done in counted:
            report.progress(done, 1000, "tiles")
            now += 0.01
        for done in range(601, 611):
            now += 3.0
            report.progress(done, 1000, "tiles")
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"tiles 6\d+/1000, about 20 minutes left", last)


def test_a_search_says_how_far_it_is(make_fits):
    words = []
    faintsky.detect(make_fits(), progress=lambda done, total, word: words.append(word))
    assert any(word.startswith("search (1 ") for word in words)
    assert any(word.startswith("measuring (") for word in words)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_leaves_nothing_and_goes_on(
    make_fits, tmp_path, capsys, monkeypatch, number, status
):
    words = ["detect", str(make_fits()), "--out", str(tmp_path / "out"), "--device", "cpu"]
    monkeypatch.setattr("faintsky.detection.find.finish", lambda *args: signal.raise_signal(number))
    before = signal.getsignal(signal.SIGTERM)
    assert main(words) == status
    assert capsys.readouterr().err.splitlines()[-1].endswith("; run the same command to continue")
    assert signal.getsignal(signal.SIGTERM) is before
    assert [p.name for p in tmp_path.iterdir()] == ["cube.fits"]
    monkeypatch.undo()
    assert main(words) == 0


def test_as_a_program():
    command = [sys.executable, "-m", "faintsky.cli", "detect", "none.fits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "faintsky: error: Missing option '--out'. (see faintsky detect --help)\n"
