"""Components that make one source, and sources that touch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from faintsky.detection.pursuit import Component
from faintsky.source_model import line_profile

DIP = 0.15
"""Least relative depth of the dip between two sources."""


def observed_extent(c: Component, beam_pixels: float) -> tuple[float, float]:
    """Half the observed FWHM on the sky [pixel] (along the major axis) and along frequency [channel]."""
    maj, _, _ = c.source.axes()
    return 0.5 * float(np.hypot(maj, beam_pixels)), 0.5 * c.source.fwhm_z


def observed_value(components: Sequence[Component], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the models at ``points`` ``[n, 3]`` (x, y, z) [Jy/beam]."""
    total = np.zeros(len(points))
    for c in components:
        s = c.source
        sky = map_coordinates(c.image, [points[:, 1], points[:, 0]], order=1, mode="nearest")
        total += s.amplitude * sky * line_profile(points[:, 2], s.z, s.fwhm_z)
    return total


def touching(a: Component, b: Component, beam_pixels: float, reach: float = 1.0) -> bool:
    """Whether two components come within `reach` times the sum of their observed half widths."""
    ra, za = observed_extent(a, beam_pixels)
    rb, zb = observed_extent(b, beam_pixels)
    distance = np.hypot(a.source.x - b.source.x, a.source.y - b.source.y)
    return bool(distance < reach * (ra + rb) and abs(a.source.z - b.source.z) < reach * (za + zb))


def _connected(a: Component, b: Component) -> bool:
    """Whether the lines of two components meet at half their height."""
    return bool(abs(a.source.z - b.source.z) < 0.5 * (a.source.fwhm_z + b.source.fwhm_z))


def one_source(a: Component, b: Component, components: Sequence[Component]) -> bool:
    """Whether the way from one component to the other has no significant dip.

    The sum of all models is followed along the straight line between the two: where it falls below the
    fainter end by more than `DIP` of it, and by more than three standard errors, there are two sources.
    """
    if np.sign(a.source.amplitude) != np.sign(b.source.amplitude):
        return False
    t = np.linspace(0, 1, 11)[:, None]
    ends = np.array([[c.source.x, c.source.y, c.source.z] for c in (a, b)])
    values = np.abs(observed_value(components, ends[0] * (1 - t) + ends[1] * t))
    fainter = min(values[0], values[-1])
    error = max(abs(c.source.amplitude) * c.source.norm / max(c.snr, 1.0) for c in (a, b))
    return bool(fainter - values.min() < max(3 * error, DIP * fainter))


def group_components(
    components: Sequence[Component],
    beam_pixels: float,
    homes: Sequence[int | None] | None = None,
    hosts: Sequence[int | None] | None = None,
) -> list[list[int]]:
    """Indices of the components of each source: connected where they touch and no dip parts them.

    The parts of a rotating galaxy's line lie side by side on its continuum, each at another frequency, and a
    dip between its horns is no end of it.

    Parameters
    ----------
    components : sequence of Component
        Of all sources.
    beam_pixels : float
        FWHM of the beam [pixel].
    homes : sequence of int or None, optional
        Continuum source whose place and shape each component has: components of two are two sources.
    hosts : sequence of int or None, optional
        Continuum source that a component without a home lies on.
    """
    n = len(components)
    homes = [None] * n if homes is None else homes
    hosts = [None] * n if hosts is None else hosts
    label = list(range(n))

    def root(i: int) -> int:
        while label[i] != i:
            i = label[i]
        return i

    for i in range(n):
        for j in range(i):
            a, b = components[i], components[j]
            if root(i) == root(j) or (None not in (homes[i], homes[j]) and homes[i] != homes[j]):
                continue
            one_host = hosts[i] is not None and hosts[i] == hosts[j] and _connected(a, b)
            if one_host or (touching(a, b, beam_pixels) and one_source(a, b, components)):
                label[root(i)] = root(j)
    groups: dict[int, list[int]] = {}
    for i in range(n):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())
