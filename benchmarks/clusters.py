"""Which clusters host diffuse emission: ours, Radio U-Net and starlets on simulated LoTSS cutouts.

    python -m benchmarks.clusters [--radio-unet MODEL] [-n 60] [--tune 40]

As Stuardi et al. (2024) asked it of 246 clusters of LoTSS: the share of hosting clusters that are found, and
the share of all that are told right. MODEL is a folder that ``faintsky train radio_unet`` wrote. Cutouts have
a beam of 6 arcsec and 60 to 150 µJy/beam of noise, the cluster's place is known, half of them have a halo
whose middle exceeds the noise of a beam 0.5 to 8 times (log-uniform); all have radio galaxies, errors of
gains and of the deconvolution (`faintsky.training.DiffuseImages` with psfs of LOFAR), and nothing is
subtracted or imaged again by hand. A cluster is said to host where the area outlined within `WITHIN` exceeds
a threshold, each method's own: that of most right answers on other seeds (``--tune``). Writes
``clusters.json`` and ``clusters.md``; what ``--work`` holds is not done again.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from torch import nn

import faintsky
from benchmarks.real_diffuse import Answer, ours, starlets
from faintsky.image import RadioImage
from faintsky.preparing import gaussian_psf, prepare_image
from faintsky.simulating import PSF_SIDE, PsfLibrary, make_library
from faintsky.sky import draw_radio_galaxies, random_field
from faintsky.sky.radio_galaxies import add_double
from faintsky.training import DiffuseImages, UNetSettings
from reproduction import common

BEAM, WITHIN, SNR = 6.0, 100.0, (0.5, 8.0)
"""FWHM of the beam, radius about the cluster [arcsec]; S/N of the halo's middle in a beam."""
NOMINAL = 1e-4
"""Noise [Jy/beam]."""
TUNED, SEED = 7000, 8000
PSFS, HOURS = 6, 3.0
"""Of LOFAR, observed for at least as long."""
BINS = ((0.5, 1), (1, 2), (2, 4), (4, 8))


RADIUS = (15.0, 45.0)
"""E-folding radius of a halo [arcsec]."""
MEMBERS, SPREAD, MEMBER_FLUX = 6, 50.0, (3e-4, 3e-2)
"""Mean number of members, their scatter around the centre [arcsec], and their fluxes at 150 MHz [Jy]."""
RELIC = 0.3
"""Fraction of the haloes with a relic."""


