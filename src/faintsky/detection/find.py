"""Find the line emitters of a cube: prepare, search, refine, judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from faintsky.beams import beam_pixels
from faintsky.classical.matched_filter import FilterBank
from faintsky.detection.catalogue import build_catalog
from faintsky.detection.grouping import group_components, one_source, touching
from faintsky.detection.labels import label_mask
from faintsky.detection.pursuit import Component, Pursuit, SourceImager
from faintsky.detection.reliability import (
    COUNT_FROM,
    NoisePeaks,
    fit_noise_peaks,
    list_reliability,
    local_peaks,
)
from faintsky.device import choose_device
from faintsky.image import RadioCube
from faintsky.models import Model, load_model
from faintsky.preparing.cube import PreparedCube, prepare_cube
from faintsky.preparing.noise import channel_rms
from faintsky.preparing.single_thread import one_blas_thread

if TYPE_CHECKING:
    from astropy.table import Table

Progress = Callable[[int, int, str], None]
PART_SNR = 4.0
"""Effective S/N of a component that belongs to a source already accepted."""


@dataclass
class Detections:
    """What was found in a cube.

    Attributes
    ----------
    catalog : astropy.table.Table
        One row a source, strongest first.
    mask : array
        Labels, ``[chan, y, x]``; the source's id, 0 where none.
    model : array
        Sum of the sources' lines as the telescope shows them, ``[chan, y, x]`` [Jy/beam].
    prepared : PreparedCube
        Line cube, noise, continuum and psf that were used.
    noise : NoisePeaks
        The noise peaks expected in the cube.
    candidates : int
        Candidates before the cut in reliability.
    notes : list of str
        What the reader should know.
    """

    catalog: Table
    mask: NDArray[np.int32]
    model: NDArray[np.float32]
    prepared: PreparedCube
    noise: NoisePeaks
    candidates: int
    notes: list[str] = field(default_factory=list)


def find_sources(
    cube: RadioCube,
    model: str | Model = "classical",
    *,
    reliability: float = 0.9,
    device: str = "auto",
    progress: Progress | None = None,
) -> Detections:
    """Find and measure the line emitters (and absorbers) of a cube.

    Parameters
    ----------
    cube : RadioCube
        With its psf and primary beam where they are known.
    model : str or Model
        ``classical`` is the matched filter.
    reliability : float
        Sources below are left out of the catalogue.
    device : {"auto", "cpu", "cuda"}
        Where PyTorch computes the filter bank.
    progress : callable, optional
        Called with steps done, steps in all, and a word.

    Raises
    ------
    InputError
        See `prepare_cube`.
    """
    settings = (load_model(model) if isinstance(model, str) else model).settings
    say = _steps(progress)
    device = choose_device(device)
    with one_blas_thread():
        say(0, "noise and continuum")
        prepared = prepare_cube(cube, device=device)
        say(1, "matched filters")
        imager = SourceImager(prepared.psf, (cube.shape[1], cube.shape[2]), prepared.valid)
        pursuit = Pursuit(
            prepared.line.copy(),
            prepared.sigma,
            _bank(prepared.line, prepared, device),
            imager,
            prepared.beam_pixels,
            prepared.fidelity,
            prepared.psf_error,
        )
        quiet = _noise_peaks(pursuit, prepared, settings["beam_guard"])
        blocked = _outside(cube, pursuit, prepared)
        say(2, "search")
        start = float(np.clip(quiet.threshold(settings["noise_peaks_tried"]), *settings["search_range"]))
        blocked = pursuit.run(start, blocked=blocked, max_sources=int(settings["max_sources"]))
        if pursuit.components:
            pursuit.refine(1)
            pursuit = _with_residuals(pursuit, prepared, device)
            pursuit.run(start, blocked=blocked, max_sources=int(settings["max_sources"]))
            _drop_faded(pursuit, start)
        say(3, "measuring")
        noise = _noise_peaks(pursuit, prepared, settings["beam_guard"])
        components = _accepted(cube, pursuit, prepared, noise, reliability, settings)
        candidates = len(pursuit.components)
        for c in [c for c in pursuit.components if all(c is not k for k in components)]:
            pursuit.remove(c)
        _measure(pursuit, prepared, settings)
    groups = group_components(pursuit.components, prepared.beam_pixels)
    catalog, order = build_catalog(
        cube, prepared, pursuit.components, groups, noise, caution=settings["caution"]
    )
    ordered = [groups[i] for i in order]
    mask = label_mask(pursuit.components, ordered, prepared, pursuit.residual)
    flat_model = pursuit.model()
    notes = [*cube.notes, f"psf: {_PSF_WORDS[prepared.psf_origin]}"]
    say(4, "done")
    return Detections(catalog, mask, prepared.restored(flat_model), prepared, noise, candidates, notes)


def _steps(progress: Progress | None) -> Callable[[int, str], None]:
    def say(done: int, word: str) -> None:
        if progress is not None:
            progress(done, 4, word)

    return say


_PSF_WORDS = {
    "given": "as given",
    "noise": "measured from the correlation of the noise (a dirty cube)",
    "header": "the Gaussian beam of the header (a restored cube)",
}


def _bank(line: NDArray[np.float32], prepared: PreparedCube, device: str) -> FilterBank:
    inverse = np.where(prepared.sigma > 0, 1 / np.maximum(prepared.sigma, 1e-300), 0.0).astype(np.float32)
    return FilterBank(
        torch.as_tensor(line * inverse[:, None, None], device=device),
        prepared.sigma > 0,
        prepared.psf[prepared.psf.shape[0] // 2],
        prepared.beam_pixels,
        continuum_fitted=float(prepared.present[prepared.valid].mean()) > 0.2,
    )


def _with_residuals(pursuit: Pursuit, prepared: PreparedCube, device: str) -> Pursuit:
    """The search with continuum and noise measured once the sources are out.

    Lines too weak to be masked bend the continuum about them, which makes troughs that look like absorption,
    and sidelobes count as noise.
    """
    bent = bool(prepared.present.any())
    if bent:
        pursuit.new_line_cube(prepared)
    step = 2 if min(prepared.valid.shape) >= 64 else 1
    coarse, valid = pursuit.residual[:, ::step, ::step], prepared.valid[::step, ::step]
    sigma = np.where(prepared.sigma > 0, channel_rms(coarse, valid), 0.0)
    used = prepared.sigma > 0
    # the residual has lost a share to the continuum; bright channels alone may come down
    scale = np.median(prepared.sigma[used] / np.maximum(sigma[used], 1e-300))
    sigma = np.minimum(sigma * scale, prepared.sigma)
    if not bent and np.max(prepared.sigma[used] / np.maximum(sigma[used], 1e-300)) < 1.06:
        return pursuit
    prepared.sigma = sigma
    # two banks at a time would double the memory
    del pursuit.bank
    return pursuit.renewed(sigma, _bank(pursuit.residual, prepared, device))


def _noise_peaks(pursuit: Pursuit, prepared: PreparedCube, guard: float) -> NoisePeaks:
    """Noise peaks from the residual's negative peaks, away from where much was subtracted."""
    down = -pursuit.low
    clear = pursuit.guard * prepared.fidelity < guard
    step = pursuit.bank.step
    width = 2 * max(1, round(0.5 * prepared.beam_pixels / step)) + 1
    side = torch.where(clear, down, torch.zeros((), device=down.device))
    peaks = local_peaks(side, (5, width, width), COUNT_FROM)
    share = float(clear.float().mean())
    beams = float(prepared.valid.sum()) / float(beam_pixels(prepared.beam, 1.0)[0])
    channels = int((prepared.sigma > 0).sum())
    found = fit_noise_peaks(peaks, beam_channels=share * beams * channels)
    return NoisePeaks(found.amplitude / max(share, 0.05), found.stretch)


