"""Objects: which components form one source, and the 3-D label mask of the sources."""

import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from skimage.segmentation import watershed

from faintsky.arrays import Array32, Float, Labels
from faintsky.beams import beam_covariance
from faintsky.detection.pursuit import Component, ResidualCube, line_channels
from faintsky.preparing import PreparedCube
from faintsky.source_model import line_profile

DIP = 0.15
"""Least relative depth of the dip between two sources."""
BESIDE, SHIFTED = (0.35, 1.05), (0.85, 1.35)
"""Where the two sides of a disc lie, see `apart`: on the sky, and along frequency."""
ALIKE = 3.2
"""Largest ratio of their fluxes."""


def observed_value(components: Sequence[Component], points: Float) -> Float:
    """Sum of the models at ``points`` ``[n, 3]`` (x, y, z) [Jy/beam]."""
    total = np.zeros(len(points))
    for c in components:
        s = c.source
        sky = map_coordinates(c.image, [points[:, 1], points[:, 0]], order=1, mode="nearest")
        total += s.amplitude * sky * line_profile(points[:, 2], s.z, s.fwhm_z)
    return total


def apart(a: Component, b: Component, beam_pixels: float) -> tuple[float, float]:
    """Separation of two components on the sky and along frequency, over the sum of their half widths.

    Parameters
    ----------
    a, b : Component
    beam_pixels : float
        FWHM of the beam [pixel].

    Returns
    -------
    sky, line : float
    """
    s, t = a.source, b.source
    wide = 0.5 * np.hypot(s.axes()[0], beam_pixels) + 0.5 * np.hypot(t.axes()[0], beam_pixels)
    return float(np.hypot(s.x - t.x, s.y - t.y) / wide), abs(s.z - t.z) / (0.5 * s.fwhm_z + 0.5 * t.fwhm_z)


def touching(a: Component, b: Component, beam_pixels: float, reach: float = 1.0) -> bool:
    """Whether two components overlap. See `apart`: both of its numbers are below `reach`."""
    return max(apart(a, b, beam_pixels)) < reach


def halves(a: Component, b: Component, beam_pixels: float) -> bool:
    """Whether two components look like the two sides of a rotating disc.

    They lie beside each other on the sky and along frequency, and neither is much brighter. Of sources that
    overlap by chance, few do. See `apart`.
    """
    sky, line = apart(a, b, beam_pixels)
    fluxes = [c.source.amplitude * c.source.fwhm_z for c in (a, b)]
    alike = fluxes[0] * fluxes[1] > 0 and max(map(abs, fluxes)) < ALIKE * min(map(abs, fluxes))
    return alike and BESIDE[0] < sky < BESIDE[1] and SHIFTED[0] < line < SHIFTED[1]


def one_source(a: Component, b: Component, components: Sequence[Component]) -> bool:
    """Whether two components are one source: no significant dip between them.

    The sum of all models is followed along the straight line between the two. Where it falls below the
    fainter end by more than `DIP` of it, and by more than three standard errors, there are two sources.

    Parameters
    ----------
    a, b : Component
    components : sequence of Component
        All, with these.

    Returns
    -------
    bool
    """
    if np.sign(a.source.amplitude) != np.sign(b.source.amplitude):
        return False
    t = np.linspace(0, 1, 11)[:, None]
    ends = np.array([[c.source.x, c.source.y, c.source.z] for c in (a, b)])
    values = np.abs(observed_value(components, ends[0] * (1 - t) + ends[1] * t))
    fainter = min(values[0], values[-1])
    error = max(c.source.peak / max(c.snr, 1.0) for c in (a, b))
    return bool(fainter - values.min() < max(3 * error, DIP * fainter))


