"""The maps that go with an image: psf, primary beam, noise, mask; and the checks that they fit it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faintsky.arrays import Array32, Float
from faintsky.beams import beam_pixels
from faintsky.errors import InputError, UnreadableError
from faintsky.units import in_unit

Load = Callable[..., NDArray[Any]]
"""Returns data ``[1 or chan, y, x]``; called with a box, only this part of them."""
Box = tuple[slice, ...]
"""Rows and columns, or channels, rows and columns."""


@dataclass(frozen=True)
class Forgiving:
    """Loads data that cannot be read everywhere: unreadable parts are NaN, and `lost` lists them.

    Parameters
    ----------
    read : callable
        Reads all or a box of them.

    Attributes
    ----------
    shape : tuple of int
        ``(chan, y, x)`` of the data.
    lost : list of str
        Messages on the parts that could not be read.
    """

    read: Load
    shape: tuple[int, ...]
    lost: list[str] = field(default_factory=list)

    def __call__(self, box: Box | None = None) -> NDArray[Any]:
        """All data, or those of a box."""
        whole = tuple(slice(0, n) for n in self.shape)
        box = whole if box is None else box
        return self._part(box if len(box) == 3 else (whole[0], *box))

    def _part(self, box: Box) -> NDArray[Any]:
        try:
            return self.read(box)
        except UnreadableError as error:
            sides = [s.stop - s.start for s in box]
            axis = int(np.argmax(sides))
            if sides[axis] > LEAST_LOST:
                s, middle = box[axis], box[axis].start + sides[axis] // 2
                halves = (slice(s.start, middle), slice(middle, s.stop))
                parts = [self._part((*box[:axis], half, *box[axis + 1 :])) for half in halves]
                return np.concatenate(parts, axis)
            named = zip(("channels", "rows", "columns"), box, self.shape)
            place = ", ".join(f"{k} {s.start} to {s.stop - 1}" for k, s, n in named if n > 1)
            self.lost.append(f"{place} cannot be read: {error.fault}")
            return np.full(sides, np.nan, np.float32)


LEAST_LOST = 16
"""Longest side of a box that is given up as a whole if it cannot be read [pixel or channel]."""
COMPANIONS = ("psf", "pb", "rms", "mask", "residual", "model_image")
"""Kinds of companions."""
LOBE = 4.0
"""Largest allowed ratio of the psf's area above half its peak to the beam's."""
NARROW = 10.0
"""Largest allowed ratio of the beam's to the psf's: where that has a plateau, imagers fit the beam to it."""
LEAST_PEAK = 0.1
"""Least peak of a primary beam."""
OWN_PEAK = 0.9
"""Peak of a primary beam below which the image must be off the pointing."""
BEAM_RANGE = (-0.01, 1.1)
"""Values of a primary beam: 0 to 1, with a tolerance for rounding."""
INFINITE = "infinite, and taken as blank"
"""What a note says of values that are no numbers."""
MOST_NOISE = 20.0
"""Noise over the scatter of the data above which it is refused."""
LEAST_NOISE = 1e-3
"""Noise over the scatter of the data below which there is a note."""


def cut(cube: NDArray[Any], box: Box | None = None) -> NDArray[Any]:
    """All or a box of ``[1 or chan, y, x]``: one plane is that of all channels."""
    if box is None:
        return cube
    return cube[:, *box[-2:]] if len(box) < 3 or len(cube) == 1 else cube[box]


def as_float32(array: Any, notes: list[str] | None = None, *, part: bool = False) -> Array32:
    """A copy in native byte order, float32, with NaN where it is masked or not a finite number there.

    Parameters
    ----------
    array : array-like
        Of any shape; the masks of `numpy.ma` and of `astropy.utils.masked` are heeded, units are not.
    notes : list of str, optional
        Gets a note where values are infinite.
    part : bool, optional
        Whether these are a part of the data: the note then gives no number.

    Returns
    -------
    array
    """
    # values beyond float32's range become infinite in the cast, and then blank like other infinities
    with np.errstate(over="ignore", invalid="ignore"):
        data = np.array(getattr(array, "unmasked", array), dtype=np.float32)
    mask = getattr(array, "mask", None)
    if mask is not None and np.any(mask):
        data[np.broadcast_to(mask, data.shape)] = np.nan
    blank = ~np.isfinite(data)
    infinite = 0 if notes is None else int(np.isinf(data[blank]).sum())
    data[blank] = np.nan
    if notes is not None and infinite and not any(INFINITE in note for note in notes):
        many = "some pixels are" if part else "1 pixel is" if infinite == 1 else f"{infinite} pixels are"
        notes.append(f"{many} {INFINITE}")
    return data


def array_companion(kind: str, value: Any, data: Any) -> Load:
    """A function that reads and checks a companion given as an array.

    Parameters
    ----------
    kind : str
        One of `COMPANIONS`.
    value : array or Quantity
        ``[y, x]`` or ``[1 or chan, y, x]``.
    data : RadioData
        The image or cube that it belongs to.

    Returns
    -------
    callable
        Returns it as ``[1 or chan, y, x]``.

    Raises
    ------
    InputError
        Where its shape or its unit does not fit the data.
    """
    factors = np.ones(1)
    if hasattr(value, "to_value") and kind in ("rms", "residual"):
        factors, value = data.noise_factors(value.unit), value.value
    array = as_float32(in_unit(value, "", f"{kind}", kind))
    cube = array[None] if array.ndim == 2 else array
    return companion(kind, partial(cut, cube), cube.shape, data, kind, factors)


def companion(
    kind: str,
    load: Load,
    own: tuple[int, ...],
    data: Any,
    name: str,
    factors: Float,
    *,
    in_data_unit: bool = False,
) -> Load:
    """A function that reads and checks a companion, ``[1 or chan, y, x]``; a psf by `centred_psf`.

    A mask becomes boolean: true where it is neither 0 nor blank. Where only a part is read, only values are
    refused that no companion of this kind can have.

    Parameters
    ----------
    kind : str
        One of `COMPANIONS`.
    load : callable
        Returns its values, all or those of a box, as does the result.
    own : tuple of int
        Their shape.
    data : RadioData
        The image or cube that it belongs to; assumptions are added to its notes.
    name : str
        For messages.
    factors : array, ``[1 or chan]``
        Factors from the companion's unit to that of the data.
    in_data_unit : bool, optional
        Whether its header has the unit of the data.

    Returns
    -------
    callable

    Raises
    ------
    InputError
        Here, where its shape is not that of the data; on reading, where its values cannot belong to the data,
        or are those of another kind of companion.
    """
    require_shape(kind, own, data.shape, name)
    factor = factors[:1] if np.allclose(factors, factors[0], rtol=1e-6) else factors

    def read(box: Box | None = None) -> Any:
        cube = load(box)
        if np.any(factor != 1):
            own = factor if box is None or len(box) < 3 or len(factor) == 1 else factor[box[0]]
            cube = cube * own.astype(np.float32)[:, None, None]
        low, high = float(np.fmin.reduce(cube, axis=None)), float(np.fmax.reduce(cube, axis=None))
        if box is None:
            require_shape(kind, cube.shape, data.shape, name)
            if np.isnan(low) or low == high == 0:
                raise InputError(f"the {kind} is blank", f"give another {kind}", name)
        if kind == "psf":
            cube = centred_psf(cube, name, data.notes)
            _check_lobe(cube, _lobe_of_beam(data), name)
        elif kind == "pb":
            if box is None:
                _check_pattern(cube, low, high, data, name, in_data_unit)
            elif low < BEAM_RANGE[0] or high > BEAM_RANGE[1]:
                raise _no_pattern(low, high, name)
        elif kind == "rms" and box is None:
            _check_noise(cube, low, data, name)
        elif kind == "mask":
            if np.any(np.nan_to_num(cube) % 1):
                fault = f"a mask holds whole numbers, 0 outside, this one values of {low:.3g} to {high:.3g}"
                raise InputError(fault, "give labels, or 0 and 1", name)
            return np.nan_to_num(cube) != 0
        return cube

    return read


def require_shape(kind: str, own: Sequence[int], shape: Sequence[int], name: str) -> None:
    """Refuse a companion whose shape does not fit the data.

    Parameters
    ----------
    kind : str
        One of `COMPANIONS`; a psf may have any number of pixels.
    own, shape : sequence of int
        ``(chan, y, x)`` of the companion and of the data; a companion may have one channel.
    name : str
        For messages.

    Raises
    ------
    InputError
        Where it does not fit.
    """
    planes_fit = len(own) == 3 and own[0] in (1, shape[0])
    if not (planes_fit and (tuple(own[1:]) == tuple(shape[1:]) or kind == "psf")):
        fault = f"its shape {tuple(own)} does not fit the data's {tuple(shape)}"
        raise InputError(fault, f"give a {kind} of the data's shape, with one plane or one per channel", name)


def _lobe_of_beam(data: Any) -> float:
    """Area of the data's beam above half its peak [pixel]; NaN where there is no beam."""
    if data.beams is None:
        return np.nan
    # of a Gaussian: pi / 4 fwhm_maj fwhm_min above half its peak, 1 / ln 2 of it in all
    return float(np.log(2) * np.median(beam_pixels(data.beams, data.grid.cell)))


