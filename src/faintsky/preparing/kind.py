"""Whether data are dirty or restored: by their header, or by the surroundings of their bright sources.

The second needs no psf. A psf is the same around every source, and point-symmetric, ``P(-d) = P(d)``. So all
sources, each in both orientations and divided by its peak, are views of one pattern. The mean product of two
views is the pattern's square; noise and other sources, which differ from view to view, cancel.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, maximum_filter

from faintsky.arrays import Array, Array32, Bool, Float, Int
from faintsky.image import RadioCube, RadioData, RadioImage
from faintsky.preparing.image import Plane, PreparedImage
from faintsky.preparing.noise import robust_sigma
from faintsky.preparing.psf import convolve

NEAR = 1.3
"""Least distance from a source in which its surroundings show the kind of an image [beam]."""
FAR = 16.0
"""Largest such distance [beam]."""
SPACING = 0.5
"""Distance between offsets inside the least distance [beam]."""
GROWTH = 1.1
"""Ratio of successive rings beyond."""
ANGLES = 100
"""Offsets in each ring."""
BRIGHT = 12.0
"""Lowest S/N of a source that is used."""
MOST = 20
"""Most sources that are used."""
SHARE = 0.1
"""Least peak of such a source over the highest one."""
APART = 1.5
"""Two peaks closer than this [beam] are one source."""
COMMON = 0.02
"""Sidelobes, over the peak, down to which brighter sources have more weight."""
NEIGHBOUR = 0.3
"""Emission brighter than this fraction of a source is another source."""
LEAST_PEAK = 3.0
"""Least peak of a source over the rms of the sidelobes of others."""
COARSE = 700
"""Side of the image in which the sidelobes of all sources are added [pixel]; at most twice as large."""


class Surroundings:
    """Surroundings of the bright sources of images, relative to the sources' peaks.

    Parameters
    ----------
    planes : sequence of Plane
        Images with one psf.
    beam_pixels : float
        Geometric mean of the beam's FWHMs.

    Attributes
    ----------
    views : array
        ``[view, offset]``, two for each source; NaN outside the image.
    noise : array
        Noise over peak, ``[view]``.
    offsets : tuple of array
        Along y and x [pixel].
    distance, angle : array
        Of the offsets [beam, rad].
    """

    def __init__(self, planes: Sequence[Plane], beam_pixels: float) -> None:
        size = max(beam_pixels, 1.0)
        dy, dx = self.offsets = _offsets(size, max(np.hypot(*p.data.shape) for p in planes))
        self.distance, self.angle = np.hypot(dy, dx) / size, np.arctan2(dy, dx) % np.pi
        found = [bright_peaks(p, size) for p in planes]
        which = np.repeat(np.arange(len(found)), [len(f[0]) for f in found])
        y, x, snr = (np.concatenate(v) for v in zip(*found))
        # sidelobes raise the noise near bright sources: compare these with the noise of the whole image
        typical = np.array([np.median(p.rms[p.valid]) for p in planes])
        bright = np.concatenate([p.data[f[0], f[1]] for p, f in zip(planes, found)]) / typical[which]
        views = [np.zeros((0, len(dy)))]
        shown = [np.where(p.valid, p.data, np.nan) for p in planes]
        noise: list[float] = []
        free = (snr > BRIGHT) & (bright > SHARE * bright.max(initial=0.0))
        while free.any() and len(noise) < 2 * MOST:
            k = int(np.argmax(np.where(free, bright, 0)))
            image = shown[which[k]]
            for sign in (1, -1):
                views.append(_values(image, y[k] + sign * dy, x[k] + sign * dx)[None] / image[y[k], x[k]])
                noise.append(1 / snr[k])
            # the same source in another image has the same neighbours; faint ones may be sidelobes
            away = np.hypot(y - y[k], x - x[k]) / size
            free &= (away > FAR) | ((away > APART) & (bright > NEIGHBOUR * bright[k]))
        self.views, self.noise = np.concatenate(views), np.array(noise, dtype=float)

    @property
    def sources(self) -> int:
        """Number of sources that are bright enough."""
        return len(self.noise) // 2

    def depth(self) -> tuple[float, float]:
        """Covariance of the negative parts of two views, and its error, over the peaks squared.

        Positive surroundings are left out: in a restored image they are emission.
        """
        seen = self._shallow()
        below = np.where(seen, np.maximum(-np.nan_to_num(self.views), 0), 0)
        weight = self._weight(seen)
        # minus the mean over rings: haloes fill negative parts, and bowls of missing spacings are round
        ring = (self.distance / 2).astype(int)
        inside = np.equal.outer(ring, np.arange(ring.max() + 1))
        mean = (weight * below) @ inside / np.maximum(weight @ inside, 1e-300)
        # neighbouring offsets are not independent: use the scatter of sectors of rings as error
        sector = (6 * self.angle / np.pi).astype(int) % 6 + 6 * ring
        return _mean_product(np.where(seen, below - mean[:, ring], 0), weight, sector)

    def share(self, psf: Array) -> tuple[float, float]:
        """Amount of a psf's negative sidelobes in the data, and its error: about 0 in restored data.

        In dirty data it is up to 1, less where noise or other sources fill them.

        Parameters
        ----------
        psf : array
            1 at ``(n_y // 2, n_x // 2)``.
        """
        y, x = (n // 2 + d for n, d in zip(psf.shape, self.offsets))
        lobes = np.nan_to_num(_values(psf, y, x))
        weight = np.where(self._shallow() & (lobes < 0), 1 / self.noise[:, None] ** 2, 0)
        power = float((weight * lobes**2).sum())
        if not power > 0:
            return 0.0, np.inf
        value = float((weight * lobes * np.nan_to_num(self.views)).sum()) / power
        # with two offsets a beam along both axes, a quarter of them are independent
        return value, float(1 / (SPACING * np.sqrt(power)))

    def level(self, edges: Array) -> Array:
        """Rms of the sidelobes over the peak between distances [beam], at least its error."""
        seen = np.isfinite(self.views) & (np.abs(self.views) < NEIGHBOUR)
        values, weight = np.where(seen, self.views, 0), self._weight(seen)
        squares = []
        for low, high in pairwise(edges):
            use = (self.distance >= low) & (self.distance < high)
            sector = (12 * self.angle[use] / np.pi).astype(int) % 12
            squares.append(max(_mean_product(values[:, use], weight[:, use], sector)))
        return np.sqrt(squares)

    def _shallow(self) -> Bool:
        """Where a view shows no emission, in the range of distances that is used, ``[view, offset]``."""
        near = np.isfinite(self.views) & (self.distance < FAR)
        return np.asarray(near & (self.views < 3 * self.noise[:, None]))

    def _weight(self, seen: Bool) -> Array:
        return np.where(seen, 1 / (self.noise**2 + COMMON**2)[:, None], 0.0)


def _offsets(size: float, reach: float) -> tuple[Int, Int]:
    """Offsets in a half plane, dy and dx [pixel]: dense up to `FAR`, then in widening rings up to `reach`."""
    rings = list(np.arange(NEAR, FAR, SPACING))
    while rings[-1] * size < reach:
        rings.append(rings[-1] * GROWTH)
    counts = [min(int(np.pi * r / SPACING), ANGLES) for r in rings]
    angle = np.concatenate([np.pi * (np.arange(n) + 0.5) / n for n in counts])
    r = np.repeat(rings, counts) * size
    return np.rint(r * np.sin(angle)).astype(int), np.rint(r * np.cos(angle)).astype(int)


def _values(image: NDArray[Any], y: Int, x: Int) -> Array:
    """Values of an image at pixels, NaN outside it."""
    inside = (y >= 0) & (y < image.shape[0]) & (x >= 0) & (x < image.shape[1])
    out = np.full(y.shape, np.nan)
    out[inside] = image[y[inside], x[inside]]
    return out


def _mean_product(values: Array, weight: Array, group: Int) -> tuple[float, float]:
    """Weighted mean product of different views, over all pairs and offsets, and its error by groups."""
    product = (weight * values).sum(axis=0) ** 2 - (weight**2 * values**2).sum(axis=0)
    pairs = weight.sum(axis=0) ** 2 - (weight**2).sum(axis=0)
    p, n = np.bincount(group, product), np.bincount(group, pairs)
    if not n.sum() > 0:
        return 0.0, np.inf
    mean = p.sum() / n.sum()
    return float(mean), float(np.sqrt(((p - mean * n) ** 2).sum()) / n.sum())


def bright_peaks(plane: Plane, size: float) -> tuple[Int, Int, Array]:
    """Highest pixels within 1.5 beams that are above five times the noise: y, x and S/N."""
    top = maximum_filter(plane.data, 2 * round(1.5 * size) + 1)
    y, x = np.nonzero(plane.valid & (plane.data == top) & (plane.data > 5 * plane.rms))
    return y, x, plane.data[y, x] / plane.rms[y, x]


def sidelobe_noise(plane: Plane, beam_pixels: float) -> Array32:
    """Rms of the sidelobes of all sources of an image at each pixel, in its unit, ``[y, x]``.

    The squares of the peaks, times the squared level of sidelobes at their distance, are summed.
    """
    size, around = max(beam_pixels, 1.0), Surroundings([plane], beam_pixels)
    step = max(1, int(size / 2), max(plane.data.shape) // COARSE)
    edges = np.concatenate([[0.99 * NEAR], np.geomspace(2, max(around.distance.max(), 4), 16)])
    level, middle = around.level(edges), np.sqrt(edges[1:] * edges[:-1])
    known = np.isfinite(level)
    n_y, n_x = (-(-n // step) for n in plane.data.shape)
    power = np.zeros((n_y, n_x), dtype=np.float32)
    y, x, _ = bright_peaks(plane, size)
    peak = plane.data[y, x].astype(np.float32)
    if known.any():
        r = np.hypot(np.arange(1 - n_y, n_y)[:, None], np.arange(1 - n_x, n_x)) * step / size
        kernel = np.where(r < NEAR, 0, np.interp(r, middle[known], level[known]) ** 2).astype(np.float32)
        for _ in range(2):
            squares = np.zeros_like(power)
            np.add.at(squares, (y // step, x // step), peak**2)
            power = np.maximum(convolve(squares, kernel), 0)
            # a peak no brighter than others' sidelobes may be a sidelobe itself
            keep = peak > LEAST_PEAK * np.sqrt(power[y // step, x // step])
            y, x, peak = y[keep], x[keep], peak[keep]
    full = np.repeat(np.repeat(np.sqrt(power), step, axis=0), step, axis=1)
    return np.asarray(full[: plane.data.shape[0], : plane.data.shape[1]], dtype=np.float32)


DEPTH = 0.004
"""Common depth of sidelobes over the peaks that makes data dirty: shallower ones remain after a good CLEAN.
ALMA's 43 antennas have 0.005 in natural weights, LOFAR 0.01; images CLEANed down to three times the noise
have 0.001."""
HIDDEN = 0.15
"""The same over the noise: shallower ones do no harm."""
SURE_ONE = 3.5
"""Significance required with one source, whose own shape may be symmetric."""
SURE_MORE = 2.2
"""Significance required with several."""
FAINT = 0.008
"""Rms of a psf's sidelobes below which dirty and restored data are the same. In cubes of the presets `paper`
and `varied` it is 0.014 and more, and up to 0.005 where it is measured from noise without sidelobes."""
NOISE_DIRTY = 0.2
"""Amount of the negative sidelobes of a psf measured from the noise that only dirty cubes have: 0.5 and more
with natural weights, and 0.1 to 0.3 with Briggs' weights, whose psf differs from it."""
NOISE_RESTORED = 0.3
"""Amount below which a cube is certainly restored."""
RESTORED_SHARE = 0.2
"""Amount of a given psf's sidelobes around bright sources below which an image is free of them."""
LINES = 4
"""Number of a cube's lines whose surroundings are used."""
LINE_SNR = 6.0
"""Their least S/N in a channel."""
CARDS = ("WSCMINOR", "WSCNITER", "NITERS", "NITER")
"""Header cards of CLEAN's iterations: WSClean's (done, and limit), MIRIAD's, and others'."""
_COUNT = re.compile(r"\bn_?iters?\s*[=:]\s*'?(\d+)")
_RESTORED = re.compile(r"\brestor:|fitted beam used in restoration")


@dataclass(frozen=True)
class Kind:
    """Kind of data.

    Attributes
    ----------
    name : {"restored", "dirty"}
    why : str
        Reason, in words.
    """

    name: str
    why: str

    @property
    def note(self) -> str:
        """Remark for the user."""
        return f"treated as {self.name}: {self.why}"


def said_kind(data: RadioData) -> Kind | None:
    """Kind of data by the user, or else by the header; None where neither tells.

    Headers give CLEAN's iterations in a card, or CLEAN calls in their history: any call with iterations makes
    a restored image. AIPS also writes ``CLEAN NITER=0`` where the number was lost: it is ignored.
    """
    if data.kind != "auto":
        return Kind(data.kind, "as requested")
    for card in CARDS:
        count = data.header.get(card)
        if isinstance(count, int | float) and not isinstance(count, bool):
            name = "restored" if count > 0 else "dirty"
            return Kind(name, f"its header gives {count:.0f} iterations of CLEAN ({card})")
    # CASA continues after ">" where a card is full
    history = "\n".join(str(line).lower() for line in data.header.get("HISTORY", []))
    lines = history.replace("\n>", "").splitlines()
    counts = [(int(n), line) for line in lines for n in _COUNT.findall(line)]
    if any(n for n, _ in counts) or any(_RESTORED.search(line) for line in lines):
        return Kind("restored", "its history mentions a deconvolution")
    if any("aips" not in line for _, line in counts):
        return Kind("dirty", "its history gives 0 iterations of CLEAN")
    return None


def kind_of_image(
    image: RadioImage, prepared: PreparedImage, response: Callable[[Array32], Any] | None
) -> Kind:
    """Kind of an image: as the user or header says, or by the surroundings of its sources.

    One with a psf is dirty unless its sources are free of sidelobes: a psf is useful only for a dirty image,
    and broad sidelobes look like faint emission.

    Parameters
    ----------
    image : RadioImage
    prepared : PreparedImage
    response : callable or None
        Gives the dirty image of a sky at the beam's resolution.

    Returns
    -------
    Kind
    """
    if (said := said_kind(image)) is not None:
        return said
    if response is None:
        return kind_by_sources(Surroundings([prepared.plane], prepared.beam_pixels))
    snr = prepared.scaled
    bright = snr > max(6.0, 0.5 * float(snr.max()))
    if not bright.any():
        return Kind("dirty", "a psf is given, and no source is bright enough to show sidelobes")
    # The sidelobes expected from the parts above half of the peak are fitted to their surroundings, out to
    # six beams: the factor is 1 for points in a dirty image, 0 in a restored one.
    distance = distance_transform_edt(~bright) / max(prepared.beam_pixels, 1.0)
    ring = prepared.valid & (distance > 0.7) & (distance < 6)
    scale = np.where(ring, 1 / np.where(ring, prepared.rms, 1), 0.0)
    expected = response(np.where(bright, prepared.data, np.float32(0))) * scale
    power = max(float((expected**2).sum()), 1e-30)
    share = float((expected * prepared.data * scale).sum()) / power
    error = float(np.sqrt(prepared.beam_area / power))
    name = "restored" if share + 2 * error < RESTORED_SHARE else "dirty"
    return Kind(name, f"{share:.2f} ± {error:.2f} of the psf's sidelobes surround the brightest sources")


def kind_by_sources(
    around: Surroundings, *, noise_psf: Array | None = None, otherwise: str = "restored"
) -> Kind:
    """Kind of data by the surroundings of bright sources: in dirty data all have the same sidelobes.

    Parameters
    ----------
    around : Surroundings
        Of the sources of an image or a cube.
    noise_psf : array, optional
        Measured from the noise, ``[y, x]``.
    otherwise : str, optional
        Kind that is assumed if they do not tell.

    Returns
    -------
    Kind
    """
    hint = {
        # sidelobes are removed with the psf alone; the kind alone makes them count as noise
        "restored": "; if it is dirty, give --psf, or --kind dirty where the psf is unknown",
        "dirty": "; give --kind restored if it is",
    }[otherwise]
    if not around.sources:
        return Kind(otherwise, f"no source is bright enough to show sidelobes{hint}")
    sources = "its bright source" if around.sources == 1 else f"its {around.sources} brightest sources"
    value, error = around.depth()
    share, share_error = (0.0, np.inf) if noise_psf is None else around.share(noise_psf)
    least = max(DEPTH, HIDDEN * float(around.noise.min()))
    sure = SURE_ONE if around.sources == 1 else SURE_MORE
    if value > max(least**2, sure * error) or share - 3 * share_error > NOISE_DIRTY:
        return Kind("dirty", f"the same sidelobes surround {sources}")
    if max(value, 0.0) + 2 * error < DEPTH**2 or share + 2 * share_error < NOISE_RESTORED:
        return Kind("restored", f"no sidelobes surround {sources}")
    return Kind(otherwise, f"noise hides any sidelobes of {sources}{hint}")


def kind_of_cube(
    cube: RadioCube,
    continuum: Array,
    line: Array32,
    sigma: Float,
    valid: Bool,
    beam: tuple[float, float, float],
    noise_psf: Array | None,
) -> Kind:
    """Kind of a cube without a psf.

    It uses the continuum, and the channels of the strongest lines. If these do not tell, a cube with a psf
    with sidelobes, measured from its noise, is taken for dirty: emission too faint for CLEAN looks the same
    in both.

    Parameters
    ----------
    cube : RadioCube
    continuum : array
        ``[y, x]``
    line : array
        The cube minus its continuum, ``[chan, y, x]``.
    sigma : array
        Noise of every channel, 0 for a blank one.
    valid : array of bool
        ``[y, x]``
    beam : tuple of float
        FWHMs [pixel] and position angle.
    noise_psf : array or None
        Measured from the noise, ``[y, x]``.

    Returns
    -------
    Kind
    """
    said = said_kind(cube)
    if said is not None:
        return said
    images = [continuum]
    top = line.reshape(len(line), -1).max(axis=1) / np.where(sigma > 0, sigma, np.inf)
    for _ in range(LINES):
        k = int(top.argmax())
        if top[k] < LINE_SNR:
            break
        y, x = np.unravel_index(int(line[k].argmax()), line[k].shape)
        faint = np.flatnonzero(line[:, y, x] < 0.5 * line[k, y, x])
        low, high = faint[faint < k].max(initial=-1) + 1, faint[faint > k].min(initial=len(line))
        images.append(line[low:high].mean(axis=0))
        top[low:high] = 0
    planes = []
    for image in images:
        image = np.nan_to_num(image)
        level, rms = float(np.median(image[valid])), robust_sigma(image[valid])
        # a level common to all pixels is not a sidelobe
        data = np.where(valid, image - level * (abs(level) > rms), 0)
        planes.append(Plane(data, np.where(valid, rms, 0), valid))
    size = float(np.sqrt(beam[0] * beam[1]))
    around = Surroundings(planes, size)
    otherwise = "restored" if noise_psf is None or _bare(noise_psf, size) else "dirty"
    return kind_by_sources(around, noise_psf=noise_psf, otherwise=otherwise)


def _bare(psf: Array, beam_pixels: float) -> bool:
    """Whether a psf has negligible sidelobes: the rms of those of arrays is twice `FAINT` and more."""
    dy, dx = np.indices(psf.shape) - np.array(psf.shape).reshape(2, 1, 1) // 2
    far = np.hypot(dy, dx) / beam_pixels
    ring = (far > 2) & (far < 8)
    return bool(ring.any() and psf[ring].std() < FAINT)
