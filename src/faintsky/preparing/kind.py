"""Whether data are dirty or restored: by their header, or by what surrounds their bright sources."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from faintsky.errors import InputError
from faintsky.image import RadioCube, RadioData
from faintsky.preparing.image import PreparedImage
from faintsky.preparing.noise import robust_sigma
from faintsky.preparing.sidelobes import Plane, Surroundings

Data = TypeVar("Data", bound=RadioData)

KINDS = ("auto", "restored", "dirty")
DEPTH, HIDDEN = 0.004, 0.15
"""Common depth of sidelobes that makes data dirty, over the peaks, and over the noise: what is shallower is
left by a good CLEAN, or does no harm. ALMA's 43 antennas have 0.005 in natural weights, LOFAR 0.01; images
CLEANed down to three times the noise have 0.001."""
SURE_ONE, SURE_MORE = 3.5, 2.2
"""By how many of its errors: about one source, whose own shape may be symmetric, and about several."""
NOISE_DIRTY, NOISE_RESTORED = 0.2, 0.3
"""Share of the negative sidelobes of a psf read off the noise: surely above in dirty cubes, or below in
restored ones. Dirty cubes have 0.5 and more in natural weights, in Briggs', whose psf it is not quite, 0.1 to
0.3."""
RESTORED_SHARE = 0.2
"""Share of a given psf's sidelobes about bright sources below which an image is free of them."""
LINES, LINE_SNR = 4, 6.0
"""Lines of a cube whose surroundings are looked at, and the least S/N in their channels."""
CARDS = ("WSCMINOR", "WSCNITER", "NITERS", "NITER")
"""Iterations of CLEAN: WSClean's, done and at most, MIRIAD's, and others'."""
_COUNT = re.compile(r"\bn_?iters?\s*[=:]\s*'?(\d+)")
_RESTORED = re.compile(r"\brestor:|fitted beam used in restoration")


@dataclass(frozen=True)
class Kind:
    """What data are taken for.

    Attributes
    ----------
    name : {"restored", "dirty"}
    why : str
        In words.
    """

    name: str
    why: str

    @property
    def note(self) -> str:
        """For the reader."""
        return f"taken for {self.name}: {self.why}"


def of_kind(data: Data, kind: str) -> Data:
    """Data of the kind that the user says; as they are where that is ``auto``.

    Raises
    ------
    InputError
        Where it is none of `KINDS`.
    """
    if kind not in KINDS:
        raise InputError(f"no kind of data is called {kind!r}", f"choose one of {', '.join(KINDS)}")
    return data if kind == "auto" else replace(data, kind=kind)


def said_kind(data: RadioData) -> Kind | None:
    """What the user says of data, or else their header; None where neither tells.

    Headers count CLEAN's iterations in a card, or tell of it in their history, in which any call with
    iterations makes a restored image. AIPS writes ``CLEAN NITER=0`` where the number was lost, too: that says
    nothing.
    """
    if data.kind != "auto":
        return Kind(data.kind, "as asked")
    for card in CARDS:
        count = data.header.get(card)
        if isinstance(count, int | float) and not isinstance(count, bool):
            made = f"{count:.0f}" if count > 0 else "no"
            name = "restored" if count > 0 else "dirty"
            return Kind(name, f"{made} iterations of CLEAN in its header ({card})")
    # CASA goes on behind ">" where a card is full
    history = "\n".join(str(line).lower() for line in data.header.get("HISTORY", []))
    lines = history.replace("\n>", "").splitlines()
    counts = [(int(n), line) for line in lines for n in _COUNT.findall(line)]
    if any(n for n, _ in counts) or any(_RESTORED.search(line) for line in lines):
        return Kind("restored", "its history tells of a deconvolution")
    if any("aips" not in line for _, line in counts):
        return Kind("dirty", "no iterations of CLEAN in its history")
    return None


def kind_by_psf(prepared: PreparedImage, response: Callable[[NDArray[np.float32]], Any]) -> Kind:
    """An image with a psf is dirty unless its sources are free of sidelobes.

    A psf is of use to a dirty image only, and broad sidelobes look like faint emission.
    """
    share, error = sidelobe_share(prepared, response)
    if not np.isfinite(error):
        return Kind("dirty", "there is a psf, and nothing bright enough to tell")
    name = "restored" if share + 2 * error < RESTORED_SHARE else "dirty"
    return Kind(name, f"{share:.2f} ± {error:.2f} of the psf's sidelobes surround the brightest sources")