def _outside(cube: RadioCube, pursuit: Pursuit, prepared: PreparedCube) -> torch.Tensor:
    """Voxels of the decimated cube where nothing is looked for: blank, or outside the user's mask."""
    step = pursuit.bank.step
    out = torch.zeros_like(pursuit.high, dtype=torch.bool)
    out |= torch.as_tensor(~prepared.valid[::step, ::step], device=out.device)
    if cube.mask is not None:
        out |= torch.as_tensor(~cube.mask[:, ::step, ::step], device=out.device)
    return out


def _drop_faded(pursuit: Pursuit, threshold: float) -> None:
    """Put back what fell below the search threshold when its neighbours were modelled better."""
    for c in [c for c in pursuit.components if c.snr < 0.95 * threshold]:
        pursuit.remove(c)


def _inside(c: Component, cube: RadioCube, imager: SourceImager) -> bool:
    """Whether a source's centre can be measured, and is where the user wants to look."""
    if not imager.covers(c.source):
        return False
    if cube.mask is None:
        return True
    k = int(np.clip(round(c.source.z), 0, cube.mask.shape[0] - 1))
    return bool(cube.mask[k, round(c.source.y), round(c.source.x)])


def _is_absorption(c: Component, prepared: PreparedCube) -> bool:
    """A negative source counts as absorption where there is continuum for it to absorb."""
    s = c.source
    y, x = round(s.y), round(s.x)
    h, w = prepared.continuum.level.shape
    if not (0 <= y < h and 0 <= x < w and prepared.present[y, x]):
        return False
    level = float(prepared.continuum.at(s.z)[y, x])
    error = float(prepared.continuum.level_err[y, x])
    depth = abs(s.amplitude) * s.norm
    return level > 5 * error and depth < level + 3 * depth / max(c.snr, 1.0)


