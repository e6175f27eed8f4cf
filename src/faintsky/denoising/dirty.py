"""Dirty images: the psf's effect on a sky of the clean beam's resolution, and major cycles that undo it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.fft import fft, ifft, irfft, next_fast_len, rfft, rfft2
from scipy.ndimage import maximum_filter, uniform_filter

from faintsky.arrays import Array, Array32, Bool, Float
from faintsky.preparing import gaussian_psf, robust_sigma

EPSILON = 0.01
"""Fraction of the clean beam's transform below which spatial frequencies count as unmeasured."""
CYCLES = 8
"""Most major cycles."""
SETTLED = 0.3
"""Change of the image at which the cycles end, over its noise."""
GROWTH = 1.5
"""Residual over the least one at which the cycles are given up."""
FALLS = 0.005
"""Fraction by which a cycle has to lower the residual where there have been enough."""
SHORTEN = 1.2
"""Steps at spatial frequencies where the dirty image is R times the sky are this over R, at most 1: a fifth
of bright emission, which a denoiser does not change, remains for the next cycle, and no noise."""

OUTER = 0.7
"""Fraction of its reach beyond which a psf is like the part of it that was cut off."""
MISSED = 0.35
"""Noise that the sidelobes of that part make in faint pixels, over what they would if they reached each pixel
with random signs: 0.3 to 0.45 in simulated fields of wide emission, 0.1 to 0.2 in those of points."""


class Response:
    """A dirty image of the sky given at the clean beam's resolution: ``D = R * x``.

    With the sky convolved with the clean beam ``b``, ``x = b * s``, and the dirty image ``D = psf * s``, the
    transform of R is ``psf / b``, regularised at spatial frequencies that the clean beam does not resolve:
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

    def __init__(self, shape: tuple[int, int], psf: Array, beam: tuple[float, float, float]) -> None:
        self._shape, self.width = shape, float(np.sqrt(beam[0] * beam[1]))
        centre = psf.shape[0] // 2, psf.shape[1] // 2
        reach = [min(c, n - 1) for c, n in zip(centre, shape)]
        self.whole = all(r >= n - 2 for r, n in zip(reach, shape))
        # enough padding for the psf to reach from any pixel to any other without wrapping around
        self._padded = tuple(next_fast_len(n + r, real=True) for n, r in zip(shape, reach))
        near = psf[tuple(slice(c - r, c + r + 1) for c, r in zip(centre, reach))]
        y, x = (np.abs(np.arange(n) - r) for n, r in zip(near.shape, reach))
        outer = np.maximum(y[:, None] / max(reach[0], 1), x / max(reach[1], 1)) > OUTER
        self._outer = 0.0 if self.whole else float(near[outer].std())
        reach = [min(r, int(4 * beam[0]) + 1) for r in reach]
        clean = self._transform(gaussian_psf((2 * reach[0] + 1, 2 * reach[1] + 1), *beam))
        self._beam = clean.astype(np.float32)
        floor = EPSILON * clean.max()
        ratio = self._transform(near) * clean / (clean**2 + floor**2)
        # single precision halves the time
        self._ratio, self._psf = ratio.astype(np.float32), self._transform(near).astype(np.float32)
        held = clean**2 / (clean**2 + floor**2)
        self._step = (held * np.minimum(1.0, SHORTEN / np.maximum(ratio, 1e-6))).astype(np.float32)
        self._known = (ratio > 0).astype(np.float32)

    def _transform(self, kernel: Array) -> Float:
        """Real transform of a kernel that is symmetric around its middle pixel."""
        full = np.zeros(self._padded)
        full[np.ix_(*(np.arange(-(n // 2), n - n // 2) for n in kernel.shape))] = kernel
        return np.asarray(rfft2(full).real)

    def __call__(self, x: Array) -> Array32:
        """The dirty image of ``x``, ``[y, x]``."""
        return self._filtered(x, self._ratio)

    def observed(self, sky: Array) -> Array32:
        """The dirty image of a sky without beam."""
        return self._filtered(sky, self._psf)

    def restored(self, sky: Array) -> Array32:
        """A sky at the clean beam's resolution."""
        return self._filtered(sky, self._beam)

    def tempered(self, x: Array) -> Array32:
        """``x`` with spatial frequencies damped that the dirty image amplifies, or the beam lacks."""
        return self._filtered(x, self._step)

    def known(self, residual: Array) -> Array32:
        """A residual without the spatial frequencies at which a cut psf has a negative transform.

        No whole psf has any: there the dirty image says nothing of the sky, and its cycles would diverge.
        """
        return self._filtered(residual, self._known)

    def missed(self, x: Array, beam_area: float) -> float:
        """Noise from distant sidelobes of a sky ``x``, if the psf was cut off; ``beam_area`` in pixels."""
        return MISSED * self._outer * float(np.sqrt(np.sum(np.maximum(x, 0) ** 2) / beam_area))

    def _filtered(self, x: Array, factor: Array32) -> Array32:
        (n_y, n_x), (p_y, p_x) = self._shape, self._padded
        # skip the padded rows: empty before, not needed after
        modes = fft(rfft(np.asarray(x, dtype=np.float32), p_x, axis=1), p_y, axis=0, overwrite_x=True)
        modes *= factor
        rows = ifft(modes, axis=0, overwrite_x=True)[:n_y]
        return np.ascontiguousarray(irfft(rows, p_x, axis=1)[:, :n_x], dtype=np.float32)


