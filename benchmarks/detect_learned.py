"""The learned detector beside the classical one, on the same cubes.

Cubes of seed 0 (``--seed 9000`` for validation cubes; nothing may be chosen on the others). Each cube is
searched once, since the search is the same for both; then each method judges, measures and lists the
candidates, once at its own threshold and once without any, for precision at equal recall. Scatter is compared
on sources that both have found. Errors are bootstraps over cubes, of both methods together.

    python benchmarks/detect_learned.py [-n CUBES] [--model learned] [--seed 0] [--work DIR] [--jobs J]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faintsky.evaluation.cubes import SimulatedSet
from faintsky.evaluation.residuals import pair_residuals, robust_scatter
from faintsky.evaluation.runs import Method, run_methods
from faintsky.evaluation.scoring import Scored, load_scored
from faintsky.evaluation.truth import setting_of
from faintsky.io import provenance, write_json
from faintsky.matching import column

RESULTS = Path(__file__).parent / "results" / "detect_learned"
PARAMETERS = ("x", "y", "z", "fwhm_maj", "fwhm_min", "pa", "fwhm_z", "flux", "continuum")
DRAWS = 1000
_last: dict = {}


@dataclass(frozen=True)
class Shared:
    """A method that takes up the search of the cube that was searched last."""

    model: str
    reliability: float

    def __call__(self, cube):
        from faintsky.detection.find import settle
        from faintsky.detection.search import search_cube
        from faintsky.models import load_model
        from faintsky.preparing.single_thread import one_blas_thread

        model = load_model(self.model, job="detect")
        with one_blas_thread():
            if _last.get("cube") is not cube:
                _last.clear()
                _last.update(cube=cube, search=search_cube(cube, model.settings, say=lambda done, word: None))
            return settle(_last["search"].copy(), model, self.reliability)[0]


def pooled(scored: Scored) -> list[np.ndarray]:
    """For each cube, rows (reliability, S/N, is real) of the detections."""
    out = []
    for found, m in zip(scored.founds, scored.matchings["position"]):
        real = m.partner_of_found >= 0
        out.append(np.column_stack([column(found, "reliability"), column(found, "snr_effective"), real])
                   if len(found) else np.zeros((0, 3)))  # fmt: skip
    return out


def at_recall(rows: list[np.ndarray], cubes: np.ndarray, hits: int) -> float:
    """Precision of the shortest list of some cubes that holds so many real sources."""
    all_rows = np.concatenate([rows[i] for i in cubes])
    real = all_rows[np.lexsort((all_rows[:, 1], all_rows[:, 0]))[::-1], 2]
    got = np.cumsum(real)
    if got.size == 0 or got[-1] < hits or hits == 0:
        return np.nan
    k = int(np.argmax(got >= hits))
    return float(got[k] / (k + 1))


def detection(classical: list[np.ndarray], learned: list[np.ndarray], n_true: np.ndarray, draws) -> dict:
    """Both at the classical threshold's recall; and each at its own threshold."""

    def one(cubes: np.ndarray) -> list[float]:
        lists = [np.concatenate([rows[i] for i in cubes]) for rows in (classical, learned)]
        kept = [r[r[:, 0] >= 0.9] for r in lists]
        hits, true = [k[:, 2].sum() for k in kept], max(n_true[cubes].sum(), 1)
        own = [
            v for k, h in zip(kept, hits) for v in (h / max(len(k), 1), h / true, (len(k) - h) / len(cubes))
        ]
        return [*own, at_recall(classical, cubes, int(hits[0])), at_recall(learned, cubes, int(hits[0]))]

    names = [f"{m} {w}" for m in ("classical", "learned") for w in ("precision", "recall", "false a cube")]
    names += ["classical precision at equal recall", "learned precision at equal recall"]
    everything = np.arange(len(n_true))
    values, spread = one(everything), np.array([one(d) for d in draws])
    out = {n: [v, float(np.nanstd(spread[:, k]))] for k, (n, v) in enumerate(zip(names, values))}
    gain = spread[:, -1] - spread[:, -2]
    out["gain in precision at equal recall"] = [values[-1] - values[-2], float(np.nanstd(gain))]
    return out


def residuals(scored: Scored) -> list[dict]:
    """For each cube, residuals and reported errors by true source."""
    out = []
    for truth, found, m in zip(scored.truths, scored.founds, scored.matchings["position"]):
        cube = {}
        if len(m.i_true):
            setting = setting_of(truth.meta)
            pairs = pair_residuals(truth, found, m, setting.cell)
            t, f = truth[m.i_true], found[m.i_found]
            noise = float(np.median(setting.sigma)) / column(t, "pb")
            pairs["continuum"] = (column(f, "continuum") - column(t, "continuum")) / noise
            pairs["continuum_error"] = column(f, "continuum_err") / noise
            for k, i in enumerate(m.i_true):
                cube[int(i)] = {p: (pairs[p][k], pairs[f"{p}_error"][k]) for p in PARAMETERS}
        out.append(cube)
    return out


