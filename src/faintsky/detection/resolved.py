"""Resolved galaxies, which no Gaussian describes: found by smoothing and clipping, measured in their mask.

For restored cubes, in which emission has no sidelobes. The galaxies are excluded from the search for compact
lines, which therefore need not describe them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_dilation,
    distance_transform_edt,
    find_objects,
    gaussian_filter,
    label,
    uniform_filter1d,
)

from faintsky.arrays import Array, Array32, Bool, Float
from faintsky.beams import beam_covariance, beam_pixels
from faintsky.detection.counts import NoisePeaks
from faintsky.grid import FWHM_PER_SIGMA
from faintsky.preparing import PreparedCube, core_sigma

CLIP = 4.0
"""S/N of the smoothed cubes above which voxels belong to emission."""
SURE = 7.0
"""S/N that emission must reach somewhere."""
SMOOTHED = ((0.0, 3), (1.0, 5))
"""FWHM on the sky [beam] and channels of the two smoothings."""
RESOLVED = 2.2
"""Emission is resolved if its area above half of the peak of the integrated image is larger [area of the
beam]; a Gaussian of 1.1 beams has this one."""
LARGE = 4.0
"""Area up to which a Gaussian describes it, unless its centre moves between channels [area of the beam]."""
TURNING = 0.35
"""Movement of the centre between channels up to which a Gaussian describes it [beam]."""
FEW = 9
"""So few pixels above half of the peak do not constrain a size."""
DIP = 0.5
"""Depth of a dip, over the fainter of two peaks in the integrated image, that separates two galaxies: the
horns of a rotating one have no dip there."""

AROUND = 3.0
"""Negative emission within a galaxy's own size plus this [beam] counts for its reliability."""
ONE_SIDED = 0.1
"""Least fraction of the flux in each half of a galaxy's spectrum."""

BRIDGED = 5
"""Blank channels in a row that do not divide a galaxy; more of them may separate two spectral windows."""

SURROUNDED = 3.0
"""Distance from a galaxy, in each channel, within which its bowl may look like a continuum [beam]."""
FREE = 4
"""Least number of channels without a galaxy that constrain a continuum."""


@dataclass
class Resolved:
    """One resolved galaxy.

    Attributes
    ----------
    box : tuple of slice
        Where its mask is, ``[chan, y, x]``.
    mask : array of bool
        Mask in that box: the clipped voxels, grown by a beam and a channel.
    line : array
        The data in the box, without continuum, flat in noise [Jy/beam].
    snr : float
        Of its brightest smoothed voxel.
    reliability : float
        Probability that it is real.
    """

    box: tuple[slice, ...]
    mask: Bool
    line: Array32
    snr: float
    reliability: float = 1.0

    @property
    def inside(self) -> Array32:
        """The data in the mask, 0 elsewhere."""
        return np.where(self.mask, self.line, np.float32(0))


def resolved_emission(prepared: PreparedCube, where: Bool | None = None, sign: float = 1.0) -> list[Resolved]:
    """Find the resolved galaxies of a cube.

    Parameters
    ----------
    prepared : PreparedCube
    where : array of bool, optional
        Allowed voxels, ``[chan, y, x]``.
    sign : float, optional
        -1 to find them in the negative.

    Returns
    -------
    list of Resolved
        The one with the largest mask first.
    """
    beam = prepared.beam_pixels
    sigma = np.where(prepared.sigma > 0, sign * prepared.sigma, np.inf).astype(np.float32)
    scaled = prepared.line / sigma[:, None, None]
    height = np.zeros(scaled.shape, dtype=np.float32)
    for wide, channels in SMOOTHED:
        smooth = uniform_filter1d(scaled, channels, axis=0, mode="constant")
        if wide:
            for plane in smooth:
                plane[:] = gaussian_filter(plane, wide * beam / FWHM_PER_SIGMA, mode="constant")
        noise = core_sigma(smooth[prepared.sigma > 0][:, prepared.valid].ravel()[::3])
        if noise == 0:
            return []
        smooth /= np.float32(noise)
        np.maximum(height, smooth, out=height)
    clipped = (height > CLIP) & prepared.valid & (prepared.sigma > 0)[:, None, None]
    if where is not None:
        clipped &= where
    labels, count = _joined(clipped, prepared.sigma > 0, max(1, round(beam / 2)))
    least = 3 * beam_pixels(prepared.beam, 1.0)[0]
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    found = []
    for number, box in enumerate(find_objects(labels), start=1):
        own = labels[box] == number
        if sizes[number] < least or height[box][own].max() < SURE:
            continue
        image = (scaled[box] * own).sum(axis=0)
        basins = _basins(image, own.any(axis=0), float(np.sqrt(own.sum(axis=0).max())))
        for k in range(1, basins.max() + 1):
            its = basins == k
            top = image[its].max()
            area = np.pi / 4 * prepared.beam[0] * prepared.beam[1]
            size = int((image[its] > top / 2).sum())
            if size < max(RESOLVED * area, FEW):
                continue
            if size < LARGE * area and _turn(scaled[box], own & its) < TURNING * beam:
                continue
            part = own & its
            found.append(_grown(prepared, box, part, float(height[box][part].max())))
    found.sort(key=lambda r: -int(r.mask.sum()))
    return _disjoint(found, scaled.shape)