def group_components(
    components: Sequence[Component],
    beam_pixels: float,
    homes: Sequence[int | None] | None = None,
    hosts: Sequence[int | None] | None = None,
) -> list[list[int]]:
    """Indices of the components of each source: connected where they touch and no dip lies between them.

    The parts of a rotating galaxy's line lie side by side, each at another frequency, and a dip between its
    horns does not separate two sources: see `halves`, and with a continuum they may look otherwise, too.

    Parameters
    ----------
    components : sequence of Component
        Of all sources.
    beam_pixels : float
        FWHM of the beam [pixel].
    homes : sequence of int or None, optional
        Continuum source whose position and shape each component shares: two of these are two sources.
    hosts : sequence of int or None, optional
        Continuum source that a component without a home lies on.

    Returns
    -------
    list of list of int
    """
    n = len(components)
    homes = [None] * n if homes is None else homes
    hosts = [None] * n if hosts is None else hosts
    joined = np.zeros((n, n), dtype=bool)
    for i, j in itertools.combinations(range(n), 2):
        a, b = components[i], components[j]
        if None not in (homes[i], homes[j]) and homes[i] != homes[j]:
            continue
        lines_meet = abs(a.source.z - b.source.z) < 0.5 * (a.source.fwhm_z + b.source.fwhm_z)
        one_host = hosts[i] is not None and hosts[i] == hosts[j] and lines_meet
        joined[i, j] = (
            one_host
            or halves(a, b, beam_pixels)
            or (touching(a, b, beam_pixels) and one_source(a, b, components))
        )
    count, group = connected_components(joined, directed=False)
    return [np.flatnonzero(group == k).tolist() for k in range(count)]


def gaussian_patch(
    covariance: Float, x: float, y: float, shape: Sequence[int], reach: float
) -> tuple[slice, slice, Float]:
    """A Gaussian of unit peak on the pixels that it reaches.

    Parameters
    ----------
    covariance : array
        ``[2, 2]`` in (x, y) [pixel**2].
    x, y : float
        Centre [pixel].
    shape : sequence of int
        Of the image, ``(n_y, n_x)``.
    reach : float
        Extent of the patch [standard deviation].

    Returns
    -------
    ys, xs : slice
        Pixels of the patch.
    values : array
        ``[y, x]``
    """
    half = reach * np.sqrt(np.diag(covariance)) + 1
    xs, ys = (slice(max(0, int(c - h)), min(n, int(c + h) + 2)) for c, h, n in zip((x, y), half, shape[::-1]))
    dy = np.arange(ys.start, ys.stop)[:, None] - y
    dx = np.arange(xs.start, xs.stop)[None, :] - x
    inverse = np.linalg.inv(covariance)
    quad = inverse[0, 0] * dx * dx + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy * dy
    return ys, xs, np.exp(-0.5 * quad)


def label_mask(
    components: Sequence[Component],
    groups: Sequence[Sequence[int]],
    prepared: PreparedCube,
    data: ResidualCube,
    *,
    depth: float = 2.0,
) -> Labels:
    """Label the voxels of every source, ``[chan, y, x]``: 1 for the first group, and so on.

    A voxel belongs to the source whose model is brightest there, where that model, convolved with the
    Gaussian beam, exceeds `depth` times the noise, or half of its own peak if that is lower. Emission that
    the models miss but that is connected to a source is added to it: see `grown`.

    Parameters
    ----------
    components, groups
        Fitted components, and which of them make each source.
    prepared : PreparedCube
        The cube.
    data : ResidualCube
        Line cube minus all models.
    depth : float, optional
        Level of the mask over the noise.

    Returns
    -------
    array of int
    """
    n_chan, n_y, n_x = prepared.line.shape
    labels = np.zeros((n_chan, n_y, n_x), dtype=np.int32)
    best = np.zeros((n_chan, n_y, n_x), dtype=np.float32)
    restored = Restored(data)
    for number, group in enumerate(groups, start=1):
        top = max(components[i].source.peak for i in group)
        for i in group:
            s = components[i].source
            chol = np.array([[s.l11, 0.0], [s.l21, s.l22]])
            # without the sidelobes of the psf, which are not part of any mask
            seen_as = chol @ chol.T + beam_covariance(prepared.beam)
            ys, xs, gaussian = gaussian_patch(seen_as, s.x, s.y, (n_y, n_x), 3.5)
            patch = gaussian.astype(np.float32)
            if patch.size == 0:
                continue
            zs = line_channels(s, n_chan)
            profile = s.peak * line_profile(np.arange(n_chan)[zs], s.z, s.fwhm_z)
            for k, value in zip(range(n_chan)[zs], profile):
                if prepared.sigma[k] <= 0:
                    continue
                seen = patch * np.float32(value)
                restored.parts[k].append((ys, xs, np.float32(np.sign(s.amplitude)) * seen))
                own = seen > min(0.5 * top, depth * prepared.sigma[k])
                own &= prepared.valid[ys, xs]
                wins = own & (seen > best[k, ys, xs])
                labels[k, ys, xs][wins] = number
                best[k, ys, xs][wins] = seen[wins]
    return grown(labels, restored, prepared)