def parameters(classical: list[dict], learned: list[dict], members: list[np.ndarray], draws) -> list[dict]:
    """Scatter of both, their ratio, and pulls, over the sources that both have."""
    common = [[i for i in a if i in b and inside[i]] for a, b, inside in zip(classical, learned, members)]
    rows = []
    for p in PARAMETERS:
        both = [
            np.array([[*a[i][p], *b[i][p]] for i in ids]).reshape(-1, 4)
            for a, b, ids in zip(classical, learned, common)
        ]
        values = np.concatenate(both)
        ratios = []
        for d in draws:  # a draw of few cubes may hold one source again and again
            v = np.concatenate([both[i] for i in d])
            ratios.append(np.divide(robust_scatter(v[:, 2]), robust_scatter(v[:, 0])))
        old, new = robust_scatter(values[:, 0]), robust_scatter(values[:, 2])
        with np.errstate(invalid="ignore", divide="ignore"):
            pulls = values[:, [0, 2]] / values[:, [1, 3]]
        rows.append({
            "parameter": p, "n": int(np.isfinite(values[:, 0]).sum()), "classical": old, "learned": new,
            "ratio": new / old,
            "ratio_error": float(np.std([r for r in ratios if np.isfinite(r)])),
            "std_ratio": float(np.nanstd(values[:, 2]) / np.nanstd(values[:, 0])),
            "bias_classical": float(np.nanmean(values[:, 0])),
            "bias_learned": float(np.nanmean(values[:, 2])),
            "pull_classical": robust_scatter(pulls[:, 0]), "pull_learned": robust_scatter(pulls[:, 1]),
        })  # fmt: skip
    return rows


def report(results: dict) -> str:
    """All numbers as Markdown."""
    lines = [
        "# Learned and classical detection side by side", "",
        f"Seed {results['seed']}; cubes: {results['cubes']}. Sources matched by position; every unmatched "
        "detection is false.", "Equal recall: that of the classical threshold (reliability 0.9).", "",
        "## Detection", "",
    ]  # fmt: skip
    for name, d in results["detection"].items():
        lines += [f"**{name}**", "", "| | classical | learned |", "| --- | --- | --- |"]
        for word in ("precision", "recall", "false a cube", "precision at equal recall"):
            cells = [
                f"{d[f'{m} {word}'][0]:.4f} ± {d[f'{m} {word}'][1]:.4f}" for m in ("classical", "learned")
            ]
            lines.append(f"| {word} | {' | '.join(cells)} |")
        gain = d["gain in precision at equal recall"]
        lines += [f"| gain | | {gain[0]:+.4f} ± {gain[1]:.4f} |", ""]
    lines += [
        "## Scatter of the parameters", "",
        "Robust scatter (1.4826 MAD) on sources that both found; units as in docs/evaluation.md, "
        "the continuum in units of a channel's noise.", "",
        "| set | sources | parameter | n | classical | learned | ratio | ratio of std | bias | bias, learned "
        "| pull | pull, learned |", "| --- " * 12 + "|",
    ]  # fmt: skip
    for (name, subset), rows in ((k.split(": "), v) for k, v in results["parameters"].items()):
        for r in rows:
            lines.append(
                f"| {name} | {subset} | {r['parameter']} | {r['n']} "
                f"| {r['classical']:.3g} | {r['learned']:.3g} "
                f"| {r['ratio']:.3f} ± {r['ratio_error']:.3f} | {r['std_ratio']:.2f} "
                f"| {r['bias_classical']:.3g} | {r['bias_learned']:.3g} "
                f"| {r['pull_classical']:.2f} | {r['pull_learned']:.2f} |"
            )
    return "\n".join([*lines, "", f"Seconds a cube: {json.dumps(results['seconds'])}.", ""])


def compare(work: Path, sets: list[SimulatedSet], methods: dict[str, Method], seed: int) -> dict:
    """All numbers from the catalogues."""
    results: dict = {"seed": seed, "cubes": {s.name: len(s.indices) for s in sets}, "detection": {}}
    results |= {"parameters": {}, "seconds": {}}
    for s in sets:
        rng = np.random.default_rng(seed)
        n = len(s.indices)
        draws = rng.integers(n, size=(DRAWS, n))
        scored = {k: load_scored(work, s, m) for k, m in methods.items()}
        n_true = np.array([len(t) for t in scored["classical"].truths])
        results["detection"][s.name] = detection(
            pooled(scored["classical, all"]), pooled(scored["learned, all"]), n_true, draws
        )
        # the search is in the time of the method that came first
        results["seconds"][s.name] = {k: round(float(v.seconds.mean()), 2) for k, v in scored.items()}
        if not n_true.any():
            continue
        both = [residuals(scored[k]) for k in ("classical", "learned")]
        for subset in ("all", "isolated, S/N > 8"):
            members = scored["classical"].members(subset)
            results["parameters"][f"{s.name}: {subset}"] = parameters(*both, members, draws[:200])
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=200, help="cubes of paper and of emitters; empty: 3/10 of it")
    parser.add_argument("--model", default="learned")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_detect_learned"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    numbers = {"paper": options.n, "emitters": options.n, "empty": max(1, 3 * options.n // 10)}
    sets = [SimulatedSet(name, tuple(range(n)), options.seed) for name, n in numbers.items()]
    methods = {
        name: Method(name, Shared(model, threshold))
        for model, kind in (("classical", "classical"), (options.model, "learned"))
        for name, threshold in ((kind, 0.9), (f"{kind}, all", 0.0))
    }
    run_methods(
        sets, list(methods.values()), options.work, jobs=options.jobs,
        progress=lambda done, total, word: print(f"{word} {done}/{total}", flush=True),
    )  # fmt: skip
    results = compare(options.work, sets, methods, options.seed)
    command = f"python benchmarks/detect_learned.py -n {options.n} --seed {options.seed}"
    results["run"] = provenance(command=command, config={"cubes": numbers}, seed=options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "results.json", results)
    (options.out / "table.md").write_text(report(results))
    print(report(results))


if __name__ == "__main__":
    main()
