"""Separable 3-D matched-filter bank: sky Gaussians of several sizes times lines of several widths.

The noise of a naturally weighted dirty image is correlated like its psf, so the optimal filter for a source
of intrinsic shape ``g`` is ``g`` itself: whitening undoes just what the psf did (see `source_model`). A point
source therefore needs no smoothing at all, and the bank's sky templates are *intrinsic* Gaussians. Along
frequency the noise is white and the templates are Gaussian lines, less the straight line that a continuum
fit takes from them: each is the likelihood ratio of a line upon a continuum against a continuum alone.

Filtering is linear and a source is an image times a spectrum, so that subtracting a source from all
filtered cubes is one outer product each, and no cube is ever filtered twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len

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
"""FWHM of the line templates [channel]: no Gaussian line between loses more than 2 % of its S/N. One channel
alone is left out: it would double the number of noise peaks, and a line that narrow loses only a tenth."""


def decimation(beam_pixels: float) -> int:
    """Every how many pixels a beam of so many pixels is filtered: its images hold no finer detail."""
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
        Whether a straight line was taken out of the spectra (of most pixels).
    sky_sizes, line_widths : sequence of float, optional
        Templates: intrinsic FWHM [beam] and line FWHM [channel].

    Attributes
    ----------
    maps : torch.Tensor
        ``[template, chan, y', x']``, every `step`-th pixel; template ``s * n_lines + t``.
    step : int
        Decimation of the image: dirty images hold no finer detail than about a third of their beam.
    """

    def __init__(
        self,
        cube: torch.Tensor,
        usable: NDArray[np.bool_],
        psf: NDArray[np.floating],
        beam_pixels: float,
        *,
        continuum_fitted: bool = True,
        sky_sizes: Sequence[float] = SKY_SIZES,
        line_widths: Sequence[float] = LINE_WIDTHS,
    ) -> None:
        self.n_chan, self.n_y, self.n_x = cube.shape
        self.device = cube.device
        self.usable = usable
        self.beam_pixels = beam_pixels
        self.step = max(1, int(beam_pixels / 3.5))
        self.sky_fwhm = [s * beam_pixels for s in sky_sizes]
        self.line_fwhm = [w for w in line_widths if w <= max(2.0, self.n_chan / 3)]
        transfer = psf_transform(psf)
        self.norms = [matched_norm(transfer, psf.shape[1], f, f, 0.0) for f in self.sky_fwhm]
        coarse = cube[:, :: self.step, :: self.step]
        self._kernels = self._sky_kernels(coarse.shape[1:])
        self._rows = self._line_rows(continuum_fitted)
        sky = self._sky_filtered(coarse)
        self.maps = torch.empty(
            (len(self.sky_fwhm) * len(self.line_fwhm), self.n_chan, *coarse.shape[1:]), device=self.device
        )
        for s, filtered in enumerate(sky):
            for t, rows in enumerate(self._rows):
                self.maps[s * len(self.line_fwhm) + t] = (rows @ filtered.flatten(1)).view_as(filtered)

    def _sky_kernels(self, shape: torch.Size | tuple[int, ...]) -> list[torch.Tensor | None]:
        """Transfer function of every sky template on the padded, decimated grid; None for a point."""
        margin = int(1.5 * max(self.sky_fwhm) / self.step) + 1
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

    def _line_rows(self, continuum_fitted: bool) -> list[torch.Tensor]:
        """Matrices ``[chan out, chan in]`` of the line templates, rows of unit norm over usable channels."""
        z = np.arange(self.n_chan)
        usable = self.usable.astype(float)
        base = np.stack([usable, usable * (z - z.mean())])[: 2 if usable.sum() > 2 else 1]
        q, _ = np.linalg.qr(base.T)
        rows = []
        for width in self.line_fwhm:
            k = line_profile(z[None, :], z[:, None], width) * usable
            if continuum_fitted:
                k -= (k @ q) @ q.T
            k /= np.sqrt(np.maximum((k**2).sum(1, keepdims=True), 1e-12))
            k[~self.usable] = 0
            rows.append(torch.as_tensor(k, dtype=torch.float32, device=self.device))
        return rows

    def _sky_filtered(self, images: torch.Tensor) -> list[torch.Tensor]:
        """``[n, y', x']`` filtered by every sky template, in units of the noise."""
        out: list[torch.Tensor] = []
        transform = None
        for kernel in self._kernels:
            if kernel is None:
                out.append(images)
                continue
            if transform is None:
                transform = torch.fft.rfft2(images, s=self._padded)
            full = torch.fft.irfft2(transform * kernel, s=self._padded)
            out.append(full[:, : images.shape[1], : images.shape[2]].contiguous())
        return out

    def template(self, index: int) -> tuple[float, float]:
        """Intrinsic FWHM [pixel] and line FWHM [channel] of a template."""
        s, t = divmod(index, len(self.line_fwhm))
        return self.sky_fwhm[s], self.line_fwhm[t]

    def response(
        self, image: NDArray[np.floating], spectrum: NDArray[np.floating]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Response of the bank to a source, as sky parts ``[s, y', x']`` and line parts ``[t, chan]``.

        Parameters
        ----------
        image : array
            The source as observed (psf and all), ``[y, x]``.
        spectrum : array
            Its spectrum over the rms of each channel, ``[chan]``.
        """
        coarse = torch.as_tensor(
            np.ascontiguousarray(image[:: self.step, :: self.step]), dtype=torch.float32, device=self.device
        )
        sky = torch.stack([f[0] for f in self._sky_filtered(coarse[None])])
        line = torch.as_tensor(spectrum, dtype=torch.float32, device=self.device)
        return sky, torch.stack([rows @ line for rows in self._rows])

    def subtract(self, sky: torch.Tensor, line: torch.Tensor, *, floor: float = 0.1) -> slice:
        """Take a source's `response` out of all maps; return the channels that changed.

        Channels in which it is nowhere above `floor` standard deviations are left as they are.
        """
        strength = line.abs().amax(0) * sky.abs().max()
        touched = torch.nonzero(strength > floor).flatten()
        if touched.numel() == 0:
            return slice(0, 0)
        span = slice(int(touched[0]), int(touched[-1]) + 1)
        n_t = len(self.line_fwhm)
        for s in range(len(self.sky_fwhm)):
            for t in range(n_t):
                self.maps[s * n_t + t, span].addcmul_(line[t, span, None, None], sky[s], value=-1.0)
        return span

    def extremes(self, channels: slice = slice(None)) -> tuple[torch.Tensor, torch.Tensor]:
        """Largest and smallest value over the templates, ``[chan, y', x']`` each."""
        maps = self.maps[:, channels]
        high, low = maps[0].clone(), maps[0].clone()
        # a template at a time is read in the order of memory: several times faster than a maximum over them
        for one in maps[1:]:
            torch.maximum(high, one, out=high)
            torch.minimum(low, one, out=low)
        return high, low