class Restored:
    """Residual plus models convolved with the Gaussian beam, free of sidelobes.

    Attributes
    ----------
    parts : dict
        Models added to the residual, by channel: slices along y and x, and the image there.
    """

    def __init__(self, data: ResidualCube) -> None:
        self.data = data
        self.parts: dict[int, list[tuple[slice, slice, Array32]]] = defaultdict(list)

    def planes(self, zs: slice) -> Array32:
        """Channels, ``[chan, y, x]``."""
        out = self.data.box(zs, slice(None), slice(None))
        for k, plane in zip(range(zs.start, zs.stop), out):
            for ys, xs, patch in self.parts.get(k, ()):
                plane[ys, xs] += patch
        return out


def grown(
    labels: Labels, restored: Restored, prepared: PreparedCube, *, threshold: float = 5.0, floor: float = 0.01
) -> Labels:
    """Extend labels over connected emission: each voxel goes to the source that it slopes up to.

    Parameters
    ----------
    labels : array of int
        ``[chan, y, x]``, extended in place.
    restored : Restored
        The data.
    prepared : PreparedCube
        The cube.
    threshold : float
        Lowest S/N of the restored cube averaged over three channels.
    floor : float
        Fraction of the cube's brightest voxel below which nothing is added: deconvolution and calibration
        leave errors of this size.

    Returns
    -------
    array of int
        The labels.
    """
    place, value = _bright(restored, prepared, threshold)
    place = place[value > floor * value.max(initial=0.0)]
    flat = labels.reshape(-1)
    known = np.flatnonzero(flat)
    if not known.size or flat[place].all():
        return labels
    voxels = np.union1d(place, known)
    joined = _connected(voxels, labels.shape)
    # emission entirely inside its label adds nothing
    count = np.bincount(joined)
    of_labels = np.bincount(joined[np.isin(voxels, known, assume_unique=True)], minlength=count.size)
    for one in np.flatnonzero((of_labels > 0) & (of_labels < count)):
        inside = np.unravel_index(voxels[joined == one], labels.shape)
        box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in inside)
        mask = np.zeros([b.stop - b.start for b in box], dtype=bool)
        mask[tuple(i - b.start for i, b in zip(inside, box))] = True
        slope = -restored.planes(box[0])[:, box[1], box[2]]
        labels[box][mask] = watershed(slope, markers=labels[box] * mask, mask=mask)[mask]
    return labels


def _bright(restored: Restored, prepared: PreparedCube, threshold: float) -> tuple[NDArray[np.int_], Array32]:
    """Flat indices of voxels above `threshold` over three channels, and their values in the cube."""
    n_chan, n_y, n_x = prepared.line.shape
    usable = prepared.sigma > 0
    scale = np.where(usable, 1 / np.where(usable, prepared.sigma, 1.0), 0.0).astype(np.float32)
    places, values = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=np.float32)]
    # channel by channel, which stays in the processor's cache
    near = {0: restored.planes(slice(0, 1))[0]}
    for k in range(n_chan):
        if k + 1 < n_chan:
            near[k + 1] = restored.planes(slice(k + 1, k + 2))[0]
        if usable[k]:
            smooth = near[k] * scale[k]
            if 0 < k < n_chan - 1:
                smooth += near[k - 1] * scale[k - 1]
                smooth += near[k + 1] * scale[k + 1]
                smooth /= np.float32(np.sqrt(3))
            at = np.flatnonzero((smooth > threshold) & prepared.valid)
            places.append(at + k * n_y * n_x)
            values.append(near[k].take(at))
        near.pop(k - 1, None)
    return np.concatenate(places), np.concatenate(values)


def _connected(voxels: NDArray[np.int_], shape: tuple[int, ...]) -> NDArray[np.int_]:
    """Number of the connected group (over faces) of each voxel, given as sorted flat indices."""
    steps = (shape[1] * shape[2], shape[2], 1)
    pairs = []
    for apart, coordinate, n in zip(steps, np.unravel_index(voxels, shape), shape):
        first = np.flatnonzero(coordinate < n - 1)
        second = np.minimum(np.searchsorted(voxels, voxels[first] + apart), voxels.size - 1)
        found = voxels[second] == voxels[first] + apart
        pairs.append((first[found], second[found]))
    first, second = (np.concatenate(ends) for ends in zip(*pairs))
    edges = coo_matrix((np.ones(first.size, dtype=bool), (first, second)), shape=(voxels.size,) * 2)
    return np.asarray(connected_components(edges, directed=False)[1])
