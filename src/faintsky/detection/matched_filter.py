"""Separable 3-D matched-filter bank: sky Gaussians of several sizes times lines of several widths.

The noise of a naturally weighted dirty image is correlated like its psf, so the optimal filter for a source
of intrinsic shape ``g`` is ``g`` itself: whitening undoes exactly the effect of the psf (see `source_model`).
A point source therefore needs no smoothing, and the bank's sky templates are *intrinsic* Gaussians. Along
frequency the noise is white and the templates are Gaussian lines, minus the straight line that a continuum
fit subtracts: each gives the likelihood ratio of a line on a continuum against a continuum alone.

Only the cubes filtered on the sky are stored, one for each sky template. Filtering is linear and a source is
an image times a spectrum, so subtracting a source is an outer product. The line templates are applied only
where values are needed.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.fft import next_fast_len

from faintsky.arrays import Array, Bool, Float
from faintsky.preparing import ChannelCorrelation, precision
from faintsky.source_model import (
    frequencies_2d,
    gaussian_transform,
    line_profile,
    matched_norm,
    psf_transform,
)

SKY_SIZES = (0.0, 0.65, 1.2, 2.0, 3.2)
"""Intrinsic FWHM of the sky templates, in beams: no round Gaussian between loses more than 2 % of its S/N."""
LINE_WIDTHS = (2.0, 3.2, 5.0, 8.0, 13.0, 20.0)
"""FWHM of the line templates [channel]: no Gaussian line between loses more than 2 % of its S/N. A single
channel is not a template: it would double the number of noise peaks, and a line that narrow loses only a
tenth."""


BORDER = 1.5
"""Padding of the image, in FWHMs of the widest template. Beyond 2.5 the templates are below 1e-4 of the
brightest pixel, as far as narrow ones ring because their transforms end at the finest wave."""
BAND = 32
"""Channels that are filtered at once."""
BAND_REACH = 1.95
"""Reach of a line template to either side [FWHM]: 4.6 standard deviations."""
RINGING = 12
"""How many times farther templates reach where channels are correlated."""
COLUMNS = 4096
"""Pixels that are filtered at once."""
Band = tuple[slice, slice, torch.Tensor]
"""Channels out, channels in, and the rows of some templates, ``[template, out, in]``."""


def seen_widths(channels: ChannelCorrelation | None) -> Float:
    """`LINE_WIDTHS` after the smoothing of the spectra."""
    return np.hypot(LINE_WIDTHS, 0.0 if channels is None else channels.response)


def decimation(beam_pixels: float) -> int:
    """Step of the filter [pixel] for a beam of this width [pixel]: images have no finer detail."""
    return max(1, int(beam_pixels / 3.5))


class FilterBank:
    """All filtered versions of one line cube, in units of their own noise.

    Parameters
    ----------
    cube : torch.Tensor
        Continuum-free cube, flat in noise, over the rms of each channel: ``[chan, y, x]``, blanks 0.
    usable : array of bool
        Channels that hold data, ``[chan]``.
    psf : array
        Psf ``[y, x]``, peak 1 at ``(n_y // 2, n_x // 2)``.
    beam_pixels : float
        Geometric-mean FWHM of the beam [pixel].
    continuum_fitted : bool, optional
        Whether a straight line was subtracted from the spectra (of most pixels).
    sky_sizes : sequence of float, optional
        Intrinsic FWHM of the templates [beam].
    decimated : bool, optional
        Whether `cube` holds only every `step`-th pixel.
    channels : ChannelCorrelation, optional
        Where the noise of the channels is correlated: lines are then filtered by its inverse.

    Attributes
    ----------
    sky : torch.Tensor
        The cube filtered by every sky template, ``[size, chan, y', x']``, every `step`-th pixel.
    step : int
        Decimation of the image: dirty images have no finer detail than about a third of their beam.
    """

    def __init__(
        self,
        cube: torch.Tensor,
        usable: Bool,
        psf: Array,
        beam_pixels: float,
        *,
        continuum_fitted: bool = True,
        sky_sizes: Sequence[float] = SKY_SIZES,
        decimated: bool = False,
        channels: ChannelCorrelation | None = None,
    ) -> None:
        self.n_chan = cube.shape[0]
        self.device = cube.device
        self.usable = usable
        self.beam_pixels = beam_pixels
        self.step = decimation(beam_pixels)
        self.sky_fwhm = [s * beam_pixels for s in sky_sizes]
        self.channels = channels
        self.line_fwhm = [float(w) for w in seen_widths(channels) if w <= max(2.7, self.n_chan / 3)]
        transfer = psf_transform(psf)
        self.norms = [matched_norm(transfer, psf.shape[1], f, f, 0.0) for f in self.sky_fwhm]
        coarse = cube if decimated else cube[:, :: self.step, :: self.step]
        self._kernels = self._sky_kernels(coarse.shape[1:])
        self.set_continuum(continuum_fitted)
        self.sky = self._sky_filtered(coarse)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, and pixels along y' and x'."""
        _, n_chan, n_y, n_x = self.sky.shape
        return n_chan, n_y, n_x

    def set_continuum(self, fitted: bool) -> None:
        """Set whether a straight line was subtracted from the spectra, and so from the templates."""
        self.continuum_fitted = fitted
        self._rows, self._straight, self._bands = self._line_rows(fitted)

    def _sky_kernels(self, shape: torch.Size | tuple[int, ...]) -> list[torch.Tensor | None]:
        """Transfer function of every sky template on the padded, decimated grid; None for a point."""
        margin = int(BORDER * max(self.sky_fwhm) / self.step) + 1
        self._padded = tuple(next_fast_len(n + margin, real=True) for n in shape)
        fx, fy = frequencies_2d(*self._padded)
        kernels: list[torch.Tensor | None] = []
        for fwhm, norm in zip(self.sky_fwhm, self.norms):
            if fwhm == 0:
                kernels.append(None)
                continue
            f = fwhm / self.step
            g = gaussian_transform(fx, fy, 0.0, 0.0, f, f, 0.0).real / np.sqrt(norm)
            kernels.append(torch.as_tensor(g, dtype=torch.float32, device=self.device))
        return kernels

    def _line_rows(self, continuum_fitted: bool) -> tuple[torch.Tensor, torch.Tensor | None, list[Band]]:
        """The line templates.

        Returns
        -------
        rows : torch.Tensor
            ``[template, chan out, chan in]``, of unit noise over the usable channels.
        straight : torch.Tensor or None
            Orthonormal constant and slope ``[chan, 2]`` that all templates exclude.
        bands : list of Band
            The same rows, for spectra without `straight`.
        """
        z = np.arange(self.n_chan)
        usable = self.usable.astype(float)
        base = np.stack([usable, usable * (z - z.mean())])[: 2 if usable.sum() > 2 else 1]
        q, _ = np.linalg.qr(base.T)
        rows, bare = [], []
        unit = None if self.channels is None else precision(usable, self.channels, z)
        for width in self.line_fwhm:
            k = line_profile(z[None, :], z[:, None], width) * usable
            if unit is not None:
                k = k @ unit
            less = k - (k @ q) @ q.T if continuum_fitted else k
            power = less * less if self.channels is None else less * (less @ self.channels.matrix)
            scale = usable[:, None] / np.sqrt(np.maximum(power.sum(1, keepdims=True), 1e-12))
            rows.append(less * scale)
            bare.append(k * scale)

        def tensor(a: Float) -> torch.Tensor:
            return torch.as_tensor(a, dtype=torch.float32, device=self.device)

        bands = []
        for i in range(0, len(bare), 2):
            reach = int(np.ceil(BAND_REACH * self.line_fwhm[min(i + 1, len(bare) - 1)]))
            # the inverse of a correlation rings
            reach += 0 if self.channels is None else RINGING
            for first in range(0, self.n_chan, BAND):
                out = slice(first, min(first + BAND, self.n_chan))
                seen = slice(max(0, first - reach), min(self.n_chan, out.stop + reach))
                bands.append((out, seen, tensor(np.stack([k[out, seen] for k in bare[i : i + 2]]))))
        return tensor(np.stack(rows)), tensor(q) if continuum_fitted else None, bands

    def _sky_filtered(self, images: torch.Tensor) -> torch.Tensor:
        """``[n, y', x']`` filtered by every sky template, in units of the noise, ``[size, n, y', x']``."""
        n_y, n_x = images.shape[1:]
        out = torch.empty((len(self._kernels), *images.shape), device=self.device)
        for part in torch.arange(len(images)).split(16):
            span = slice(int(part[0]), int(part[-1]) + 1)
            transform = None
            for s, kernel in enumerate(self._kernels):
                if kernel is None:
                    out[s, span] = images[span]
                    continue
                if transform is None:
                    transform = torch.fft.rfft2(images[span], s=self._padded)
                out[s, span] = torch.fft.irfft2(transform * kernel, s=self._padded)[:, :n_y, :n_x]
        return out

    def template(self, index: int) -> tuple[float, float]:
        """Intrinsic FWHM [pixel] and line FWHM [channel] of a template."""
        s, t = divmod(index, len(self.line_fwhm))
        return self.sky_fwhm[s], self.line_fwhm[t]

    def response(self, image: Array, spectrum: Array) -> tuple[torch.Tensor, torch.Tensor]:
        """Response of the bank to a source, as sky parts ``[s, y', x']`` and line parts ``[t, chan]``.

        Parameters
        ----------
        image : array
            The source as observed, ``[y, x]``.
        spectrum : array
            Its spectrum over the rms of each channel, ``[chan]``.
        """
        coarse = torch.as_tensor(
            np.ascontiguousarray(image[:: self.step, :: self.step]), dtype=torch.float32, device=self.device
        )
        return self._sky_filtered(coarse[None])[:, 0], self.line_response(spectrum)

    def line_response(self, spectrum: Array) -> torch.Tensor:
        """The line parts of `response`."""
        return self._rows @ torch.as_tensor(spectrum, dtype=torch.float32, device=self.device)

    def subtract(self, sky: torch.Tensor, spectrum: Array) -> None:
        """Subtract a source, given by its sky `response` and its `spectrum` over the rms, from the data."""
        filled = np.flatnonzero(spectrum)
        if filled.size == 0:
            return
        span = slice(int(filled[0]), int(filled[-1]) + 1)
        line = torch.as_tensor(spectrum[span], dtype=torch.float32, device=self.device)
        for cube, image in zip(self.sky, sky):
            cube[span].addcmul_(line[:, None, None], image, value=-1.0)

    def values(
        self, zs: slice = slice(None), ys: slice = slice(None), xs: slice = slice(None)
    ) -> torch.Tensor:
        """S/N of every template in a box.

        Parameters
        ----------
        zs, ys, xs : slice, optional
            The box; the whole by default.

        Returns
        -------
        torch.Tensor
            ``[template, chan, y', x']``; template ``s * n_lines + t``.
        """
        box = self.sky[:, None, :, ys, xs]
        out = self._rows[:, zs] @ box.flatten(3)
        return out.view(-1, out.shape[2], *box.shape[3:])

    def extremes(
        self, channels: slice = slice(None), columns: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Largest and smallest value over the templates.

        Parameters
        ----------
        channels : slice, optional
            Channels; all by default.
        columns : torch.Tensor, optional
            Indices of pixels, ``y' * n_x + x'``; all by default.

        Returns
        -------
        high, low : torch.Tensor
            ``[chan, y', x']`` each, or ``[chan, n]`` for given columns.
        """
        data = self.sky.flatten(2)
        n = data.shape[2] if columns is None else columns.numel()
        start, stop, _ = channels.indices(self.n_chan)
        bands = [b for b in self._bands if b[0].start < stop and b[0].stop > start]
        first, last = (bands[0][0].start, max(b[0].stop for b in bands)) if bands else (start, stop)
        high, low = torch.empty((2, last - first, n), device=self.device)
        # in chunks, so that what is compared stays in the processor's cache
        for at in range(0, n, COLUMNS):
            part = slice(at, min(at + COLUMNS, n))
            top = torch.full((last - first, part.stop - at), -torch.inf, device=self.device)
            bottom = -top
            for cube in data:
                seen = cube[:, part] if columns is None else cube.index_select(1, columns[part])
                if self._straight is not None:
                    seen = seen - self._straight @ (self._straight.T @ seen)
                for out, needs, rows in bands:
                    place = slice(out.start - first, out.stop - first)
                    for one in (rows.flatten(0, 1) @ seen[needs]).view(*rows.shape[:2], -1):
                        torch.maximum(top[place], one, out=top[place])
                        torch.minimum(bottom[place], one, out=bottom[place])
            high[:, part], low[:, part] = top, bottom
        kept = slice(start - first, stop - first)
        shape = (stop - start, *self.sky.shape[2:]) if columns is None else (stop - start, n)
        return high[kept].reshape(shape), low[kept].reshape(shape)


CLOSE = 0.02
"""Change of a value, in standard deviations, that does not matter."""
SPREAD = 8
"""Channels to either side that contain much of a line template."""
CHANNELS = 8
"""Number compared at a time, so that the values stay in the processor's cache."""
AT_ONCE = 20_000
"""Voxels that are calculated at once, the most promising first."""


class Peaks:
    """Largest and smallest value over the templates of a filter bank, at every voxel.

    Parameters
    ----------
    bank : FilterBank
        Every change of it is reported to `change`.

    Attributes
    ----------
    high, low : torch.Tensor
        Largest absolute value, and smallest value, ``[chan, y', x']``.
    slack : torch.Tensor
        Possible change since they were calculated.
    """

    def __init__(self, bank: FilterBank) -> None:
        self.bank = bank
        high, self.low = bank.extremes()
        self.high = torch.maximum(high, -self.low, out=high)
        self.slack = torch.zeros_like(self.high)

    def change(self, line: torch.Tensor, sky: torch.Tensor) -> None:
        """Note that a response ``line[t, chan]`` times ``sky[s, y', x']`` was added or subtracted."""
        strength, image = line.abs().amax(0), sky.abs().amax(0)
        touched = torch.nonzero(strength * image.max() > CLOSE / 2).flatten()
        if touched.numel():
            span = slice(int(touched[0]), int(touched[-1]) + 1)
            self.slack[span].addcmul_(strength[span, None, None], image)

    def rescale(self, factor: torch.Tensor) -> None:
        """Note that the data of each channel were multiplied by a factor, ``[chan]``.

        The factors may differ over the channels of a line: the result is uncertain by this difference times
        the values and their noise.
        """
        near = torch.nn.functional.pad(factor[None], (SPREAD, SPREAD), mode="replicate")[0]
        near = near.unfold(0, 2 * SPREAD + 1, 1)
        doubt = (near / factor[:, None] - 1).abs().amax(1)[:, None, None]
        self.high *= factor[:, None, None]
        self.low *= factor[:, None, None]
        self.slack.mul_(factor[:, None, None]).add_(doubt * (self.high + 4))

    def strongest(
        self, threshold: float, guard: torch.Tensor, blocked: torch.Tensor
    ) -> tuple[int, int, int] | None:
        """The highest voxel, by its absolute value over ``sqrt(1 + guard)``.

        Parameters
        ----------
        threshold : float
            Least value.
        guard : torch.Tensor
            Variance that is added to the noise's, ``[chan, y', x']``.
        blocked : torch.Tensor of bool
            Voxels to skip.

        Returns
        -------
        tuple of int or None
            Indices of the voxel; None where nothing reaches `threshold`.
        """
        place = self._where(lambda z: self.high[z] + self.slack[z] >= threshold)
        place = place[~blocked.flatten()[place]]
        scale = torch.sqrt(1 + guard.flatten()[place])
        while place.numel():
            slack = self.slack.flatten()[place]
            value = (self.high.flatten()[place] + slack) / scale
            known = slack <= CLOSE
            best = max(threshold, float(torch.where(known, value, 0.0).max()))
            open_ = torch.nonzero(~known & (value >= best)).flatten()
            if open_.numel() == 0:
                if not bool((known & (value >= threshold)).any()):
                    return None
                first = int(place[int(torch.where(known, value, 0.0).argmax())])
                z, rest = divmod(first, self.high[0].numel())
                return (z, *divmod(rest, self.high.shape[2]))
            if open_.numel() > AT_ONCE:
                open_ = open_[value[open_].topk(AT_ONCE).indices]
            self._settle(place[open_])
        return None

    def lows_below(self, level: float, where: torch.Tensor) -> torch.Tensor:
        """`low`, exact wherever it is below `level`, at voxels where ``where[chan, y', x']`` is true."""
        stale = self._where(
            lambda z: (self.low[z] - self.slack[z] < level) & (self.slack[z] > CLOSE) & where[z]
        )
        if stale.numel():
            self._settle(stale)
        return self.low

    def _where(self, condition: Callable[[slice], torch.Tensor]) -> torch.Tensor:
        """Flat indices where a condition holds, which is evaluated for some channels at a time."""
        n_chan, n = len(self.high), self.high[0].numel()
        spans = [slice(k, min(k + CHANNELS, n_chan)) for k in range(0, n_chan, CHANNELS)]
        return torch.cat([torch.nonzero(condition(z).flatten()).flatten() + z.start * n for z in spans])

    def _settle(self, places: torch.Tensor) -> None:
        """Recalculate the values at flat indices, and in all channels between them."""
        n = self.high[0].numel()
        z = torch.div(places, n, rounding_mode="floor")
        span = slice(int(z.min()), int(z.max()) + 1)
        columns = torch.unique(places % n)
        if columns.numel() > 0.6 * n:
            high, low = self.bank.extremes(span)
            self.high[span], self.low[span] = torch.maximum(high, -low), low
            self.slack[span] = 0
            return
        high, low = self.bank.extremes(span, columns)
        for target, values in ((self.high, torch.maximum(high, -low)), (self.low, low)):
            target[span].flatten(1)[:, columns] = values
        self.slack[span].flatten(1)[:, columns] = 0
