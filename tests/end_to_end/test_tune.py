"""`faintsky tune`: what is searched, how workers share it, what is stopped, and the tables at the end."""

import csv
import json
import pkgutil
import shlex

import numpy as np
import pytest

import faintsky
from faintsky.cli import main
from faintsky.errors import InputError
from faintsky.jobs import TrainResult
from faintsky.training import RECIPES, Range, Study, combinations, make_space

pytest.importorskip("optuna", reason="the extra 'train' is not installed")


# ---------------------------------------------------------------------- spaces


def test_the_papers_grids():
    recipe = RECIPES["dda"]()
    space, fixed = make_space(recipe, "paper", {})
    points = combinations(space)
    assert len(points) == 7 * 5 * 4
    assert {p["learning_rate"] for p in points} == {0.1, 0.01, 0.005, 1e-3, 1e-4, 5e-5, 1e-5}
    assert not fixed
    assert len(combinations(make_space(recipe, "architectures", {})[0])) == 24
    space, fixed = make_space(recipe, "paper", {"epochs": "50", "batch_size": "25/50"})
    assert len(combinations(space)) == 14
    assert fixed == {"epochs": 50}


def test_text_is_read_as_choices_ranges_and_values():
    changes = {
        "learning_rate": "1e-5..1e-2", "batch_size": "4..8", "blur": "0.1/0.3", "tile": "64",
        "widths": "[8,12,16]/[16,24,32]",
    }  # fmt: skip
    space, fixed = make_space(RECIPES["local_unet"](), None, changes)
    assert space["learning_rate"] == Range(1e-5, 1e-2, True)
    assert space["batch_size"] == Range(4, 8, False)
    assert space["blur"] == (0.1, 0.3)
    assert space["widths"] == ([8, 12, 16], [16, 24, 32])
    assert fixed == {"tile": 64}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"no_such": "1/2"}, "unknown setting"),
        ({"batch_size": "a/b"}, "valid integer"),
        ({"batch_size": "8..4"}, "not a range"),
    ],
)
def test_bad_spaces(changes, message):
    with pytest.raises(InputError, match=message):
        make_space(RECIPES["dda"](), None, changes)


def test_ranges_make_no_grid_and_grids_have_names():
    with pytest.raises(InputError, match="no grid can cover"):
        combinations({"learning_rate": Range(1, 2, False)})
    with pytest.raises(InputError, match="paper, architectures"):
        make_space(RECIPES["dda"](), "no_such", {})


# ---------------------------------------------------------------------- studies


@pytest.fixture
def trainings(monkeypatch):
    """Stands for training: remembers the settings; the loss falls to a value that they give."""
    seen = []

    def train(network, out, *, settings, dry_run=False, watch=None, **call):
        if dry_run:
            return TrainResult(None, {"disk_gb": 0.0})
        seen.append(settings)
        out.mkdir(parents=True, exist_ok=True)
        rate = settings.get("learning_rate", 1.0)
        if rate == 13.0:
            raise RuntimeError("out of memory")
        history = []
        for step in range(1, 9):
            loss = float("nan") if rate == 17.0 else rate + 1 / step
            history.append({"step": step, "train": loss, "loss": loss, "other": -loss})
            (out / "history.json").write_text(json.dumps(history))
            (out / "last.ckpt").write_text("checkpoint")
            if rate == 19.0 and not (out / "resumed").exists():
                (out / "resumed").touch()
                raise KeyboardInterrupt
            if watch is not None:
                watch(history[-1])
        (out / "denoiser.safetensors").write_text("weights")

    monkeypatch.setattr("faintsky.jobs.training.train", train)
    return seen