BRIGHT = 5.0
"""S/N over the surroundings down to which `clean_bright` goes; sidelobes count as noise."""
DEPTH = 0.4
"""It goes down to this times the peak in a cycle."""
GAIN, TOP = 0.6, 3
"""What it takes of a pixel that is the highest in a square of so many."""
CLEANS = 20
"""Most of its cycles."""
WIDE = 4.0
"""Side of the squares of the two averages over which emission is wide, and left to other methods [beam]."""
MANY = 500_000
"""Most pixels from which the noise is measured."""


def clean_bright(dirty: Array32, valid: Bool, response: Response) -> tuple[Array32, Array32]:
    """CLEAN the bright compact emission: Högbom (1974, A&AS 15, 417), all maxima of a cycle at once.

    They are those of the residual less its surroundings; it ends where the residual no longer falls.

    Parameters
    ----------
    dirty : array
        ``[y, x]``, 0 where blank.
    valid : array of bool
        Pixels that hold data.
    response : Response
        Of the psf.

    Returns
    -------
    model, residual : array
        The components at the clean beam's resolution, and the dirty image without them, ``[y, x]``.
    """
    total, residual, least = np.zeros(dirty.shape, np.float32), dirty, np.inf
    best = total, residual
    side = round(WIDE * response.width)
    thin = 1 + dirty.size // MANY
    for _ in range(CLEANS):
        left = float(residual[valid].std())
        if left > least:
            break
        best, least = (total, residual), left
        contrast = residual - uniform_filter(uniform_filter(residual, side), side)
        peak = float(contrast[valid].max())
        floor = max(DEPTH * peak, BRIGHT * robust_sigma(contrast[valid][::thin]))
        if peak <= floor:
            break
        tops = valid & (contrast > floor) & (contrast == maximum_filter(contrast, TOP))
        more = np.where(tops, GAIN * contrast, 0).astype(np.float32)
        residual = np.where(valid, residual - response.observed(more), np.float32(0))
        total = total + more
    total, residual = best
    return response.restored(total), residual


@dataclass(frozen=True)
class Cleaned:
    """Result of `major_cycles`.

    Attributes
    ----------
    image : array
        Last estimate plus residual (`Response.known`), ``[y, x]``: the sky at the clean beam's resolution,
        plus noise.
    residual : array
        Dirty image minus the last estimate convolved with the psf.
    model : array
        The last estimate.
    cycles : int
        Number of cycles.
    settled : bool
        Whether the last cycle changed almost nothing.
    diverged : bool
        Whether it was stopped because residuals grew; then this is the cycle with the least.
    """

    image: Array32
    residual: Array32
    model: Array32
    cycles: int
    settled: bool
    diverged: bool = False


def major_cycles(
    dirty: Array32,
    valid: Bool,
    response: Response,
    denoised: Callable[[Array32, Array32], tuple[Array32, float]],
    *,
    start: Cleaned | None = None,
    enough: int = CYCLES,
    most: int = CYCLES,
    progress: Callable[[int, int], None] | None = None,
) -> Cleaned:
    """Remove the sidelobes from a dirty image with CLEAN's major cycles, and a denoiser as minor cycles.

    ``y = x + (D - R * x)``, ``x = denoised(y)``, until x settles at ``x = denoised(x + D - R * x)``. At
    spatial frequencies that the psf amplifies (``R > SHORTEN``) the steps are shortened, which keeps the
    solution and makes the iteration stable. Where the beam has no power there are no steps, as no data would
    constrain x there. Where the transform of a cut psf is negative the residual is left out, and the denoiser
    says what is there. A denoiser that takes sidelobes for emission may still make it diverge: where the
    residual grows, the cycle with the least one is returned.

    Parameters
    ----------
    dirty : array
        ``[y, x]``, 0 where blank.
    valid : array of bool
        Pixels that hold data.
    response : Response
        Of the psf.
    denoised : callable
        Takes an image with part of its sidelobes and the residual of that cycle; returns an estimate of the
        sky and the typical rms.
    start : Cleaned, optional
        Result of cycles with another denoiser.
    enough : int, optional
        Number of cycles after which they go on only where each lowers the residual (`FALLS`).
    most : int, optional
        Largest number of cycles.
    progress : callable, optional
        Called with cycles done and cycles at most.

    Returns
    -------
    Cleaned
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
        image = x + np.where(valid, response.known(residual), np.float32(0))
        now = Cleaned(image, residual, x, now.cycles + 1, settled)
        left = float(residual[valid].std())
        if not left < GROWTH * least:
            return best
        if progress is not None:
            progress(now.cycles, most)
        if now.cycles >= enough and left > (1 - FALLS) * least:
            break
        if left < least:
            best, least = replace(now, settled=False, diverged=True), left
    return now