def _main_lobe(plane: Array32) -> tuple[int, bool]:
    """Pixels above half the peak that hang together with it, and whether they reach the border."""
    from scipy.ndimage import label

    lobes, _ = label(plane > 0.5 * plane.max())
    main = lobes == lobes[np.unravel_index(int(plane.argmax()), plane.shape)]
    return int(main.sum()), bool(main[[0, -1]].any() or main[:, [0, -1]].any())


def _check_lobe(psf: Array32, beam_area: float, name: str) -> None:
    plane = psf[len(psf) // 2]
    lobe, cut = _main_lobe(plane)
    if np.isnan(beam_area):
        wide, narrow = min(plane.shape) >= 32 and lobe > 0.1 * plane.size, False
        known = "more than a tenth of its image"
    else:
        # a narrow lobe covers too few pixels to measure its area
        wide, narrow = lobe > LOBE * beam_area + 5, not cut and NARROW * lobe + 5 < beam_area
        known = f"the data's beam {beam_area:.3g}"
    if wide or narrow:
        fault = f"not the psf of these data: its main lobe covers {lobe} pixels, {known}"
        hint = "give the dirty beam (a primary beam is given as --pb), or correct BMAJ and BMIN"
        raise InputError(fault, hint, name)


def _no_pattern(low: float, high: float, name: str) -> InputError:
    return InputError(
        f"a primary beam lies between 0 and 1, this one between {low:.3g} and {high:.3g}",
        "give the power pattern, 1 at the pointing centre (noise is given as --rms)",
        name,
    )


def _check_pattern(cube: Array32, low: float, high: float, data: Any, name: str, in_data_unit: bool) -> None:
    noise = in_data_unit and high < OWN_PEAK and float(np.nanmedian(cube)) < MOST_NOISE * data.scatter()
    if low < BEAM_RANGE[0] or high > BEAM_RANGE[1] or high < LEAST_PEAK or noise:
        raise _no_pattern(low, high, name)
    plane = np.nan_to_num(cube[len(cube) // 2])
    lobe, cut = _main_lobe(plane) if plane.any() else (0, True)
    # the longest baseline of an array is many dishes long
    if not cut and lobe < LOBE * _lobe_of_beam(data) + 5:
        raise InputError(
            "as narrow as the synthesised beam: not a primary beam", "give a dirty beam as --psf", name
        )


def _check_noise(cube: Array32, low: float, data: Any, name: str) -> None:
    if low < 0:
        raise InputError("the noise map has negative values", "give standard deviations", name)
    values = cube[np.isfinite(cube)]
    # one level beside blanks is a noise map, unless it is 1
    flat = 1 != values.max() == values[values > 0].min()
    if low == 0 and not np.any(values % 1) and not flat:
        fault = "looks like a mask, not noise: whole numbers, and 0 in places"
        raise InputError(fault, "give a noise map, or give this file as --mask", name)
    scatter = data.scatter()
    ratio = float(np.median(values[values > 0])) / scatter if scatter > 0 else 1.0
    if ratio > MOST_NOISE:
        fault = f"the noise map is {ratio:.3g} times the scatter of the data"
        raise InputError(fault, "give the noise in the data's unit (a primary beam is given as --pb)", name)
    if ratio < LEAST_NOISE:
        data.notes.append(
            f"the noise map is {ratio:.2g} of the data's scatter: check that its unit is the same"
        )


def centred_psf(psf: Array32, name: str, notes: list[str] | None = None) -> Array32:
    """A psf with its peak of 1 at ``(n_y // 2, n_x // 2)``.

    It is cropped around the peak where that lies elsewhere. Blank planes take the nearest good one; NaN
    become 0.

    Parameters
    ----------
    psf : array
        ``[chan, y, x]``
    name : str
        For messages.
    notes : list of str, optional
        Receives a note where the psf was cropped.

    Returns
    -------
    array
        ``[chan, y, x]``

    Raises
    ------
    InputError
        Where a plane's peak is not 1 (to 2 %) or the planes peak at different pixels.
    """
    if not np.isfinite(psf).all():
        psf = np.nan_to_num(psf, nan=0.0, posinf=0.0, neginf=0.0)
    good = np.flatnonzero([plane.any() for plane in psf])
    if len(good) < len(psf):
        psf = psf[good[np.abs(np.arange(len(psf))[:, None] - good[None, :]).argmin(axis=1)]]
    peaks = psf.reshape(len(psf), -1).argmax(axis=1)
    values = psf.reshape(len(psf), -1).max(axis=1)
    if np.any(np.abs(values - 1) > 0.02) or len(set(peaks.tolist())) > 1:
        raise InputError(
            f"not a psf: the peaks of its planes are {values.min():.3g} to {values.max():.3g}, at "
            f"{len(set(peaks.tolist()))} pixel(s)",
            "give the dirty beam, 1 at one central pixel",
            name,
        )
    n_y, n_x = psf.shape[1:]
    y, x = divmod(int(peaks[0]), n_x)
    if (y, x) == (n_y // 2, n_x // 2):
        return psf
    half_y, half_x = min(y, n_y - 1 - y), min(x, n_x - 1 - x)
    if min(half_y, half_x) < 4:
        raise InputError(f"the psf peaks at its edge, pixel ({x}, {y})", "give a whole psf", name)
    if notes is not None:
        notes.append(f"the psf peaks at pixel ({x}, {y}) and was cropped around it")
    return psf[:, y - half_y : y + half_y + 1, x - half_x : x + half_x + 1]
