"""Dirty images: what the psf does to a sky of the clean beam's resolution, and major cycles that undo it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft, ifft, irfft, next_fast_len, rfft, rfft2

from faintsky.preparing import gaussian_psf

EPSILON = 0.01
"""Fraction of the clean beam's transform below which spatial frequencies count as unmeasured."""
CYCLES, SETTLED, GROWTH = 8, 0.3, 1.5
"""Major cycles at most; the change of the image, in rms, at which they end; the residual's growth over the
least one at which they are given up."""
SHORTEN = 1.2
"""Steps at spatial frequencies where the dirty image is R times the sky are this over R, and at most 1: of
bright emission, which a denoiser leaves as it is, a fifth is left to the next cycle, of noise nothing."""


class Response:
    """A dirty image of the sky given at the clean beam's resolution: ``D = R * x``.

    With the sky convolved with the clean beam ``b``, ``x = b * s``, and the dirty image ``D = psf * s``, the
    transform of R is ``psf / b``, regularised where the clean beam resolves nothing:
    ``psf b / (b**2 + (epsilon b_0)**2)`` (Wiener's form).

    Parameters
    ----------
    shape : tuple of int
        ``(n_y, n_x)`` of the image.
    psf : array
        Dirty beam ``[y, x]``, 1 at ``(n_y // 2, n_x // 2)``.
    beam : tuple of float
        Clean beam: FWHMs [pixel] and position angle [deg].

    Attributes
    ----------
    whole : bool
        Whether the psf reaches from any pixel of the image to any other.
    """

    def __init__(
        self, shape: tuple[int, int], psf: NDArray[np.floating], beam: tuple[float, float, float]
    ) -> None:
        self._shape = shape
        centre = psf.shape[0] // 2, psf.shape[1] // 2
        reach = [min(c, n - 1) for c, n in zip(centre, shape)]
        self.whole = all(r >= n - 2 for r, n in zip(reach, shape))
        # room beyond the borders for all of the psf that reaches from pixel to pixel: nothing wraps round
        self._padded = tuple(next_fast_len(n + r, real=True) for n, r in zip(shape, reach))
        near = psf[tuple(slice(c - r, c + r + 1) for c, r in zip(centre, reach))]
        reach = [min(r, int(4 * beam[0]) + 1) for r in reach]
        clean = self._transform(gaussian_psf((2 * reach[0] + 1, 2 * reach[1] + 1), *beam))
        floor = EPSILON * clean.max()
        ratio = self._transform(near) * clean / (clean**2 + floor**2)
        # in single precision, which halves the time
        self._ratio = ratio.astype(np.float32)
        held = clean**2 / (clean**2 + floor**2)
        self._step = (held * np.minimum(1.0, SHORTEN / np.maximum(ratio, 1e-6))).astype(np.float32)

    def _transform(self, kernel: NDArray[np.floating]) -> NDArray[np.float64]:
        """Real transform of a kernel that is even about its middle pixel."""
        full = np.zeros(self._padded)
        full[np.ix_(*(np.arange(-(n // 2), n - n // 2) for n in kernel.shape))] = kernel
        return np.asarray(rfft2(full).real)

    def __call__(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """The dirty image of ``x``, ``[y, x]``."""
        return self._filtered(x, self._ratio)

    def tempered(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """``x`` with spatial frequencies turned down that the dirty image exaggerates, or the beam lacks."""
        return self._filtered(x, self._step)

    def _filtered(self, x: NDArray[np.floating], factor: NDArray[np.float32]) -> NDArray[np.float32]:
        (n_y, n_x), (p_y, p_x) = self._shape, self._padded
        # the rows beyond the image are empty before, and not asked for after
        modes = fft(rfft(np.asarray(x, dtype=np.float32), p_x, axis=1), p_y, axis=0, overwrite_x=True)
        modes *= factor
        rows = ifft(modes, axis=0, overwrite_x=True)[:n_y]
        return np.ascontiguousarray(irfft(rows, p_x, axis=1)[:, :n_x], dtype=np.float32)


@dataclass(frozen=True)
class Cleaned:
    """Result of `major_cycles`.

    Attributes
    ----------
    image : array
        The last estimate plus residual, ``[y, x]``: sky at the clean beam's resolution, plus noise.
    residual : array
        Dirty image less the last estimate as the psf shows it.
    model : array
        The last estimate.
    cycles : int
        How many it took.
    settled : bool
        Whether the last one changed next to nothing.
    diverged : bool
        Whether it was stopped because residuals grew; then it is the one with the least.
    """

    image: NDArray[np.float32]
    residual: NDArray[np.float32]
    model: NDArray[np.float32]
    cycles: int
    settled: bool
    diverged: bool = False


def major_cycles(
    dirty: NDArray[np.float32],
    valid: NDArray[np.bool_],
    response: Response,
    denoised: Callable[[NDArray[np.float32], NDArray[np.float32]], tuple[NDArray[np.float32], float]],
    *,
    start: Cleaned | None = None,
    most: int = CYCLES,
    progress: Callable[[int, int], None] | None = None,
) -> Cleaned:
    """Take the sidelobes out of a dirty image, as CLEAN's major cycles do, with a denoiser for minor cycles.

    ``y = x + (D - R * x)``, ``x = denoised(y)``, until x settles: what is left to settle is
    ``x = denoised(x + D - R * x)``. At spatial frequencies that the psf exaggerates (``R > SHORTEN``) the
    steps are shortened, which leaves the solution as it is and keeps the iteration stable. Where the beam
    holds nothing there are none: no data would call x back from there. A denoiser that takes sidelobes for
    emission could still drive it apart: where the residual grows, the least one is returned.

    Parameters
    ----------
    dirty : array
        ``[y, x]``, 0 where blank.
    valid : array of bool
        Pixels that hold data.
    response : Response
        Of the psf.
    denoised : callable
        Takes an image with part of its sidelobes and the residual of that cycle, and returns the sky's
        estimate and the typical rms.
    start : Cleaned, optional
        What cycles with another denoiser made of the image.
    most : int, optional
        Cycles at most.
    progress : callable, optional
        Called with cycles done and cycles at most.
    """
    start = start or Cleaned(dirty, dirty, np.zeros_like(dirty), 0, False)
    now = replace(start, cycles=0, settled=False, diverged=False)
    best, least = replace(now, diverged=True), float(now.residual[valid].std())
    while now.cycles < most and not now.settled:
        estimate, rms = denoised(now.image, now.residual)
        change = np.where(valid, response.tempered(np.where(valid, estimate - now.model, 0)), np.float32(0))
        x = now.model + change
        residual = np.where(valid, dirty - response(x), np.float32(0))
        settled = bool(np.quantile(np.abs(change[valid]), 0.999) < SETTLED * rms)
        now = Cleaned(x + residual, residual, x, now.cycles + 1, settled)
        left = float(residual[valid].std())
        if not left < GROWTH * least:
            return best
        if left < least:
            best, least = replace(now, settled=False, diverged=True), left
        if progress is not None:
            progress(now.cycles, most)
    return now