def _joined(clipped: Bool, seen: Bool, far: int) -> tuple[NDArray[np.int32], int]:
    """Number of each voxel's connected area, from 1, and their count; few blank channels divide none.

    Emission moves by up to `far` pixels from one channel to the next.
    """
    filled = clipped.copy()
    for (run,) in find_objects(label(~seen)[0]):
        if run.start == 0 or run.stop == len(seen) or run.stop - run.start > BRIDGED:
            continue
        for k in range(run.start, run.stop):
            filled[k] = binary_dilation(clipped[run.start - 1], iterations=far * (k - run.start + 1))
            filled[k] |= binary_dilation(clipped[run.stop], iterations=far * (run.stop - k))
    labels, count = label(filled, np.ones((3, 3, 3)))
    labels[~seen] = 0
    return labels, int(count)


def _turn(line: Array, part: Bool) -> float:
    """Movement of the emission's centre between channels: standard deviation [pixel]."""
    flux = np.where(part, np.maximum(line, 0), 0).astype(float)
    weight = flux.sum(axis=(1, 2))
    weight[weight < weight.max() / 5] = 0
    y, x = (
        np.tensordot(flux, v, ((1, 2), (0, 1))) / np.maximum(weight, 1e-30)
        for v in np.indices(part.shape[1:])
    )
    return float(
        sum(np.average((v - np.average(v, weights=weight)) ** 2, weights=weight) for v in (y, x)) ** 0.5
    )