def draw_cluster(
    rng: np.random.Generator, shape: tuple[int, int], cell: float, brightness: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw diffuse emission and galaxies of a cluster in the centre of a field, and the field's galaxies.

    A halo is an exponential disc with an e-folding radius of tens of arcsec (Murgia et al. 2009, A&A 499,
    679), like those of clusters in LoTSS (Botteon et al. 2022, A&A 660, A78); a relic is an arc outside it
    with a sharp outer edge. Member galaxies concentrate towards the centre, and are as bright with a halo as
    without.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of chance.
    shape : tuple of int
        ``(n_y, n_x)``.
    cell : float
        Side of a pixel [arcsec].
    brightness : float
        Central brightness of the halo [Jy/arcsec2]; 0 for a cluster without halo.

    Returns
    -------
    diffuse, galaxies : array
        ``[y, x]``, float32 [Jy/arcsec2].
    """
    galaxies = draw_radio_galaxies(rng, shape, cell)
    y, x = np.indices(shape, dtype=np.float32)
    middle = [n / 2 + rng.normal(0, 5) / cell for n in shape]
    for _ in range(1 + rng.poisson(MEMBERS)):
        place = [m + rng.normal(0, SPREAD) / cell for m in middle]
        flux = float(np.exp(rng.uniform(*np.log(MEMBER_FLUX))))
        add_double(galaxies, rng, cell, place[1], place[0], flux)
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(0.6, 1)
    dy, dx = y - np.float32(middle[0]), x - np.float32(middle[1])
    along = dx * np.cos(turn) + dy * np.sin(turn)
    across = (dy * np.cos(turn) - dx * np.sin(turn)) / stretch
    radius = float(np.exp(rng.uniform(*np.log(RADIUS)))) / cell
    diffuse = np.exp(-np.hypot(along, across) / radius)
    if rng.random() < RELIC:
        behind = rng.uniform(2.5, 4) * radius - np.hypot(dx, dy)
        away = np.angle(np.exp(1j * (np.arctan2(dy, dx) - rng.uniform(-np.pi, np.pi))))
        edge = np.where(behind > 0, np.exp(-behind / (0.4 * radius)), np.exp(-0.5 * (behind * cell / 3) ** 2))
        diffuse += rng.uniform(0.3, 1) * edge * np.exp(-0.5 * (away / 0.5) ** 4)
    contrast = rng.uniform(0.2, 0.6)
    texture = np.exp(contrast * random_field(rng, shape, 11 / 3, min(shape) / 4) - contrast**2 / 2)
    return (brightness * diffuse * texture).astype(np.float32), galaxies / np.float32(cell**2)


class Cutouts(DiffuseImages):
    """Clusters as LoTSS would see them, one each, with one psf."""

    white, noise, cleaned, blank = 0.0, (0.6, 1.5), 1.0, 0.0
    snr = 0.0

    def draw(self, rng: np.random.Generator, cell: float, held: bool) -> NDArray[np.float32]:
        """A cluster ``[2, y, x]``: all of it, and its diffuse emission."""
        area = np.pi / (4 * np.log(2)) * BEAM**2
        cell = BEAM / float(np.sqrt(np.prod(self.library.beams[0, :2])))
        diffuse, galaxies = draw_cluster(rng, (PSF_SIDE, PSF_SIDE), cell, self.snr * NOMINAL / area)
        return np.stack([diffuse + galaxies, diffuse])

    def _example(self, rng: np.random.Generator, sky: NDArray, cell: float) -> tuple[NDArray, ...]:
        return super()._example(rng, sky, BEAM / float(np.sqrt(np.prod(self.library.beams[0, :2]))))


def lofar_psfs(path: Path) -> PsfLibrary:
    """Long observations of LOFAR's, kept in a file."""
    if not path.is_file():
        made, seed = [], 0
        while len(made) < PSFS:
            one = make_library(8, SEED + seed)
            good = [
                k
                for k, r in enumerate(one.record)
                if "lofar" in str(r["array"]) and float(r["hours"]) > HOURS
            ]
            made += [(one.transfer[k], one.noise[k], one.beams[k], one.record[k]) for k in good]
            seed += 1
        transfer, noise, beams, record = zip(*made[:PSFS])
        PsfLibrary(np.stack(transfer), np.stack(noise), np.array(beams), list(record)).save(path)
    return PsfLibrary.load(path)


def cutout(library: PsfLibrary, seed: int) -> tuple[RadioImage, float, int]:
    """An image, the S/N of its halo (0 for every other one), and which psf it was seen with."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(len(library.beams)))
    parts = (library.transfer, library.noise, library.beams, library.record)
    one = PsfLibrary(*(v[k : k + 1] for v in parts))
    images = Cutouts(nn.Identity(), one, UNetSettings(errors=1.0, tile=PSF_SIDE))
    images.snr = float(np.exp(rng.uniform(*np.log(SNR)))) if seed % 2 else 0.0
    batch = {name: v[0].numpy() for name, v in images.batch(rng, 1).items()}
    major, minor, sine, cosine = (float(v) for v in batch["beam"])
    cell = BEAM / np.sqrt(major * minor)
    data = np.where(batch["weight"][0] > 0, batch["image"][0], np.nan) * np.float32(NOMINAL)
    pa = float(np.rad2deg(np.arctan2(sine, cosine)) / 2 % 180)
    return RadioImage.from_array(data, cell=cell, beam=[major * cell, minor * cell, pa]), images.snr, k


def areas(library: PsfLibrary, seeds: range, model: str | None, known: Path) -> list[dict[str, float]]:
    """Of each cluster: S/N of its halo, and area [beam] that each method outlines about it."""
    filters, done = {}, {}
    if known.exists():
        done = {r["seed"]: r for r in map(json.loads, known.read_text().splitlines())}
    for seed in seeds:
        if seed in done and (model is None or "radio_unet" in done[seed]):
            continue
        image, snr, k = cutout(library, seed)
        prepared = prepare_image(image)
        assert prepared.beam is not None
        if k not in filters:
            beam = gaussian_psf((65, 65), *prepared.beam)
            seen = fftconvolve(beam, beam, mode="same")
            filters[k] = starlets(seen / seen.max(), prepared.beam_area, (image.grid.cell / 3600) ** 2)
        answers: dict[str, Answer] = {
            "faintsky": (faintsky.denoise(image, device="cpu").mask_diffuse, None),
            "starlet": filters[k](image, prepared),
        }
        if model is not None:
            answers["radio_unet"] = ours(image, prepared, model)
        y, x = np.indices(prepared.data.shape)
        near = np.hypot(y - y.mean(), x - x.mean()) * image.grid.cell < WITHIN
        outlined = {name: float((labels[near] > 0).sum()) for name, (labels, _) in answers.items()}
        done[seed] = {"seed": seed, "snr": snr, **{k: v / prepared.beam_area for k, v in outlined.items()}}
        with known.open("a") as file:
            file.write(json.dumps(done[seed]) + "\n")
    return [done[seed] for seed in seeds]


def best_threshold(area: NDArray[np.floating], host: NDArray[np.bool_]) -> float:
    """Area above which most clusters are told right: the middle of the range that does."""
    levels = np.unique(np.concatenate([[0.0], area]))
    right = np.array([((area > level) == host).mean() for level in levels])
    good = np.flatnonzero(right == right.max())
    return float(levels[good[len(good) // 2]])


def main() -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("--radio-unet", metavar="MODEL")
    parser.add_argument("-n", type=int, default=60)
    parser.add_argument("--tune", type=int, default=40)
    parser.add_argument("--work", type=Path, default=Path("/tmp/faintsky_clusters"))
    parser.add_argument("--out", type=Path, default=common.BENCHMARKS / "clusters")
    o = parser.parse_args()
    library = lofar_psfs(o.work / "psfs.npz")
    known = o.work / "rows.jsonl"
    tuned, rows = (
        areas(library, range(a, a + n), o.radio_unet, known) for a, n in ((TUNED, o.tune), (SEED, o.n))
    )
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "clusters.json").write_text(json.dumps({"tuned on": tuned, "clusters": rows}, indent=1) + "\n")
    snr = np.array([r["snr"] for r in rows])
    head = ["method", "hosts found", "accuracy", "without: told right"]
    head += [f"found, S/N {a:g}–{b:g}" for a, b in BINS]
    lines = ["| " + " | ".join([*head, "threshold [beam]"]) + " |", "|" + "---|" * (len(head) + 1)]

    def share(right: NDArray[np.bool_]) -> str:
        p, n = float(right.mean()) if right.size else np.nan, max(right.size, 1)
        return f"{p:.2f} ± {np.sqrt(max(p * (1 - p), 0.25 / n) / n):.2f} ({right.size})"

    for name in [k for k in rows[0] if k not in ("seed", "snr")]:
        level = best_threshold(np.array([r[name] for r in tuned]), np.array([r["snr"] > 0 for r in tuned]))
        said = np.array([r[name] for r in rows]) > level
        cells = [share(said[snr > 0]), share(said == (snr > 0)), share(~said[snr == 0])]
        cells += [share(said[(snr >= a) & (snr < b)]) for a, b in BINS]
        lines.append("| " + " | ".join([name, *cells, f"{level:.1f}"]) + " |")
    table = "\n".join(lines)
    (o.out / "clusters.md").write_text(f"# Clusters with and without diffuse emission\n\n{table}\n")
    print(table)


if __name__ == "__main__":
    main()
