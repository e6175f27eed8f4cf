"""The search of a cube: prepare, filter, and take one candidate after the other out of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from faintsky.beams import beam_pixels
from faintsky.detection.gaussian_fit import LineSource
from faintsky.detection.imager import Residual, SourceImager
from faintsky.detection.matched_filter import FilterBank, decimation
from faintsky.detection.pursuit import Component, Pursuit
from faintsky.detection.reliability import COUNT_FROM, NoisePeaks, fit_noise_peaks, local_peaks
from faintsky.image import RadioCube
from faintsky.preparing.cube import PreparedCube, prepare_cube
from faintsky.preparing.noise import channel_rms


@dataclass
class Search:
    """A cube after its search.

    Attributes
    ----------
    cube : RadioCube
        As opened.
    prepared : PreparedCube
        What was searched.
    pursuit : Pursuit
        With all candidates that were subtracted.
    noise : NoisePeaks
        Expected in the cube.
    candidates : list of Component
        Those that may be sources: on the image, and emission or absorption of a continuum.
    tried : int
        Candidates of any kind.
    """

    cube: RadioCube
    prepared: PreparedCube
    pursuit: Pursuit
    noise: NoisePeaks
    candidates: list[Component]
    tried: int

    def copy(self) -> Search:
        """One that can be finished without changing this one; the filter bank is shared."""
        twins = {id(c): replace(c) for c in self.pursuit.components}
        pursuit = copy(self.pursuit)
        pursuit.data = self.pursuit.data.copy()
        pursuit.components = [twins[id(c)] for c in self.pursuit.components]
        return replace(
            self,
            prepared=replace(self.prepared),
            pursuit=pursuit,
            candidates=[twins[id(c)] for c in self.candidates],
        )

    def keep(self, components: list[Component]) -> None:
        """Put all others back into the data. The filter bank keeps them out: it is done with."""
        kept = {id(c) for c in components}
        for c in self.pursuit.components:
            if id(c) not in kept:
                self.pursuit.subtract(c, -1.0)
        self.pursuit.components = [c for c in self.pursuit.components if id(c) in kept]


def search_cube(
    cube: RadioCube, settings: Mapping[str, Any], *, device: str = "cpu", say: Callable[[int, str], None]
) -> Search:
    """Find candidates down to the S/N that `settings` say.

    Parameters
    ----------
    cube : RadioCube
        With its psf and primary beam where they are known.
    settings : mapping
        Of the model.
    device : str, optional
        Where PyTorch computes the filter bank.
    say : callable
        Called with steps done and a word.

    Raises
    ------
    InputError
        See `prepare_cube`.
    """
    say(0, "noise and continuum")
    prepared = prepare_cube(cube, device=device)
    say(1, "matched filters")
    shape = (cube.shape[1], cube.shape[2])
    imager = SourceImager(prepared.psf, shape, prepared.valid, beam_at=prepared.beam_at(cube))
    step = decimation(prepared.beam_pixels)
    pursuit = Pursuit(
        Residual(prepared.line),
        prepared.sigma,
        _bank(prepared.line[:, ::step, ::step], prepared, device),
        imager,
        prepared.beam_pixels,
        prepared.fidelity,
        prepared.psf_error,
    )
    quiet = _noise_peaks(pursuit, prepared, settings["beam_guard"])
    blocked = _outside(cube, pursuit, prepared)
    say(2, "search")
    pursuit.tell = lambda n: say(2, f"search ({n} candidates)")
    start = _threshold(quiet, settings)
    blocked = pursuit.run(start, blocked=blocked, max_sources=int(settings["max_sources"]))
    if pursuit.components:
        pursuit.refine(1)
        _with_residuals(pursuit, prepared)
        # sidelobes of what is out now counted as peaks of the noise
        start = min(start, _threshold(_noise_peaks(pursuit, prepared, settings["beam_guard"]), settings))
        pursuit.run(start, blocked=blocked, max_sources=int(settings["max_sources"]))
        _drop_faded(pursuit, start)
    noise = _noise_peaks(pursuit, prepared, settings["beam_guard"])
    within = [c for c in pursuit.components if inside(c.source, cube, pursuit.imager)]
    real = [c for c in within if c.source.amplitude > 0 or _is_absorption(c, prepared)]
    for c in real:
        c.effective_snr = pursuit.lowered_snr(c)
    return Search(cube, prepared, pursuit, noise, real, len(pursuit.components))


def _threshold(noise: NoisePeaks, settings: Mapping[str, Any]) -> float:
    """S/N down to which candidates are tried."""
    return float(np.clip(noise.threshold(settings["noise_peaks_tried"]), *settings["search_range"]))


def _bank(coarse: NDArray[np.float32], prepared: PreparedCube, device: str) -> FilterBank:
    """The filter bank of a line cube of which every `decimation`-th pixel is given."""
    inverse = np.where(prepared.sigma > 0, 1 / np.maximum(prepared.sigma, 1e-300), 0.0).astype(np.float32)
    return FilterBank(
        torch.as_tensor(coarse * inverse[:, None, None], device=device),
        prepared.sigma > 0,
        prepared.psf[prepared.psf.shape[0] // 2],
        prepared.beam_pixels,
        continuum_fitted=_continuum_fitted(prepared),
        decimated=True,
    )


def _continuum_fitted(prepared: PreparedCube) -> bool:
    """Whether so many spectra have lost a straight line that the templates should be without it, too."""
    return float(prepared.present[prepared.valid].mean()) > 0.2


def _with_residuals(pursuit: Pursuit, prepared: PreparedCube) -> None:
    """Go on with continuum and noise measured once the sources are out.

    Lines too weak to be masked bend the continuum about them, which makes troughs that look like absorption,
    and sidelobes count as noise.
    """
    before = prepared.continuum.where(prepared.present & prepared.valid)
    bent = bool(prepared.present.any())
    if bent:
        pursuit.new_line_cube(prepared)
    step = 2 if min(prepared.valid.shape) >= 64 else 1
    every = slice(None, None, step)
    coarse, valid = pursuit.data.box(slice(None), every, every), prepared.valid[every, every]
    sigma = np.where(prepared.sigma > 0, channel_rms(coarse, valid), 0.0)
    used = prepared.sigma > 0
    # the residual has lost a share to the continuum; bright channels alone may come down
    scale = np.median(prepared.sigma[used] / np.maximum(sigma[used], 1e-300))
    sigma = np.minimum(sigma * scale, prepared.sigma)
    if bent:
        after = prepared.continuum.where(prepared.present & prepared.valid)
        pursuit.shift(after.level - before.level, np.ones(sigma.size))
        pursuit.shift(after.slope - before.slope, np.arange(sigma.size) - after.middle)
    elif np.max(prepared.sigma[used] / np.maximum(sigma[used], 1e-300)) < 1.06:
        return
    prepared.sigma = sigma
    pursuit.rescale(sigma, _continuum_fitted(prepared))


def _noise_peaks(pursuit: Pursuit, prepared: PreparedCube, guard: float) -> NoisePeaks:
    """Noise peaks from the residual's negative peaks, away from where much was subtracted."""
    clear = pursuit.guard < guard / prepared.fidelity
    low = pursuit.peaks.lows_below(-COUNT_FROM, clear)
    step = pursuit.bank.step
    width = 2 * max(1, round(0.5 * prepared.beam_pixels / step)) + 1
    side = torch.where(clear, low, torch.zeros((), device=low.device)).neg_()
    peaks = local_peaks(side, (5, width, width), COUNT_FROM)
    share = float(clear.float().mean())
    beams = float(prepared.valid.sum()) / float(beam_pixels(prepared.beam, 1.0)[0])
    channels = int((prepared.sigma > 0).sum())
    found = fit_noise_peaks(peaks, beam_channels=share * beams * channels)
    return NoisePeaks(found.amplitude / max(share, 0.05), found.stretch)