def _accepted(
    cube: RadioCube,
    pursuit: Pursuit,
    prepared: PreparedCube,
    noise: NoisePeaks,
    reliability: float,
    settings: dict[str, float],
) -> list[Component]:
    """Components whose reliability, as members of the list, passes; sets it on each."""
    inside = [c for c in pursuit.components if _inside(c, cube, pursuit.imager)]
    real = [c for c in inside if c.source.amplitude > 0 or _is_absorption(c, prepared)]
    for c in real:
        c.effective_snr = pursuit.lowered_snr(c)
    values = list_reliability([c.effective_snr for c in real], noise, caution=settings["caution"])
    for c, value in zip(real, values):
        c.reliability = float(value)
    kept = [c for c in real if c.reliability >= reliability]
    return _with_their_parts(kept, [c for c in real if c.reliability < reliability], prepared.beam_pixels)


def _with_their_parts(kept: list[Component], rest: list[Component], beam_pixels: float) -> list[Component]:
    """Accepted components and those that describe more of the same sources.

    What is no Gaussian, a galaxy, takes several components, and one at the side of a brighter one is doubtful
    as a source. It is none, but a part of that source, where it stands out by `PART_SNR` of what the
    brighter one's model may leave and no dip parts the two.
    """
    kept, rest = list(kept), [c for c in rest if c.effective_snr > PART_SNR]
    grown = True
    while grown:
        grown = False
        for c in rest:
            whole = [k for k in kept if touching(c, k, beam_pixels) and one_source(c, k, [*kept, c])]
            if whole:
                c.reliability = max(k.reliability for k in whole)
                kept.append(c)
                rest = [r for r in rest if r is not c]
                grown = True
                break
    return kept


def _measure(pursuit: Pursuit, prepared: PreparedCube, settings: dict[str, float]) -> None:
    """Final fits on a continuum fitted outside the lines that were found."""
    if not pursuit.components:
        return
    if prepared.present.any():
        pursuit.new_line_cube(prepared)
    pursuit.refit(int(settings["final_rounds"]))
