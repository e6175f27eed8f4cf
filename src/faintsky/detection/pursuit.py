"""Matching pursuit in a cube: find the strongest source, fit it, subtract it, and repeat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from faintsky.arrays import Array, Array32, Bool, Float
from faintsky.beams import beam_covariance, beam_pixels
from faintsky.detection.fits import LineSource, cut_group, point_or_not
from faintsky.detection.matched_filter import FilterBank, Peaks
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing import (
    LEAST_CHANNELS,
    ChannelCorrelation,
    Continuum,
    PreparedCube,
    gaussian_psf,
    left_out,
    psf_from_noise,
    subtract_continuum,
)
from faintsky.source_model import frequencies_2d, line_profile

MOST_PLANES = 9
"""Largest number of planes of a psf cube that are used; it changes slowly with frequency."""
PENDING = 12
"""Sources that `ResidualCube` keeps in a list before it subtracts them from the whole cube."""


class SourceImager:
    """Images of sources of unit flux, with the psf of their channel.

    Parameters
    ----------
    psf : array
        ``[1 or chan, y, x]``, peak 1 at ``(n_y // 2, n_x // 2)``.
    shape : tuple
        Of the image, ``(n_y, n_x)``.
    valid : array of bool, optional
        Pixels that hold data, ``[y, x]``: elsewhere the images are 0, like the data.
    beam_at : callable, optional
        Beam (major, minor [pixel], angle [deg]) at a pixel ``(x, y)``, where the psf is a Gaussian that
        differs from place to place.
    """

    def __init__(
        self,
        psf: Array,
        shape: tuple[int, int],
        valid: Bool | None = None,
        beam_at: Callable[[float, float], tuple[float, float, float]] | None = None,
    ) -> None:
        self.beam_at = beam_at
        self.psf = psf
        self.shape = shape
        self.valid = None if valid is None or valid.all() else valid.astype(np.float32)
        self.padded = tuple(next_fast_len(a + b - 1, real=True) for a, b in zip(shape, psf.shape[1:]))
        self.fx, self.fy = frequencies_2d(*self.padded)
        count = min(MOST_PLANES, psf.shape[0])
        self.planes = np.unique(np.linspace(0, psf.shape[0] - 1, count).round().astype(int))
        self._transfers: dict[int, NDArray[np.complex64]] = {}

    def covers(self, s: LineSource) -> bool:
        """Whether a source's centre is on the image: a source beyond the border cannot be measured."""
        y, x = round(s.y), round(s.x)
        n_y, n_x = self.shape
        return 1 <= y < n_y - 1 and 1 <= x < n_x - 1 and (self.valid is None or bool(self.valid[y, x]))

    def plane(self, z: float) -> int:
        """Psf plane used for channel `z`."""
        return int(self.planes[np.argmin(np.abs(self.planes - z))])

    def transfer(self, z: float) -> NDArray[np.complex64]:
        """Padded transform of the psf at channel `z`."""
        k = self.plane(z)
        if k not in self._transfers:
            p = np.zeros(self.padded, dtype=np.float32)
            n_y, n_x = self.psf.shape[1:]
            p[:n_y, :n_x] = self.psf[k]
            self._transfers[k] = rfft2(np.roll(p, (-(n_y // 2), -(n_x // 2)), axis=(0, 1)), workers=1)
        return self._transfers[k]

    def psf_at(self, x: float, y: float, z: float) -> Array:
        """The psf of a place and channel, ``[y, x]``.

        Parameters
        ----------
        x, y, z : float
            Pixel and channel.

        Returns
        -------
        array
            ``[y, x]``
        """
        if self.beam_at is None:
            return self.psf[self.plane(z)]
        beam = self.beam_at(x, y)
        n_y, n_x = (min(n, 2 * int(2.5 * beam[0]) + 3) for n in self.psf.shape[1:])
        return gaussian_psf((n_y, n_x), *beam)

    def _shape_and_transfer(self, s: LineSource) -> tuple[float, float, float, NDArray[np.complex64]]:
        """Shape of a source and the psf's transform; or its shape with the beam, and the beam's area."""
        if self.beam_at is None:
            return s.l11, s.l21, s.l22, self.transfer(s.z)
        beam = self.beam_at(s.x, s.y)
        own = np.array([[s.l11, 0.0], [s.l21, s.l22]])
        (l11, _), (l21, l22) = np.linalg.cholesky(own @ own.T + beam_covariance(beam))
        area = np.full((self.fy.size, self.fx.size), beam_pixels(beam, 1.0)[0], dtype=np.complex64)
        return float(l11), float(l21), float(l22), area

    def image(self, s: LineSource) -> Array32:
        """The source at unit flux as observed, ``[y, x]`` [Jy/beam per Jy]."""
        l11, l21, l22, transfer = self._shape_and_transfer(s)
        quad = np.square(l11 * self.fx + l21 * self.fy, dtype=np.float32, casting="same_kind")
        quad += np.float32(l22**2) * np.square(self.fy, dtype=np.float32, casting="same_kind")
        quad *= np.float32(-2 * np.pi**2)
        m = transfer * np.exp(-2j * np.pi * self.fx * s.x).astype(np.complex64)
        m *= np.exp(-2j * np.pi * self.fy * s.y).astype(np.complex64)
        m *= np.exp(quad, out=quad)
        full = irfft2(m, s=self.padded, workers=1, overwrite_x=True)
        seen = full[: self.shape[0], : self.shape[1]]
        return seen.copy() if self.valid is None else seen * self.valid


class ResidualCube:
    """A cube minus its sources, each an image times a spectrum.

    Sources are subtracted only in the parts that are read: a fit needs a small window of a cube of millions
    of voxels.

    Parameters
    ----------
    cube : array
        ``[chan, y, x]``; it is not changed.
    """

    def __init__(self, cube: Array32) -> None:
        self._cube = cube
        self._own = False
        self._pending: list[tuple[Array32, Array32]] = []

    def copy(self) -> ResidualCube:
        """An independent copy."""
        twin = ResidualCube(self._cube)
        twin._pending = list(self._pending)
        self._own = False
        return twin

    def subtract(self, image: Array32, spectrum: Array) -> None:
        """Subtract ``spectrum[:, None, None] * image``."""
        flux = spectrum.astype(np.float32)
        for k, (other, theirs) in enumerate(self._pending):
            if other is image and np.array_equal(theirs, -flux):
                del self._pending[k]
                return
        self._pending.append((image, flux))
        if len(self._pending) > PENDING:
            self.whole()

    def whole(self) -> Array32:
        """The whole residual, ``[chan, y, x]``; read-only."""
        if self._pending:
            if not self._own:
                self._cube, self._own = self._cube.copy(), True
            self._take_out(self._cube, slice(None), slice(None), slice(None))
            self._pending = []
        return self._cube

    def box(self, zs: slice, ys: slice, xs: slice) -> Array32:
        """A copy of a part.

        Parameters
        ----------
        zs, ys, xs : slice

        Returns
        -------
        array
            ``[chan, y, x]``
        """
        out = np.array(self._cube[zs, ys, xs])
        self._take_out(out, zs, ys, xs)
        return out

    def _take_out(self, out: Array32, zs: slice, ys: slice, xs: slice) -> None:
        for image, flux in self._pending:
            part = image[ys, xs]
            for k, value in enumerate(flux[zs]):
                if value != 0:
                    out[k] -= value * part


LINE_REACH = 3.5
"""Half width of a model along frequency, in standard deviations of its line."""
LINE_POWER = 0.2
"""Power of the sources over that of the noise above which a channel is not used to measure the noise's
correlation: models are wrong by a few per cent, and the remainder is correlated like the sources."""
CLEAR = 10.0
"""S/N above which an emitter and an absorber that overlap are told apart."""
BENDS = 0.5
"""What bends a continuum fitted through it, in units of the noise."""
SEEN = 0.5
"""Least response of the psf to a source, in units of that of a Gaussian beam: less is seen of what is wider
than the array's largest scale. The flux of such a fit has no bound, and it takes what belongs to others,
unless its S/N exceeds `CLEAR`."""
BEYOND = 0.5
"""Relative error of the modelled sidelobes of a source beyond the image's border."""


def line_channels(s: LineSource, n_chan: int) -> slice:
    """Channels that a source's model fills."""
    half = LINE_REACH * s.fwhm_z / FWHM_PER_SIGMA + 0.5
    return slice(max(0, int(np.floor(s.z - half))), min(n_chan, int(np.ceil(s.z + half)) + 1))


@dataclass
class Component:
    """A fitted source, and the model that was subtracted.

    Attributes
    ----------
    source : LineSource
        The fit.
    image : array
        The source at unit flux as observed, ``[y, x]``.
    sky, line : torch.Tensor
        Its response in the filter bank, see `FilterBank.response`.
    reach : torch.Tensor
        Largest response over the sky templates, ``[y', x']``; beyond the end of the psf, the possible level
        of its sidelobes over the search's `fidelity`.
    snr, template, reliability
        As detected, with the template of the filter bank.
    false_alarm : float, optional
        Expected noise peaks of this strength where it was looked for, if that was not the whole cube.
    continuum : tuple of float, optional
        Level and its error, where it was fitted with the line [Jy/beam].
    """

    source: LineSource
    image: Array32
    sky: torch.Tensor
    line: torch.Tensor
    reach: torch.Tensor
    snr: float = 0.0
    template: int = 0
    reliability: float = 0.0
    false_alarm: float | None = None
    effective_snr: float = 0.0
    continuum: tuple[float, float] | None = None


@dataclass
class Pursuit:
    """State of the search: data, filtered data, and the sources found so far.

    Parameters
    ----------
    data : ResidualCube
        Continuum-free cube of flat noise, ``[chan, y, x]``, blanks 0, minus the sources.
    sigma : array
        Rms of every channel, 0 where blank.
    bank : FilterBank
        Of the same cube.
    imager : SourceImager
        The psf.
    beam_pixels : float
        FWHM of the beam [pixel].
    fidelity : float
        Relative error of subtracted models.
    psf_error : float
        Standard error of the psf far from its peak.
    channels : ChannelCorrelation, optional
        Where the noise of the channels is correlated.
    taken : array of bool, optional
        Voxels of resolved galaxies, which are left out of the data, ``[chan, y, x]``.
    closed : torch.Tensor of bool, optional
        Voxels not used for the continuum: galaxies and their surroundings, ``[chan, y, x]``.
    components : list of Component
        The sources found so far.
    tell : callable
        Called with their number before each fit.
    """

    data: ResidualCube
    sigma: Float
    bank: FilterBank
    imager: SourceImager
    beam_pixels: float
    fidelity: float
    psf_error: float = 0.0
    channels: ChannelCorrelation | None = None
    taken: Bool | None = None
    closed: torch.Tensor | None = None
    components: list[Component] = field(default_factory=list)
    tell: Callable[[int], None] = lambda n: None

    @classmethod
    def for_fits(
        cls, data: ResidualCube, prepared: PreparedCube, imager: SourceImager, **details: Any
    ) -> Pursuit:
        """A pursuit for fits only, without a filter bank. See `Pursuit` for the arguments."""
        made = cls.__new__(cls)
        made.data, made.sigma, made.imager, made.channels = data, prepared.sigma, imager, prepared.channels
        made.beam_pixels, made.fidelity = prepared.beam_pixels, prepared.fidelity
        made.psf_error = prepared.psf_error
        made.taken = made.closed = None
        made.components, made.tell = [], lambda n: None
        made.__dict__.update(details)
        return made

    def __post_init__(self) -> None:
        self.peaks = Peaks(self.bank)
        self.around = torch.zeros_like(self.peaks.low)
        """What the uncertain surroundings of resolved galaxies add to `guard`."""
        self.guard = torch.zeros_like(self.peaks.low)
        self.far = torch.zeros_like(self.guard[:, 0, 0])

    def window_side(self, fwhm: float) -> int:
        """Side of the fit's window for a source of intrinsic `fwhm` [pixel]."""
        n = int(4.5 * np.hypot(self.beam_pixels, fwhm)) + 12
        return min(max(24, n + n % 2), 192)

    def fit(self, start: LineSource, own: Component | None = None) -> LineSource:
        """Fit one source, perhaps as a point, to the residual with `own` added back."""
        self.tell(len(self.components))
        n = self.window_side(start.axes()[0])
        half = int(max(8, 2.5 * start.fwhm_z))
        zs = slice(max(0, int(start.z) - half), min(self.sigma.size, int(start.z) + half + 1))
        ys, xs = (
            slice(max(0, round(v) - n), min(size, max(0, round(v)) + n))
            for v, size in zip((start.y, start.x), self.imager.shape)
        )
        box = self.data.box(zs, ys, xs)
        if own is not None:
            box += self.spectrum(own.source)[zs, None, None].astype(np.float32) * own.image[ys, xs]
        psf = self.imager.psf_at(start.x, start.y, start.z)
        z, at, origin = np.arange(zs.start, zs.stop), (start.x, start.y), (xs.start, ys.start)
        window = cut_group(box, z, self.sigma[zs], None, np.inf, psf, at, n, origin, True, self.channels)
        return point_or_not(window, start, size_scale=1.5 * self.beam_pixels)

    def voxel(self, s: LineSource) -> tuple[int, int, int]:
        """The filter bank's voxel that contains a source, or the nearest one."""
        where = (s.z, s.y / self.bank.step, s.x / self.bank.step)
        z, y, x = (int(np.clip(round(v), 0, n - 1)) for v, n in zip(where, self.bank.shape))
        return z, y, x

    def detection_snr(self, c: Component) -> float:
        """S/N of a subtracted source, as if it were alone in the data; sets its `template`.

        The maximum over neighbouring voxels is taken to sub-pixel accuracy by parabolas along x and y.
        """
        z, j, i = self.voxel(c.source)
        zs = slice(max(0, z - 2), z + 3)
        ys, xs = slice(max(0, j - 2), j + 3), slice(max(0, i - 2), i + 3)
        own = torch.einsum("tz,syx->stzyx", c.line[:, zs], c.sky[:, ys, xs]).flatten(0, 1)
        near = (self.bank.values(zs, ys, xs) + own).cpu().numpy() * np.sign(c.source.amplitude)
        k, kz, ky, kx = (int(v) for v in np.unravel_index(int(near.argmax()), near.shape))
        peak, c.template = float(near[k, kz, ky, kx]), k
        return peak + (_parabola(near[k, kz, :, kx], ky) + _parabola(near[k, kz, ky, :], kx))

    def spectrum(self, s: LineSource) -> Float:
        """Received line flux density of every channel, ``[chan]``; zero outside `line_channels`."""
        z = np.arange(self.sigma.size)
        out = np.zeros(z.size)
        span = line_channels(s, z.size)
        out[span] = s.amplitude * line_profile(z[span], s.z, s.fwhm_z)
        return out

    def over_noise(self, s: LineSource) -> Float:
        """`spectrum` over the rms of each channel, 0 where blank."""
        return np.where(self.sigma > 0, self.spectrum(s) / np.maximum(self.sigma, 1e-300), 0.0)

    def component(self, s: LineSource) -> Component:
        """A source with its image and responses, ready to be subtracted."""
        image = self.imager.image(s)
        sky, line = self.bank.response(image, self.over_noise(s))
        return Component(s, image, sky, line, self._reach(s, sky))

    def add(self, s: LineSource) -> Component:
        """Subtract a source from data and filter bank, and list it."""
        component = self.component(s)
        self._apply(component, 1.0)
        self.peaks.change(component.line, component.sky)
        self.components.append(component)
        return component

    def _reach(self, s: LineSource, sky: torch.Tensor) -> torch.Tensor:
        """See `Component.reach`; a psf as large as the image ends half an image away from a source."""
        reach = sky.abs().amax(0)
        if not self.imager.covers(s):
            reach = reach * (BEYOND / self.fidelity)
        # noise of a measured psf is not a sidelobe: see `_watch`
        reach = torch.where(reach < 5 * self.psf_error * float(reach.max()), 0.0, reach)
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
        self.peaks.change(component.line, component.sky)

    def exchange(self, old: Component, source: LineSource) -> Component:
        """Replace a subtracted source by a better model."""
        new = self.component(source)
        self._apply(old, -1.0)
        self._apply(new, 1.0)
        # only the small difference between the two changes
        self.peaks.change(new.line - old.line, old.sky)
        self.peaks.change(new.line, new.sky - old.sky)
        self.components = [c for c in self.components if c is not old] + [new]
        return new

    def subtract(self, c: Component, sign: float) -> None:
        """Subtract a source from the residual only; with ``sign`` -1 add it."""
        self.data.subtract(c.image, np.where(self.sigma > 0, sign * self.spectrum(c.source), 0.0))

    def _apply(self, c: Component, sign: float) -> None:
        self.subtract(c, sign)
        self.bank.subtract(c.sky, sign * self.over_noise(c.source))
        self._watch(c, sign)

    def _watch(self, c: Component, sign: float) -> None:
        strength = c.line.abs().amax(0)
        span = torch.nonzero(strength * float(c.reach.max()) > 0.1).flatten()
        if span.numel():
            zs = slice(int(span[0]), int(span[-1]) + 1)
            self.guard[zs].addcmul_(strength[zs, None, None], c.reach, value=sign).clamp_min_(0)
        if self.psf_error > 0:
            # errors from a psf's own noise add in quadrature
            power = (strength * (float(c.sky.abs().max()) * self.psf_error)).square()
            self.far.add_(power, alpha=sign).clamp_min_(0)

    def next_candidate(
        self, threshold: float, blocked: torch.Tensor
    ) -> tuple[LineSource, tuple[int, ...]] | None:
        """Strongest candidate above `threshold` outside `blocked`, as the start of a fit.

        The S/N is lowered where sources of many sigmas were subtracted.
        """
        doubt = (self.fidelity * self.guard).square_().add_(self.far[:, None, None])
        found = self.peaks.strongest(threshold, doubt, blocked)
        if found is None:
            return None
        z, j, i = found
        values = self.bank.values(slice(z, z + 1), slice(j, j + 1), slice(i, i + 1)).flatten()
        sign = 1.0 if float(values.max()) >= -float(values.min()) else -1.0
        fwhm, width = self.bank.template(int((sign * values).argmax()))
        side = max(fwhm, 0.35 * self.beam_pixels) / FWHM_PER_SIGMA
        step = self.bank.step
        start = LineSource(sign, i * step, j * step, side, 0.0, side, float(z), width, np.zeros((8, 8)))
        return start, found

    def run(
        self, threshold: float, *, max_sources: int = 500, blocked: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Find, fit and subtract until nothing above `threshold` remains.

        Parameters
        ----------
        threshold : float
            Lowest S/N.
        max_sources : int, optional
        blocked : torch.Tensor of bool, optional
            Voxels not to be tried; changed in place.

        Returns
        -------
        torch.Tensor of bool
            Voxels, ``[chan, y', x']``, where a candidate was tried and rejected.
        """
        if blocked is None:
            blocked = torch.zeros_like(self.guard, dtype=torch.bool)
        reach = max(1, int(0.5 * self.beam_pixels / self.bank.step))
        while len(self.components) < max_sources:
            found = self.next_candidate(threshold, blocked)
            if found is None:
                break
            start, (z, j, i) = found
            fitted = self.fit(start)
            most = 1.5 * np.hypot(self.beam_pixels, start.axes()[0])
            moved = np.hypot(fitted.x - start.x, fitted.y - start.y) > most
            if moved or not self._is_better(fitted, start) or self._contrary(fitted):
                far = ((z, 1), (j, reach), (i, reach))
                blocked[tuple(slice(max(0, k - n), k + n + 1) for k, n in far)] = True
                continue
            component = self.add(fitted)
            component.snr = self.detection_snr(component)
        return blocked

    def _contrary(self, s: LineSource) -> bool:
        """Whether a source overlaps one of opposite sign, and either is faint.

        Such a pair is hardly distinguishable from nothing: both would grow together.
        """
        for c in self.components:
            t = c.source
            if s.amplitude * t.amplitude > 0 or min(abs(s.fitted_snr), c.snr) > CLEAR:
                continue
            wide = 0.5 * sum(np.hypot(v.axes()[0], self.beam_pixels) for v in (s, t))
            if abs(s.z - t.z) < 0.5 * (s.fwhm_z + t.fwhm_z) and np.hypot(s.x - t.x, s.y - t.y) < wide:
                return True
        return False

    def _is_better(self, fitted: LineSource, before: LineSource) -> bool:
        """Whether a fit may stand for a source: of the same sign, and clear where it is resolved out."""
        major, minor, _ = np.square(fitted.axes()) / self.beam_pixels**2
        seen = fitted.norm * np.sqrt((1 + 2 * major) * (1 + 2 * minor)) > SEEN
        same = np.sign(fitted.amplitude) == np.sign(before.amplitude)
        return bool(same and (seen or abs(fitted.fitted_snr) > CLEAR))

    def refine(self, rounds: int = 1) -> None:
        """Fit every source again with all others subtracted, brightest first."""
        for _ in range(rounds):
            for c in sorted(self.components, key=lambda c: -c.snr):
                fitted = self.fit(c.source, c)
                if self._is_better(fitted, c.source):
                    c = self.exchange(c, fitted)
                c.snr = self.detection_snr(c)

    def lowered_snr(self, c: Component) -> float:
        """S/N of a source, lowered by what other subtracted sources may have left at its position."""
        z, j, i = self.voxel(c.source)
        own = float(c.line[:, z].abs().max() * c.reach[j, i])
        others = max(float(self.guard[z, j, i]) - own, 0.0)
        return c.snr / float(np.sqrt(1 + (self.fidelity * others) ** 2 + float(self.far[z])))

    def rescale(self, sigma: Float, continuum_fitted: bool) -> None:
        """Set the rms of every channel, ``[chan]``, to that without the sources.

        Sources keep their fits and get a new S/N, also for `FilterBank.set_continuum`.
        """
        used = (sigma > 0) & (self.sigma > 0)
        ratio = np.where(used, self.sigma / np.where(used, sigma, 1.0), 1.0)
        factor = torch.as_tensor(ratio, dtype=torch.float32, device=self.guard.device)
        self.sigma = sigma
        self.bank.sky *= factor[:, None, None]
        if continuum_fitted == self.bank.continuum_fitted:
            self.peaks.rescale(factor)
        else:
            self.bank.set_continuum(continuum_fitted)
            self.peaks = Peaks(self.bank)
        self.guard.copy_(self.around)
        self.far.zero_()
        for c in self.components:
            c.line = self.bank.line_response(self.over_noise(c.source))
            self._watch(c, 1.0)
        for c in self.components:
            c.snr = self.detection_snr(c)

    def shift(self, image: Array32, spectrum: Array) -> None:
        """Subtract from the filter bank an image times a spectrum that is not a source."""
        over_noise = np.where(self.sigma > 0, spectrum / np.maximum(self.sigma, 1e-300), 0.0)
        sky, line = self.bank.response(image, over_noise)
        self.bank.subtract(sky, over_noise)
        self.peaks.change(line, sky)

    def model(self) -> Array32:
        """Sum of all sources as observed, ``[chan, y, x]`` [Jy/beam]."""
        out = np.zeros((self.sigma.size, *self.imager.shape), dtype=np.float32)
        for c in self.components:
            spectrum = self.spectrum(c.source).astype(np.float32)
            for k in np.flatnonzero(spectrum):
                out[k] += spectrum[k] * c.image
        return out

    def _closed(self) -> torch.Tensor | None:
        """Where galaxies are, or sources so bright that their models' error would bend the continuum.

        Where there are galaxies, the cube is a restored one, and every source is left out. In a dirty cube
        sidelobes are everywhere: hardly a channel would stay.
        """
        bends = BENDS / self.fidelity if self.closed is None else BENDS
        limit = (bends * self.sigma).astype(np.float32)
        spectra = np.array([self.spectrum(c.source) for c in self.components]).astype(np.float32)
        tops = np.array([np.abs(c.image).max() for c in self.components])
        reached = np.flatnonzero((np.abs(spectra) * tops[:, None]).sum(0) > limit) if len(tops) else tops
        if not reached.size:
            return self.closed
        mask = np.zeros((self.sigma.size, *self.imager.shape), dtype=bool)
        for k in reached:
            plane = sum(f * c.image for f, c in zip(spectra[:, k], self.components) if f != 0)
            mask[k] = np.abs(plane) > limit[k]
        lines = torch.as_tensor(mask)
        return lines if self.closed is None else left_out(self.closed, lines)

    def continuum_left(self, prepared: PreparedCube) -> tuple[Continuum, Bool]:
        """The continuum of the data less the sources, and where there is any."""
        parts = [(self.spectrum(c.source), c.image) for c in self.components]
        # where bright lines were taken out, what their models cannot describe would pass for a continuum
        left = sum(
            float(np.abs(spectrum).mean())
            * modelled_reach(c.image, c.source.x, c.source.y, self.imager.psf.shape[1:], self.fidelity)
            for c, (spectrum, _) in zip(self.components, parts)
        )
        return prepared.find_continuum(self._closed(), parts, self.fidelity * left, self.closed is not None)

    def new_line_cube(self, prepared: PreparedCube) -> None:
        """Fit the continuum again to the data less the sources, and start the residual from it."""
        prepared.take_out(*self.continuum_left(prepared))
        line = prepared.line
        self.data = ResidualCube(line if self.taken is None else np.where(self.taken, np.float32(0), line))
        for c in self.components:
            self.subtract(c, 1.0)

    def measure_psf(self, prepared: PreparedCube) -> None:
        """Measure the psf from the noise again, without the sources, and restart the residual.

        The lines of bright sources widen the psf that `prepare_cube` measures by some per cent.
        """
        fit, model = self.continuum_left(prepared)[0], self.model()
        residual = subtract_continuum(prepared.data, fit, prepared.valid, self.sigma) - model
        power = np.square(model).mean(axis=(1, 2)) / np.where(self.sigma > 0, self.sigma, np.inf) ** 2
        least = np.sort(power[self.sigma > 0])[: 2 * LEAST_CHANNELS][-1]
        free = np.where(power <= max(LINE_POWER, least), self.sigma, 0.0)
        found = psf_from_noise(residual, free, prepared.valid, prepared.beam)
        if found is not None:
            prepared.psf = found[0][None]
            self.imager = SourceImager(prepared.psf, self.imager.shape, prepared.valid)
            for c in self.components:
                c.image = self.imager.image(c.source)
        self.new_line_cube(prepared)

    def refit(self, rounds: int) -> None:
        """Fit every source again, all others subtracted, without touching the filtered cubes."""
        for _ in range(rounds):
            for c in sorted(self.components, key=lambda c: -c.snr):
                fitted = self.fit(c.source, c)
                if self._is_better(fitted, c.source):
                    self.subtract(c, -1.0)
                    c.source, c.image = fitted, self.imager.image(fitted)
                    self.subtract(c, 1.0)


def modelled_reach(
    image: Array32, x: float, y: float, psf_shape: tuple[int, ...], fidelity: float, margin: float = 0.0
) -> Array32:
    """Size of a source's image; beyond the end of the psf, its sidelobes' level over the fidelity.

    A psf as large as the image ends half an image away from a source; sidelobes beyond are not modelled.

    Parameters
    ----------
    image : array
        Of the source, ``[y, x]``.
    x, y : float
        Its centre [pixel].
    psf_shape : tuple of int
    fidelity : float
    margin : float, optional
        Reach of the filter that the image was seen with [pixel].

    Returns
    -------
    array
        ``[y, x]``
    """
    out = np.abs(image)
    far_y = np.abs(np.arange(image.shape[0]) - y) / max(psf_shape[0] // 2 - margin, 1.0)
    far_x = np.abs(np.arange(image.shape[1]) - x) / max(psf_shape[1] // 2 - margin, 1.0)
    far = np.maximum(far_y[:, None], far_x[None, :])
    if far.max() > 1:
        ring = image[(far > 0.7) & (far <= 1)]
        out[far > 1] = (np.sqrt(np.mean(ring**2)) if ring.size else out.max()) / fidelity
    return out


def _parabola(values: Array, k: int) -> float:
    """How far the parabola through a maximum and its two neighbours rises above it."""
    if k == 0 or k == values.size - 1:
        return 0.0
    a, b, c = (float(v) for v in values[k - 1 : k + 2])
    curvature = 2 * b - a - c
    return (a - c) ** 2 / (8 * curvature) if curvature > 0 else 0.0
