"""Matching pursuit over a line cube: take the strongest source out, sidelobes and all, and look again.

In a noise-limited dirty cube a source at S/N 100 surrounds itself with dozens of sidelobe peaks that a plain
matched filter calls sources. Here each candidate is fitted and its model, convolved with the psf, leaves the
data before the next one is looked for, so that its sidelobes leave too. What a model cannot describe (an
imperfect psf, a source that is no Gaussian) scales with the model: a candidate must also exceed a set
fraction of what has been subtracted at its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from faintsky.classical.matched_filter import FilterBank
from faintsky.detection.gaussian_fit import LineSource, cut_window, fit_source
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing.continuum import continuum_present, fit_continuum
from faintsky.preparing.cube import PreparedCube, subtract_continuum
from faintsky.source_model import frequencies_2d, line_profile

LINE_REACH = 3.5
"""Half width of a model along frequency, in standard deviations of its line."""
BEYOND = 0.5
"""Fraction by which the sidelobes of a source beyond the border of the image may differ from its model."""


class SourceImager:
    """Images of unit sources through the psf of their channel.

    Parameters
    ----------
    psf : array
        ``[1 or chan, y, x]``, peak 1 at ``(n_y // 2, n_x // 2)``.
    shape : tuple
        Of the image, ``(n_y, n_x)``.
    valid : array of bool, optional
        Pixels that hold data, ``[y, x]``: elsewhere the images are 0, as the data are.
    n_planes : int
        At most so many planes of a psf cube are used; it changes slowly with frequency.
    """

    def __init__(
        self,
        psf: NDArray[np.floating],
        shape: tuple[int, int],
        valid: NDArray[np.bool_] | None = None,
        n_planes: int = 9,
    ) -> None:
        self.psf = psf
        self.shape = shape
        self.valid = None if valid is None or valid.all() else valid.astype(np.float32)
        self.padded = tuple(next_fast_len(a + b - 1, real=True) for a, b in zip(shape, psf.shape[1:]))
        self.fx, self.fy = frequencies_2d(*self.padded)
        count = min(n_planes, psf.shape[0])
        self.planes = np.unique(np.linspace(0, psf.shape[0] - 1, count).round().astype(int))
        self._transfers: dict[int, NDArray[np.complex128]] = {}

    def covers(self, s: LineSource) -> bool:
        """Whether a source's centre is on the image: what peaks beyond its border cannot be measured."""
        y, x = round(s.y), round(s.x)
        n_y, n_x = self.shape
        return 1 <= y < n_y - 1 and 1 <= x < n_x - 1 and (self.valid is None or bool(self.valid[y, x]))

    def plane(self, z: float) -> int:
        """Psf plane used for channel `z`."""
        return int(self.planes[np.argmin(np.abs(self.planes - z))])

    def transfer(self, z: float) -> NDArray[np.complex128]:
        """Padded transform of the psf at channel `z`."""
        k = self.plane(z)
        if k not in self._transfers:
            p = np.zeros(self.padded)
            n_y, n_x = self.psf.shape[1:]
            p[:n_y, :n_x] = self.psf[k]
            self._transfers[k] = rfft2(np.roll(p, (-(n_y // 2), -(n_x // 2)), axis=(0, 1)), workers=1)
        return self._transfers[k]

    def image(self, s: LineSource) -> NDArray[np.float32]:
        """The source at unit flux as the telescope shows it, ``[y, x]`` [Jy/beam per Jy]."""
        quad = (s.l11 * self.fx + s.l21 * self.fy) ** 2 + (s.l22 * self.fy) ** 2
        m = np.exp(-2 * np.pi**2 * quad) * (
            np.exp(-2j * np.pi * self.fx * s.x) * np.exp(-2j * np.pi * self.fy * s.y)
        )
        full = irfft2(m * self.transfer(s.z), s=self.padded, workers=1)
        seen = full[: self.shape[0], : self.shape[1]].astype(np.float32)
        return seen if self.valid is None else seen * self.valid


def line_channels(s: LineSource, n_chan: int) -> slice:
    """Channels that a source's model fills."""
    half = LINE_REACH * s.fwhm_z / FWHM_PER_SIGMA + 0.5
    return slice(max(0, int(np.floor(s.z - half))), min(n_chan, int(np.ceil(s.z + half)) + 1))


@dataclass
class Component:
    """A fitted source with what was subtracted for it.

    Attributes
    ----------
    source : LineSource
        The fit.
    image : array
        It at unit flux through the psf, ``[y, x]``.
    sky, line : torch.Tensor
        Its response in the filter bank, see `FilterBank.response`.
    reach : torch.Tensor
        Largest response over the sky templates, ``[y', x']``; where the psf is not known, so far from the
        source, the level its sidelobes may have there over the search's `fidelity`.
    snr, template, reliability
        As detected.
    continuum : tuple of float, optional
        Level and its error, where a network has measured it [Jy/beam].
    """

    source: LineSource
    image: NDArray[np.float32]
    sky: torch.Tensor
    line: torch.Tensor
    reach: torch.Tensor
    snr: float = 0.0
    template: tuple[float, float] = (0.0, 1.0)
    reliability: float = 0.0
    effective_snr: float = 0.0
    continuum: tuple[float, float] | None = None


@dataclass
class Pursuit:
    """State of the search: data, filtered data, and the sources so far.

    Parameters
    ----------
    residual : array
        Continuum-free cube of flat noise, ``[chan, y, x]``, blanks 0; sources are subtracted in place.
    sigma : array
        Rms of every channel, 0 where blank.
    bank : FilterBank
        Of the same cube.
    imager : SourceImager
        The psf.
    beam_pixels : float
        FWHM of the beam [pixel].
    fidelity : float
        Fraction of a subtracted model by which the data may differ from it.
    psf_error : float
        Standard error of the psf far from its peak.
    """

    residual: NDArray[np.float32]
    sigma: NDArray[np.float64]
    bank: FilterBank
    imager: SourceImager
    beam_pixels: float
    fidelity: float
    psf_error: float = 0.0
    components: list[Component] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.high, self.low = self.bank.extremes()
        self.guard = torch.zeros_like(self.high)

    def window_side(self, fwhm: float) -> int:
        """Side of the fit's window for a source of intrinsic `fwhm` [pixel]."""
        n = int(4.5 * np.hypot(self.beam_pixels, fwhm)) + 12
        return min(max(24, n + n % 2), 192)

    def fit(self, start: LineSource) -> LineSource:
        """Fit one source to the residual."""
        maj, _, _ = start.axes()
        n = self.window_side(maj)
        half = int(max(8, 2.5 * start.fwhm_z))
        channels = slice(max(0, int(start.z) - half), min(self.sigma.size, int(start.z) + half + 1))
        psf = self.imager.psf[self.imager.plane(start.z)]
        window = cut_window(self.residual, psf, self.sigma, start.x, start.y, channels, n)
        return fit_source(window, start, size_scale=1.5 * self.beam_pixels)

    def detection_snr(self, c: Component) -> tuple[float, tuple[float, float]]:
        """S/N of a subtracted source, as if only it were in the data, and the template that gives it.

        The maximum over neighbouring voxels is taken to sub-pixel accuracy by parabolas along x and y.
        """
        _, n_chan, n_y, n_x = self.bank.maps.shape
        z = int(np.clip(round(c.source.z), 0, n_chan - 1))
        j = int(np.clip(round(c.source.y / self.bank.step), 0, n_y - 1))
        i = int(np.clip(round(c.source.x / self.bank.step), 0, n_x - 1))
        zs = slice(max(0, z - 2), z + 3)
        ys, xs = slice(max(0, j - 2), j + 3), slice(max(0, i - 2), i + 3)
        own = torch.einsum("tz,syx->stzyx", c.line[:, zs], c.sky[:, ys, xs]).flatten(0, 1)
        near = (self.bank.maps[:, zs, ys, xs] + own).cpu().numpy() * np.sign(c.source.amplitude)
        k, kz, ky, kx = (int(v) for v in np.unravel_index(int(near.argmax()), near.shape))
        peak = float(near[k, kz, ky, kx])
        gain = _parabola(near[k, kz, :, kx], ky) + _parabola(near[k, kz, ky, :], kx)
        return peak + gain, self.bank.template(int(k))

    def spectrum(self, s: LineSource) -> NDArray[np.float64]:
        """Received line flux density of every channel, ``[chan]``; zero outside `line_channels`."""
        z = np.arange(self.sigma.size)
        out = np.zeros(z.size)
        span = line_channels(s, z.size)
        out[span] = s.amplitude * line_profile(z[span], s.z, s.fwhm_z)
        return out

    def add(self, s: LineSource) -> Component:
        """Subtract a source everywhere and remember it."""
        image = self.imager.image(s)
        spectrum = self.spectrum(s)
        over_noise = np.where(self.sigma > 0, spectrum / np.maximum(self.sigma, 1e-300), 0.0)
        sky, line = self.bank.response(image, over_noise)
        component = Component(s, image, sky, line, self._reach(s, sky))
        self._apply(component, 1.0)
        self.components.append(component)
        return component

    def _reach(self, s: LineSource, sky: torch.Tensor) -> torch.Tensor:
        """See `Component.reach`. A psf as large as the image ends half an image away from a source."""
        reach = sky.abs().amax(0)
        if not self.imager.covers(s):
            reach = reach * (BEYOND / self.fidelity)
        if self.psf_error > 0:
            reach = reach.clamp_min(float(reach.max()) * self.psf_error / self.fidelity)
        step = self.bank.step
        half_y, half_x = (n // 2 / step for n in self.imager.psf.shape[1:])
        dy = (torch.arange(reach.shape[0], device=reach.device) - s.y / step).abs()[:, None] / half_y
        dx = (torch.arange(reach.shape[1], device=reach.device) - s.x / step).abs()[None, :] / half_x
        distance = torch.maximum(dy, dx)
        unknown = distance > 1
        if not bool(unknown.any()):
            return reach
        ring = (distance > 0.7) & ~unknown
        level = sky[:, ring].square().mean(1).sqrt().amax() if bool(ring.any()) else reach.max()
        return torch.where(unknown, level / self.fidelity, reach)

    def remove(self, component: Component) -> None:
        """Put a source back into the data."""
        self.components = [c for c in self.components if c is not component]
        self._apply(component, -1.0)

    def subtract(self, c: Component, sign: float) -> None:
        """Take a source out of the residual alone, or with ``sign`` -1 put it back."""
        spectrum = self.spectrum(c.source).astype(np.float32) * np.float32(sign)
        for k in np.flatnonzero(spectrum):
            if self.sigma[k] > 0:
                self.residual[k] -= spectrum[k] * c.image

    def _apply(self, c: Component, sign: float) -> None:
        self.subtract(c, sign)
        span = self.bank.subtract(c.sky, sign * c.line)
        if span.stop > span.start:
            self.high[span], self.low[span] = self.bank.extremes(span)
            reach = c.line.abs().amax(0)[span, None, None] * c.reach
            self.guard[span] = (self.guard[span] + sign * reach).clamp_min_(0)

    def significance(self) -> tuple[torch.Tensor, torch.Tensor]:
        """S/N of emission and of absorption, lowered where sources of many sigmas were subtracted."""
        scale = torch.sqrt(1 + (self.fidelity * self.guard) ** 2)
        return self.high / scale, -self.low / scale

    def next_candidate(
        self, threshold: float, blocked: torch.Tensor
    ) -> tuple[LineSource, tuple[int, ...]] | None:
        """Strongest candidate above `threshold` outside `blocked`, as a source to start a fit from."""
        up, down = self.significance()
        value = torch.where(blocked, torch.zeros(()), torch.maximum(up, down))
        index = int(value.argmax())
        if float(value.flatten()[index]) < threshold:
            return None
        z, j, i = (int(v) for v in np.unravel_index(index, tuple(value.shape)))
        sign = 1.0 if float(up[z, j, i]) >= float(down[z, j, i]) else -1.0
        k = int((sign * self.bank.maps[:, z, j, i]).argmax())
        fwhm, width = self.bank.template(k)
        side = max(fwhm, 0.35 * self.beam_pixels) / FWHM_PER_SIGMA
        start = LineSource(
            sign, i * self.bank.step, j * self.bank.step, side, 0.0, side, float(z), width, np.zeros((8, 8))
        )
        return start, (int(z), int(j), int(i))

    def run(
        self, threshold: float, *, max_sources: int = 500, blocked: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Find, fit and subtract until nothing above `threshold` is left.

        Returns
        -------
        torch.Tensor of bool
            Places, ``[chan, y', x']``, where a candidate was tried and did not hold.
        """
        if blocked is None:
            blocked = torch.zeros_like(self.high, dtype=torch.bool)
        reach = max(1, int(0.5 * self.beam_pixels / self.bank.step))
        while len(self.components) < max_sources:
            found = self.next_candidate(threshold, blocked)
            if found is None:
                break
            start, (z, j, i) = found
            fitted = self.fit(start)
            moved = np.hypot(fitted.x - start.x, fitted.y - start.y) > 1.5 * np.hypot(
                self.beam_pixels, start.axes()[0]
            )
            if moved or np.sign(fitted.amplitude) != np.sign(start.amplitude):
                blocked[
                    max(0, z - 1) : z + 2,
                    max(0, j - reach) : j + reach + 1,
                    max(0, i - reach) : i + reach + 1,
                ] = True
                continue
            component = self.add(fitted)
            component.snr, component.template = self.detection_snr(component)
        return blocked

    def refine(self, rounds: int = 1) -> None:
        """Fit every source again with all others subtracted, brightest first."""
        for _ in range(rounds):
            for c in sorted(self.components, key=lambda c: -c.snr):
                self.remove(c)
                fitted = self.fit(c.source)
                new = self.add(
                    fitted if np.sign(fitted.amplitude) == np.sign(c.source.amplitude) else c.source
                )
                new.snr, new.template = self.detection_snr(new)

    def lowered_snr(self, c: Component) -> float:
        """S/N of a source, lowered by what other subtracted sources may have left at its place."""
        _, n_chan, n_y, n_x = self.bank.maps.shape
        z = int(np.clip(round(c.source.z), 0, n_chan - 1))
        j = int(np.clip(round(c.source.y / self.bank.step), 0, n_y - 1))
        i = int(np.clip(round(c.source.x / self.bank.step), 0, n_x - 1))
        own = float(c.line[:, z].abs().max() * c.reach[j, i])
        others = max(float(self.guard[z, j, i]) - own, 0.0)
        return c.snr / float(np.sqrt(1 + (self.fidelity * others) ** 2))

    def renewed(self, sigma: NDArray[np.float64], bank: FilterBank) -> Pursuit:
        """The same search with another noise: sources keep their fits and get their S/N anew.

        Parameters
        ----------
        sigma : array
            Rms of every channel, measured with the sources taken out.
        bank : FilterBank
            Of `residual` over that noise.
        """
        fresh = replace(self, sigma=sigma, bank=bank, components=[])
        for c in self.components:
            spectrum = np.where(sigma > 0, fresh.spectrum(c.source) / np.maximum(sigma, 1e-300), 0.0)
            c.sky, c.line = bank.response(c.image, spectrum)
            c.reach = fresh._reach(c.source, c.sky)
            fresh.guard += c.line.abs().amax(0)[:, None, None] * c.reach
            c.snr, c.template = fresh.detection_snr(c)
        fresh.components = self.components
        return fresh

    def model(self) -> NDArray[np.float32]:
        """Sum of all sources as the telescope shows them, ``[chan, y, x]`` [Jy/beam]."""
        out = np.zeros_like(self.residual)
        for c in self.components:
            spectrum = self.spectrum(c.source).astype(np.float32)
            for k in np.flatnonzero(spectrum):
                out[k] += spectrum[k] * c.image
        return out

    def new_line_cube(self, prepared: PreparedCube) -> None:
        """Fit the continuum again to the data less the sources, and start the residual anew.

        Where a source is so bright that its model's error would bend the continuum, its channels are left
        out.
        """
        model = self.model()
        limit = (0.5 / self.fidelity * self.sigma)[:, None, None].astype(np.float32)
        mask = torch.as_tensor(np.abs(model) > limit) if (np.abs(model) > limit).any() else None
        rest = prepared.data - model
        fit = fit_continuum(torch.as_tensor(rest), self.sigma, line_mask=mask)
        prepared.continuum = fit
        prepared.present = continuum_present(fit, prepared.valid, prepared.beam_pixels)
        self.residual = subtract_continuum(rest, fit.where(prepared.present), prepared.valid, self.sigma)

    def refit(self, rounds: int) -> None:
        """Fit every source again, all others subtracted, without touching the filtered cubes."""
        for _ in range(rounds):
            for c in sorted(self.components, key=lambda c: -c.snr):
                self.subtract(c, -1.0)
                fitted = self.fit(c.source)
                if np.sign(fitted.amplitude) == np.sign(c.source.amplitude):
                    c.source, c.image = fitted, self.imager.image(fitted)
                self.subtract(c, 1.0)


def _parabola(values: NDArray[np.floating], k: int) -> float:
    """How far the parabola through a maximum and its two neighbours rises above it."""
    if k == 0 or k == values.size - 1:
        return 0.0
    a, b, c = (float(v) for v in values[k - 1 : k + 2])
    curvature = 2 * b - a - c
    return (a - c) ** 2 / (8 * curvature) if curvature > 0 else 0.0