def sidelobe_share(
    prepared: PreparedImage, response: Callable[[NDArray[np.float32]], Any]
) -> tuple[float, float]:
    """How much of the psf's sidelobes there is about the brightest parts of an image.

    What the parts above half of the peak would add to their surroundings in a dirty image is fitted to these,
    out to six beams: 1 is what points in a dirty image have, 0 what they have in a restored one.

    Parameters
    ----------
    prepared : PreparedImage
    response : callable
        The dirty image of a sky at the beam's resolution.

    Returns
    -------
    share, error : float
        The error is infinite where nothing is brighter than six times the noise.
    """
    snr = prepared.scaled
    bright = snr > max(6.0, 0.5 * float(snr.max()))
    if not bright.any():
        return 0.0, np.inf
    distance = distance_transform_edt(~bright) / max(prepared.beam_pixels, 1.0)
    ring = prepared.valid & (distance > 0.7) & (distance < 6)
    scale = np.where(ring, 1 / np.where(ring, prepared.rms, 1), 0.0)
    expected = response(np.where(bright, prepared.data, np.float32(0))) * scale
    power = max(float((expected**2).sum()), 1e-30)
    share = float((expected * prepared.data * scale).sum()) / power
    return share, float(np.sqrt(prepared.beam_area / power))


def kind_by_sources(
    around: Surroundings,
    *,
    noise_psf: NDArray[np.floating] | None = None,
    otherwise: str = "restored",
) -> Kind:
    """What the surroundings of the bright sources tell: in dirty data all have the same sidelobes.

    Parameters
    ----------
    around : Surroundings
        Of an image's sources, or of a cube's.
    noise_psf : array, optional
        A psf read off the noise, ``[y, x]``.
    otherwise : str, optional
        What is taken where they do not tell.
    """
    hint = f"; say --kind {'dirty' if otherwise == 'restored' else 'restored'} if it is"
    if not around.sources:
        return Kind(otherwise, f"nothing in it is bright enough to tell{hint}")
    sources = "its bright source" if around.sources == 1 else f"its {around.sources} brightest sources"
    value, error = around.depth()
    share, share_error = (0.0, np.inf) if noise_psf is None else around.share(noise_psf)
    least = max(DEPTH, HIDDEN * float(around.noise.min()))
    sure = SURE_ONE if around.sources == 1 else SURE_MORE
    if value > max(least**2, sure * error) or share - 3 * share_error > NOISE_DIRTY:
        return Kind("dirty", f"the same sidelobes surround {sources}")
    if max(value, 0.0) + 2 * error < DEPTH**2 or share + 2 * share_error < NOISE_RESTORED:
        return Kind("restored", f"no sidelobes surround {sources}")
    return Kind(otherwise, f"noise hides whether sidelobes surround {sources}{hint}")


def kind_of_cube(
    cube: RadioCube,
    continuum: NDArray[np.floating],
    line: NDArray[np.float32],
    sigma: NDArray[np.float64],
    valid: NDArray[np.bool_],
    beam: tuple[float, float, float],
    noise_psf: NDArray[np.floating] | None,
) -> Kind:
    """What a cube without a psf is taken for; arguments as for `cube_planes` and `kind_by_sources`.

    Where nothing tells it is taken for dirty, if a psf was read off its noise: what is too faint for CLEAN
    looks like that in both kinds.
    """
    said = said_kind(cube)
    if said is not None:
        return said
    around = Surroundings(cube_planes(continuum, line, sigma, valid), float(np.sqrt(beam[0] * beam[1])))
    return kind_by_sources(
        around, noise_psf=noise_psf, otherwise="restored" if noise_psf is None else "dirty"
    )


def cube_planes(
    continuum: NDArray[np.floating],
    line: NDArray[np.float32],
    sigma: NDArray[np.float64],
    valid: NDArray[np.bool_],
) -> list[Plane]:
    """Images of a cube with its brightest sources: the continuum, and the channels of the strongest lines.

    Parameters
    ----------
    continuum : array
        ``[y, x]``
    line : array
        The cube less its continuum, ``[chan, y, x]``.
    sigma : array
        Noise of every channel, 0 for a blank one.
    valid : array of bool
        ``[y, x]``
    """
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
        # a level of its own, which all pixels share, is no sidelobe
        data = np.where(valid, image - level * (abs(level) > rms), 0)
        planes.append(Plane(data, np.where(valid, rms, 0), valid))
    return planes