def _basins(image: Float, inside: Bool, noise: float) -> NDArray[np.int_]:
    """Number of each pixel's galaxy: two peaks are two if a dip of `DIP` and three sigma lies between."""
    padded = np.pad(image, 1)
    values, n_x = padded.ravel(), padded.shape[1]
    steps = [dy * n_x + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    home = np.zeros(values.size, dtype=int)
    root, peak = [0], [0.0]

    def top(k: int) -> int:
        while root[k] != k:
            k = root[k]
        return k

    at = np.flatnonzero(np.pad(inside, 1))
    # from the highest pixel down: each belongs to the highest of the peaks that it touches
    for p in at[np.argsort(-values[at])].tolist():
        near = sorted({top(home[p + d]) for d in steps if home[p + d]}, key=lambda k: -peak[k])
        if not near:
            root.append(len(root))
            peak.append(float(values[p]))
            near = [len(root) - 1]
        home[p] = near[0]
        for k in near[1:]:
            if values[p] > (1 - DIP) * peak[k] or peak[k] - values[p] < 3 * noise:
                root[k] = near[0]
    out = np.array([top(k) for k in range(len(root))])[home]
    numbers = np.unique(np.append(out, 0), return_inverse=True)[1][:-1]
    return np.asarray(numbers.reshape(padded.shape)[1:-1, 1:-1])


def _grown(prepared: PreparedCube, box: tuple[slice, ...], part: Bool, snr: float) -> Resolved:
    """The clipped voxels, grown by a beam and a spectral resolution."""
    reach = max(1, round(prepared.beam_pixels))
    far = max(1, round(prepared.channels.response if prepared.channels else 1.0))
    room = tuple(
        slice(max(0, s.start - r), min(n, s.stop + r))
        for s, r, n in zip(box, (far, reach, reach), prepared.line.shape)
    )
    mask = np.zeros([r.stop - r.start for r in room], dtype=bool)
    mask[tuple(slice(s.start - r.start, s.stop - r.start) for s, r in zip(box, room))] = part
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    mask = binary_dilation(mask, (np.hypot(y, x) <= reach)[None])
    mask = binary_dilation(mask, np.ones((2 * far + 1, 1, 1))) & prepared.valid[room[1:]]
    mask &= (prepared.sigma[room[0]] > 0)[:, None, None]
    return Resolved(room, mask, prepared.line[room].copy(), snr)


def _disjoint(found: list[Resolved], shape: tuple[int, ...]) -> list[Resolved]:
    """Give voxels of two masks to the larger one."""
    taken = np.zeros(shape, dtype=bool)
    for r in found:
        r.mask &= ~taken[r.box]
        taken[r.box] |= r.mask
    return found


def occupied(
    found: list[Resolved], shape: tuple[int, ...], prepared: PreparedCube, beams: float = 0.0
) -> Bool:
    """Voxels of all masks and of the space around them.

    Parameters
    ----------
    found : list of Resolved
    shape : tuple of int
        Of the cube, ``[chan, y, x]``.
    prepared : PreparedCube
    beams : float, optional
        Beams added around the masks on the sky; if not 0, a channel is added along frequency, too.

    Returns
    -------
    array of bool
        ``[chan, y, x]``
    """
    out = np.zeros(shape, dtype=bool)
    for r in found:
        out[r.box] |= r.mask
    reach = round(beams * prepared.beam_pixels)
    if not found or not reach:
        return out
    grown = np.zeros_like(out)
    z, y, x = (slice(int(v.min()), int(v.max()) + 1) for v in np.nonzero(out))
    ys, xs = (slice(max(0, s.start - reach), s.stop + reach) for s in (y, x))
    for k in range(z.start, z.stop):
        if out[k].any():
            grown[k, ys, xs] = distance_transform_edt(~out[k, ys, xs]) <= reach
    grown[:-1] |= grown[1:].copy()
    grown[1:] |= grown[:-1].copy()
    return grown


def judge_galaxies(
    found: list[Resolved], negative: list[Resolved], noise: NoisePeaks, prepared: PreparedCube
) -> None:
    """Set the reliabilities of galaxies, from noise peaks and equally strong negative emission.

    Bowls, and errors of calibration and deconvolution around a bright galaxy, have both signs: next to
    equally strong negative emission, the reliability is the excess of positive detections over negative ones.

    Parameters
    ----------
    found, negative : list of Resolved
        Galaxies, and those in the negative of the cube; `found` is changed in place.
    noise : NoisePeaks
        Expected in the cube.
    prepared : PreparedCube
    """
    for r in found:
        reach = max(s.stop - s.start for s in r.box[1:]) + AROUND * prepared.beam_pixels
        alike = [
            sum(o.snr >= r.snr and _beside(o.box, r.box, reach) for o in those) for those in (found, negative)
        ]
        real = max(alike[0] - alike[1], 0) / alike[0]
        r.reliability = real / (1 + float(noise.fitted.above(r.snr)))


def _beside(a: tuple[slice, ...], b: tuple[slice, ...], reach: float) -> bool:
    """Whether two boxes share channels and are at most `reach` apart [pixel]."""
    gaps = [max(s.start - t.stop, t.start - s.stop, 0) for s, t in zip(a, b)]
    return gaps[0] == 0 and max(gaps[1:]) <= reach


def closed_to_continuum(found: list[Resolved], shape: tuple[int, ...], prepared: PreparedCube) -> Bool:
    """Voxels not used for the continuum: galaxies, and their surroundings in each channel.

    A galaxy that fills most of the band has a mean, like a continuum, and so has the bowl around it.

    Parameters
    ----------
    found : list of Resolved
    shape : tuple of int
        Of the cube.
    prepared : PreparedCube

    Returns
    -------
    array of bool
        ``[chan, y, x]``
    """
    out = occupied(found, shape, prepared, SURROUNDED)
    # so are pixels with too few other channels
    out[:, shape[0] - out.sum(axis=0) < FREE] = True
    return out


@dataclass(frozen=True)
class Measured:
    """Measurements in a galaxy's mask, in pixels and channels.

    Attributes
    ----------
    flux, flux_err : float
        Sum over voxels [Jy channel].
    x, y, position_err : float
        Position, half way between the centroids of both halves of the spectrum, and its error.
    z_err : float
        Error of the centroid along frequency.
    covariance : array
        Second moments on the sky, beam deconvolved [pixel**2].
    spectrum, noise : array
        Of the channels of the box [Jy].
    gradient, gradient_err : array
        Gradient of the mean channel along x and y [channel/pixel].
    """

    flux: float
    flux_err: float
    x: float
    y: float
    position_err: float
    z_err: float
    covariance: Float
    spectrum: Float
    noise: Float
    gradient: Float
    gradient_err: Float


def measured(r: Resolved, prepared: PreparedCube, gain: Float) -> Measured:
    """Fluxes, moments and kinematics of a galaxy.

    Parameters
    ----------
    r : Resolved
    prepared : PreparedCube
    gain : array
        Factor that turns the flattened data into true brightness, ``[y, x]`` of the whole image.

    Returns
    -------
    Measured
    """
    area = float(beam_pixels(prepared.beam, 1.0)[0])
    factor = gain[r.box[1:]]
    data, z = r.inside * factor, np.arange(r.box[0].start, r.box[0].stop)
    y, x = np.mgrid[r.box[1], r.box[2]].astype(float)
    # noise of a sum, with the correlation of pixels (beam) and channels
    sigma = prepared.sigma[r.box[0]]
    noise = sigma * np.sqrt((r.mask * factor**2).sum(axis=(1, 2)) / area)
    spectrum = data.sum(axis=(1, 2)) / area
    together = 1.0 if prepared.channels is None else prepared.channels.mean_error(len(z))
    flux = float(spectrum.sum())
    error = float(np.sqrt((noise**2).sum())) * together
    image = data.sum(axis=0) / area
    # noise would move the position where the primary beam is low
    weight = np.maximum(r.inside.sum(axis=0), 0).astype(float)
    weight /= max(float(weight.sum()), 1e-300)
    cx, cy = _middle(r, z < r.box[0].start + channel_between(spectrum, noise), x, y)
    cz = float((spectrum * z).sum() / flux)
    d = np.stack([x - cx, y - cy])
    covariance = np.einsum("yx,iyx,jyx->ij", weight, d, d) - beam_covariance(prepared.beam)
    share = abs(error / flux)
    radius = float(np.sqrt(max(np.trace(covariance), area / 5.7)))
    spread = np.sqrt(max(float((np.maximum(spectrum, 0) * (z - cz) ** 2).sum() / max(flux, 1e-300)), 0.1))
    slope, slope_err = _gradient(data, image, z, x - cx, y - cy, area)
    return Measured(
        flux, error, cx, cy, share * radius, share * float(spread), covariance, spectrum, noise, slope,
        slope_err,
    )  # fmt: skip


def _middle(r: Resolved, lower: Bool, x: Float, y: Float) -> tuple[float, float]:
    """Point half way between the centroids of the approaching and the receding half, whatever their fluxes.

    Where one half has hardly any flux: the centroid of all.
    """
    parts = [np.maximum(r.inside[side].sum(axis=0), 0).astype(float) for side in (lower, ~lower)]
    totals = [float(p.sum()) for p in parts]
    if min(totals) < ONE_SIDED * sum(totals):
        parts = [np.maximum(r.inside.sum(axis=0), 0).astype(float)]
    at = [((p * x).sum() / p.sum(), (p * y).sum() / p.sum()) for p in parts]
    cx, cy = np.mean(at, axis=0)
    return float(cx), float(cy)


def channel_between(spectrum: Float, noise: Float) -> float:
    """Middle of the outermost crossings of 20 % of the peak [channel], or of 50 % if noise hides 20 %."""
    outer, _, above = width_at(spectrum, noise, 0.2)
    return float(np.mean(outer if above else width_at(spectrum, noise, 0.5)[0]))


def _gradient(
    data: Float, image: Float, z: NDArray[np.int_], x: Float, y: Float, area: float
) -> tuple[Float, Float]:
    """Slopes of a plane through the mean channel of each pixel, weighted by flux; errors by beams."""
    good = image > 0.2 * image.max()
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.tensordot(z, data, 1) / area / image
    good &= np.isfinite(mean) & (mean > z[0]) & (mean < z[-1])
    if good.sum() < 6:
        return np.full(2, np.nan), np.full(2, np.nan)
    w = image[good]
    design = np.stack([np.ones(w.size), x[good], y[good]], axis=1)
    normal = np.linalg.pinv((design * w[:, None]).T @ design)
    fit = normal @ (design * w[:, None]).T @ mean[good]
    rest = mean[good] - design @ fit
    scatter = np.sqrt((w * rest**2).sum() / w.sum())
    independent = max(good.sum() / area, 1.0)
    error = scatter * np.sqrt(np.diag(normal)[1:] * w.sum() / independent)
    return fit[1:], error


def width_at(spectrum: Float, noise: Float, share: float) -> tuple[tuple[float, float], float, bool]:
    """The outermost crossings of a share of a spectrum's peak.

    Parameters
    ----------
    spectrum, noise : array
        ``[chan]``
    share : float
        Fraction of the peak.

    Returns
    -------
    ends : tuple of float
        [channel]; NaN without emission.
    error : float
        Of their distance.
    above : bool
        Whether the level is above twice the noise.
    """
    level = share * float(spectrum.max())
    typical = float(np.median(noise[noise > 0])) if (noise > 0).any() else 0.0
    above = np.flatnonzero(spectrum >= level)
    if not above.size or level <= 0:
        return (np.nan, np.nan), np.nan, False
    padded = np.concatenate([[0.0], spectrum, [0.0]])
    ends: list[float] = []
    errors: list[float] = []
    for k, out in ((int(above[0]) + 1, -1), (int(above[-1]) + 1, 1)):
        slope = float(padded[k] - padded[k + out])
        ends.append(k - 1 + out * (padded[k] - level) / slope)
        errors.append(typical / max(slope, typical / 2, 1e-300))
    return (ends[0], ends[1]), float(np.linalg.norm(errors)), level > 2 * typical