def _outside(cube: RadioCube, pursuit: Pursuit, prepared: PreparedCube) -> torch.Tensor:
    """Voxels of the decimated cube where nothing is looked for: blank, or outside the user's mask."""
    step = pursuit.bank.step
    out = torch.zeros_like(pursuit.guard, dtype=torch.bool)
    out |= torch.as_tensor(~prepared.valid[::step, ::step], device=out.device)
    if cube.mask is not None:
        out |= torch.as_tensor(~cube.mask[:, ::step, ::step], device=out.device)
    return out


def _drop_faded(pursuit: Pursuit, threshold: float) -> None:
    """Put back what fell below the search threshold when its neighbours were modelled better."""
    for c in [c for c in pursuit.components if c.snr < 0.95 * threshold]:
        pursuit.remove(c)


def inside(s: LineSource, cube: RadioCube, imager: SourceImager) -> bool:
    """Whether a source's centre can be measured, and is where the user wants to look."""
    if not imager.covers(s) or not cube.holds_data(s.x, s.y, s.z):
        return False
    if cube.mask is None:
        return True
    k = int(np.clip(round(s.z), 0, cube.mask.shape[0] - 1))
    return bool(cube.mask[k, round(s.y), round(s.x)])


def cut_off(s: LineSource, n_chan: int) -> bool:
    """Whether a line of more than an eighth of the band reaches over its end."""
    reach = 0.5 * s.fwhm_z
    return s.fwhm_z > n_chan / 8 and not reach - 0.5 <= s.z <= n_chan - 0.5 - reach


def _is_absorption(c: Component, prepared: PreparedCube) -> bool:
    """A negative source counts as absorption where there is continuum for it to absorb.

    A broad one that the band cuts off is none: the continuum's own curvature looks like that.
    """
    s = c.source
    if cut_off(s, prepared.sigma.size):
        return False
    y, x = round(s.y), round(s.x)
    h, w = prepared.continuum.level.shape
    if not (0 <= y < h and 0 <= x < w and prepared.present[y, x]):
        return False
    level = float(prepared.continuum.at(s.z)[y, x])
    error = float(prepared.continuum.level_err[y, x])
    depth = abs(s.amplitude) * s.norm
    return level > 5 * error and depth < level + 3 * depth / max(c.snr, 1.0)
