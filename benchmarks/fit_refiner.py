"""Set the learned detector's S/N scale and error factors on candidates it was not trained on, and save it.

The network comes from ``faintsky train line_refiner --out RUN`` (``--data FOLDER`` where the candidates are
there already). What is fitted here: the share of the score that counts, by the likelihood of real and
false; two numbers of the S/N scale, so that peaks of pure noise exceed a learned S/N as often as a classical
one; and a factor on the errors of each parameter, so that pulls scatter by 1. All from cubes of the training
set that were kept out, and from validation cubes of seed 9000.

    python benchmarks/fit_refiner.py RUN CANDIDATES VALIDATION [--out src/faintsky/models/shipped/learned]

VALIDATION is filled with the candidates of ``-n`` cubes of each set where they are not there yet.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from faintsky.detection.candidates import VALUES
from faintsky.detection.refine import averaged, rank
from faintsky.models import load_model, save_model
from faintsky.training.line_candidates import angle_misfit, load_candidates, tensors_of
from faintsky.training.line_skies import candidates_of

SEED = 9000
DEEPER = {"noise_peaks_tried": 4.0}
SAFE = 5.8


def make_validation(folder: Path, n: int) -> None:
    """Candidates of validation cubes, a file each; goes on where it was."""
    from faintsky.evaluation.cubes import SimulatedSet
    from faintsky.preparing.single_thread import one_blas_thread

    folder.mkdir(parents=True, exist_ok=True)
    settings = load_model("classical").settings | DEEPER
    for i in range(n):
        for k, preset in enumerate(("emitters", "paper", "empty")):
            file = folder / f"candidates_{SEED}_{preset}_{i:03d}.npz"
            if file.is_file():
                continue
            cube, table = SimulatedSet(preset, (i,), SEED).load(i)
            truth = {c: np.asarray(table[c]) for c in table.colnames if table[c].dtype.kind in "fbi"}
            truth.setdefault("line_flux_peak", np.zeros(0))
            with one_blas_thread():
                found = candidates_of(cube, truth, preset, 3 * i + k, settings)
            np.savez(file, **found, n_true=np.full(len(found["values"]), len(table)))


def fit_scale(raw: np.ndarray, snr: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the line that brings the highest scores of noise peaks to their highest S/N."""
    counts = np.unique(np.geomspace(3, max(len(raw) // 3, 4), 12).astype(int))
    a, b = (np.sort(v)[::-1][counts - 1] for v in (raw, snr))
    slope, offset = np.polyfit(a, b, 1, w=np.sqrt(counts))
    return float(slope), float(offset)


def best_share(snr: np.ndarray, score: np.ndarray, real: np.ndarray) -> float:
    """Least share of the score with which a logistic curve tells real from false within 5 % of the best."""
    from scipy.optimize import minimize

    def misfit(share: float) -> float:
        x = snr + share * score

        def loss(p: np.ndarray) -> float:
            return float(np.mean(np.logaddexp(0, -(2 * real - 1) * p[0] * (x - p[1]))))

        return float(minimize(loss, [3.0, 5.5], method="Nelder-Mead").fun)

    shares = np.round(np.arange(0, 1.01, 0.1), 2)
    misfits = np.array([misfit(s) for s in shares])
    return float(shares[int(np.argmax(misfits < 1.05 * misfits.min()))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("candidates", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("-n", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("src/faintsky/models/shipped/learned"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    make_validation(options.validation, options.n)
    trained = load_model(options.run, job="detect")
    network = trained.network("refiner")
    train, full = load_candidates(options.candidates), load_candidates(options.validation)
    held = {k: v[train["cube"] % 10 == 0] for k, v in train.items()}
    parts = []
    for data in (held, full):
        inputs = tensors_of(data)
        e = averaged(network, inputs)
        parts.append((data, inputs, e))
    quiet = [d["kind"] != "paper" for d, _, _ in parts]
    snr = np.concatenate([d["effective_snr"][q] for (d, _, _), q in zip(parts, quiet)])
    score = np.concatenate([e.score.numpy()[q] for (_, _, e), q in zip(parts, quiet)])
    real = np.concatenate([d["true_real"][q] for (d, _, _), q in zip(parts, quiet)])
    share = best_share(snr, score, real)
    slope, offset = fit_scale((snr + share * score)[~real], snr[~real])
    scale = [[3.0, 9.0], [offset + slope * 3.0, offset + slope * 9.0]]
    pulls: dict[str, list] = {name: [] for name in (*VALUES, "pa")}
    for data, inputs, e in parts:
        ranks = rank(data["effective_snr"], share * e.score.numpy(), scale)
        use = data["true_real"] & (ranks > SAFE)
        p = ((inputs["target"] - e.shift) * torch.exp(-e.log_sigma)).numpy()
        for k, name in enumerate(VALUES):
            pulls[name].append(p[use, k])
        miss = np.arcsin(np.sqrt(np.clip(angle_misfit(e, inputs).numpy(), 0, 1)))
        error = data["angle_error"] * np.exp(e.log_sigma_angle.numpy())
        judged = use & (np.abs(data["true_angle"]).sum(1) > 0)
        pulls["pa"].append((miss / error)[judged])
    factors = {n: round(float(1.4826 * np.median(np.abs(np.concatenate(v)))), 3) for n, v in pulls.items()}
    card = {k: v for k, v in trained.card.items() if k not in ("name", "job", "settings", "networks")}
    entry = trained.card["networks"]["refiner"]
    cubes = len(np.unique(train["cube"]))
    recipe = trained.card["recipe"] | {
        "command": "faintsky train line_refiner --data CANDIDATES --out RUN",
        "data": f"{len(train['cube'])} candidates of {cubes} cubes, {int(train['true_real'].sum())} real",
    }
    saved = save_model(
        options.out, name=options.out.name, job="detect",
        settings=load_model("classical").settings | {
            "score_share": share, "snr_scale": scale, "error_factors": factors
        },
        networks={"refiner": (entry["network"], entry["arguments"], network)},
        card=card | {
            "recipe": recipe,
            "title": "Matched filter with a network that judges and refines its candidates",
            "summary": "The classical search; a small network then changes each candidate's S/N and "
            "parameters, shown the filter bank about it, its fit, and a fit of line and continuum together.",
            "fitted": "python benchmarks/fit_refiner.py: score_share, snr_scale and error_factors, on cubes "
            "that were kept out of the training and on cubes of seed 9000",
            "scores": "benchmarks/results/detect_learned/table.md",
            "licence": "BSD-3-Clause",
        },
    )  # fmt: skip
    counts = {
        t: [int((v[~real] > t).sum()) for v in (snr, rank(snr, share * score, scale))] for t in (5, 5.5, 6)
    }
    facts = {"share": share, "scale": scale, "noise": int((~real).sum()), "above": counts, "factors": factors}
    print(json.dumps({**facts, "hash": saved.hash}, indent=1))


if __name__ == "__main__":
    main()