def rows_of(out):
    with open(out / "table.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_trial_uses_the_cores_that_were_asked_for(trainings, tmp_path, monkeypatch):
    where = "faintsky.jobs.training.train"
    train, cores = pkgutil.resolve_name(where), []

    def counted(*args, jobs=None, **call):
        cores.append(jobs)
        return train(*args, **call)

    monkeypatch.setattr(where, counted)
    faintsky.tune("dda", tmp_path / "study", settings={"learning_rate": "3.0/1.0"}, jobs=1)
    assert cores == [1, 1, 1]  # the plan, and two trials


def test_a_grid_is_worked_through_and_ranked(trainings, tmp_path):
    out = tmp_path / "study"
    settings = {"learning_rate": "3.0/1.0/2.0", "batch_size": "4/8", "epochs": "7"}
    result = faintsky.tune("dda", out, settings=settings, prune="none")
    assert len(trainings) == 6
    assert all(s["epochs"] == 7 for s in trainings)
    rows = rows_of(out)
    assert [float(r["learning_rate"]) for r in rows] == [1, 1, 2, 2, 3, 3]
    assert [r["rank"] for r in rows] == list("123456")
    assert float(rows[0]["loss"]) == pytest.approx(1 + 1 / 8)
    assert (out / "table.md").read_text().startswith("dda: 6 trials by loss")
    best = json.loads((out / "best.json").read_text())
    assert best["settings"]["learning_rate"] == 1.0
    assert best == result.best
    words = shlex.split(best["command"])
    assert words[:3] == ["faintsky", "train", "dda"]
    assert "learning_rate=1.0" in words
    assert "epochs=7" in words
    # weights of the best alone, and no checkpoints
    assert [p.parent.name for p in out.glob("trials/*/*.safetensors")] == [f"{best['trial']:04d}"]
    assert not list(out.glob("trials/*/*.ckpt"))
    again = faintsky.tune("dda", out, settings=settings, prune="none")
    assert again.facts["worked_at"] == 0
    assert len(trainings) == 6
    with pytest.raises(InputError, match="different fixed, space"):
        faintsky.tune("dda", out, settings={"batch_size": "4/16"}, prune="none")
    faintsky.tune("dda", out, settings={"batch_size": "4/16"}, prune="none", overwrite=True)
    assert len(rows_of(out)) == 2


def test_bad_trials_are_stopped_and_failed_ones_do_not_end_the_study(trainings, tmp_path):
    rates = "/".join(map(str, (1.0, 1.1, 1.2, 1.3, 1.4, 5.0, 13.0, 17.0)))
    result = faintsky.tune("dda", tmp_path / "s", settings={"learning_rate": rates})
    assert result.facts["trials"] == {"complete": 5, "pruned": 1, "fail": 2}
    by_rate = {float(r["learning_rate"]): r for r in rows_of(tmp_path / "s")}
    assert by_rate[5.0]["state"] == "pruned"
    assert int(by_rate[5.0]["validations"]) < 8
    assert by_rate[13.0]["reason"] == "out of memory"
    assert by_rate[17.0]["reason"] == "diverged"
    assert by_rate[1.0]["rank"] == "1"


def test_a_sampler_draws_as_many_as_asked_and_another_score_can_rank(trainings, tmp_path):
    settings = {"learning_rate": "1e-3..10.0", "widths": "[8,12,16]/[16,24,32]"}
    result = faintsky.tune(
        "local_unet", tmp_path / "s", settings=settings, trials=6, metric="other", prune="none"
    )
    assert len(trainings) == 6
    assert len({s["learning_rate"] for s in trainings}) == 6
    assert {s["widths"] for s in trainings} <= {"[8, 12, 16]", "[16, 24, 32]"}
    # the other score is the less, the larger the rate
    assert result.best["settings"]["learning_rate"] == max(s["learning_rate"] for s in trainings)
    assert result.best["settings"]["widths"] in ([8, 12, 16], [16, 24, 32])
    faintsky.tune("local_unet", tmp_path / "s", settings=settings, trials=8, metric="other", prune="none")
    assert len(trainings) == 8
    with pytest.raises(InputError, match="loss, other"):
        faintsky.tune("local_unet", tmp_path / "t", settings=settings, trials=1, metric="no_such")


def test_what_a_killed_worker_left_is_taken_up(trainings, tmp_path, monkeypatch):
    settings = {"learning_rate": "19.0/1.0"}
    with pytest.raises(KeyboardInterrupt):
        faintsky.tune("dda", tmp_path / "s", settings=settings, prune="none")
    # this process lives, so that the trial counts as being worked at
    faintsky.tune("dda", tmp_path / "s", settings=settings, prune="none")
    assert [s["learning_rate"] for s in trainings] == [19.0, 1.0]
    assert {r["state"] for r in rows_of(tmp_path / "s")} == {"complete", "running"}
    monkeypatch.setattr("faintsky.training.search._runs", lambda process: False)
    result = faintsky.tune("dda", tmp_path / "s", settings=settings, prune="none")
    assert [s["learning_rate"] for s in trainings] == [19.0, 1.0, 19.0]
    assert result.facts["trials"] == {"complete": 2}
    assert sorted(p.name for p in (tmp_path / "s" / "trials").glob("*") if p.is_dir()) == ["0000", "0001"]


def test_workers_share_the_trials_of_one_study(tmp_path):
    space = {"batch_size": (1, 2, 3, 4)}
    options = {"sampler": "grid", "prune": "none", "seed": 0}
    first, second = (Study(tmp_path / "s", {"a": 1}, space, **options) for _ in range(2))
    asked = [worker.next(None) for worker in (first, second, second, first)]
    assert sorted(t.params["batch_size"] for t in asked) == [1, 2, 3, 4]
    assert sorted(t.number for t in asked) == [0, 1, 2, 3]
    assert first.next(None) is None
    second.study.tell(asked[0].number, 5.0)
    assert [t.value for t in first.trials() if t.state.name == "COMPLETE"] == [5.0]
    with pytest.raises(InputError, match="different a"):
        Study(tmp_path / "s", {"a": 2}, space, **options)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(InputError, match="not empty"):
        Study(tmp_path / "other", {}, space, **options)
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["file"]


def test_a_chain_of_networks_is_not_tuned_as_a_whole(tmp_path):
    with pytest.raises(InputError, match="tune one of its networks"):
        faintsky.tune("deepfocus", tmp_path / "s", data=tmp_path)


def test_every_network_can_be_tuned(trainings, tmp_path):
    for network in set(RECIPES) - {"deepfocus"}:
        trainings.clear()
        result = faintsky.tune(network, tmp_path / network, data=tmp_path, trials=2)
        assert result.facts["trials"] == {"complete": 2}
        assert {"learning_rate", "batch_size"} <= set(result.best["settings"])
        assert len(trainings) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "no_such"}, "no network"),
        ({"sampler": "no_such"}, "no sampler"),
        ({"prune": "no_such"}, "no pruning"),
        ({"grid": "no_such"}, "no grid"),
        ({"trials": 0}, "trials 0 is out of range"),
        ({"data": "nowhere"}, "not a folder"),
        ({"settings": {"steps": "0/5"}}, "greater than or equal to 1"),
    ],
)
def test_bad_options_leave_nothing_behind(options, message, tmp_path):
    options = {"network": "dda", **options}
    with pytest.raises(InputError, match=message):
        faintsky.tune(options.pop("network"), tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


def test_without_optuna_the_error_names_the_extra(monkeypatch, trainings, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(InputError, match=r"extra 'train'"):
        faintsky.tune("dda", tmp_path / "s")


def test_on_the_command_line_and_from_a_file(tmp_path, capsys):
    config = tmp_path / "space.toml"
    config.write_text('prune = "none"\ngrid = "architectures"\n[set]\ndense = "50/100"\nepochs = 3\n')
    words = ["tune", "dda", "--out", str(tmp_path / "s"), "--config", str(config), "--dry-run", "--json"]
    assert main(words) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["trials"] == 3 * 2 * 2
    assert plan["fixed"] == {"epochs": 3}
    assert plan["prune"] == "none"
    assert not (tmp_path / "s").exists()


@pytest.mark.learning
def test_a_real_search(tmp_path):
    pytest.importorskip("pytorch_lightning", reason="the extra 'train' is not installed")
    from synthetic import random_sky, write_brightness

    rng = np.random.default_rng(1)
    (tmp_path / "data").mkdir()
    for i in range(3):
        write_brightness(tmp_path / "data" / f"{i:04d}_sky.fits", random_sky(rng))
    result = faintsky.tune(
        "dda", tmp_path / "s", data=tmp_path / "data", prune="none", device="cpu",
        settings={
            "tile": 16, "dense": 8, "batch_size": 8, "product": "sky", "epochs": 2,
            "learning_rate": "1e-3/1e-6",
        },
    )  # fmt: skip
    rows = rows_of(tmp_path / "s")
    assert len(rows) == 2
    assert result.best["settings"]["learning_rate"] == 1e-3
    assert float(rows[0]["sigma_mre"]) > 0
    model = faintsky.load_model(result.best["model"], job="denoise")
    assert model.network("denoiser").tile == 16
