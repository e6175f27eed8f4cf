"""An image prepared for search and denoising: blanks, noise, beam and units."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion

from faintsky.arrays import Array, Array32, Bool
from faintsky.beams import sampled_area
from faintsky.errors import InputError
from faintsky.image import RadioImage
from faintsky.preparing.noise import noise_map
from faintsky.preparing.psf import beam_from_noise, fitted_beam

LEAST_SIDE = 8
"""Least side of an image [pixel]: in a smaller one signal and noise cannot be told apart."""


@dataclass(frozen=True)
class Plane:
    """An image: data and noise ``[y, x]`` in one unit, both 0 where it is not valid."""

    data: Array
    rms: Array
    valid: Bool


@dataclass(frozen=True)
class PreparedImage:
    """Data for detectors and denoisers, in the unit of the file.

    Attributes
    ----------
    data : array
        ``[y, x]``, 0 where blank.
    valid : array of bool
        Pixels that hold data.
    rms : array
        Standard deviation of the noise, ``[y, x]``, NaN where blank.
    rms_origin : {"given", "measured", "sidelobes"}
        Origin; ``sidelobes`` where these were added to one of the others.
    beam : tuple of float or None
        Major and minor FWHM [pixel] and position angle [deg]; None for noise without correlation.
    beam_origin : {"given", "psf", "noise", "none"}
        Origin.
    jy_per_pixel, jy_per_beam : float
        Factors that turn the file's unit into Jy/pixel and Jy/beam; NaN where that is not possible.
    """

    data: Array32
    valid: Bool
    rms: Array32
    rms_origin: str
    beam: tuple[float, float, float] | None
    beam_origin: str
    jy_per_pixel: float
    jy_per_beam: float

    @property
    def beam_pixels(self) -> float:
        """Geometric mean of the beam's FWHMs [pixel]; 0 for white noise."""
        return 0.0 if self.beam is None else float(np.sqrt(self.beam[0] * self.beam[1]))

    @property
    def beam_area(self) -> float:
        """Area of the beam [pixel]; 1 for white noise."""
        return 1.0 if self.beam is None else float(sampled_area(self.beam, 1.0)[0])

    @property
    def typical_rms(self) -> float:
        """Median of the noise over the image."""
        return float(np.median(self.rms[self.valid]))

    @property
    def scaled(self) -> Array32:
        """Data over rms, 0 where blank."""
        return self._over_rms(self.data)

    @property
    def weight(self) -> Array32:
        """Median rms over rms, 0 where blank."""
        return self._over_rms(np.full_like(self.data, self.typical_rms))

    def _over_rms(self, values: Array32) -> Array32:
        return np.where(self.valid, values / np.where(self.valid, self.rms, 1), 0).astype(np.float32)

    @property
    def plane(self) -> Plane:
        """Data and noise in which sources are looked for."""
        return Plane(self.data, np.nan_to_num(self.rms), self.valid)

    def with_noise(self, residual: Array, emission: Bool | None = None) -> PreparedImage:
        """The same with the noise measured again on a residual; unchanged where the noise was given."""
        if self.rms_origin == "given":
            return self
        rms = noise_map(residual, self.valid, self.beam_pixels, emission=emission)
        return replace(self, rms=np.where(rms > 0, rms, self.rms))


def prepare_image(image: RadioImage, *, floor: float = 0.0) -> PreparedImage:
    """Blanks, noise, beam and units of an image.

    Parameters
    ----------
    image : RadioImage
        With its psf and rms where known.
    floor : float, optional
        Least noise [Jy/arcsec2]. If not 0, the image may be free of noise, and areas of constant value are
        data, not blanks.

    Raises
    ------
    InputError
        Where it holds no data, no noise, or is too small; with a floor, where its unit is not a brightness.
    """
    data = image.data
    if min(data.shape) < LEAST_SIDE:
        raise InputError(
            f"its {data.shape[1]} x {data.shape[0]} pixels are too few to measure its noise",
            f"give at least {LEAST_SIDE} x {LEAST_SIDE} pixels",
            image.name,
        )
    valid = np.isfinite(data) if floor else pixels_with_data(data)
    if valid.sum() < LEAST_SIDE**2 // 2:
        raise InputError("holds no data: it is blank", "give an image with data", image.name)
    if np.ptp(data[valid]) == 0:
        raise InputError("has no noise: it is blank or constant", "give an image with noise", image.name)
    filled = np.where(valid, data, np.float32(0))
    beam, origin = _beam(image, filled, valid)
    per_pixel, per_beam = _jansky(image, beam)
    if image.rms is not None:
        rms = np.where(image.rms[0] > 0, image.rms[0], np.nan).astype(np.float32)
        valid &= np.isfinite(rms)
        if not valid.any():
            raise InputError("its noise is not known anywhere", "give another --rms", image.name)
    else:
        rms = noise_map(filled, valid, 0.0 if beam is None else float(np.sqrt(beam[0] * beam[1])))
    if floor:
        rms = np.maximum(rms, floor / _brightness(image, per_pixel))
    if not np.nanmedian(rms) > 0:
        raise InputError("has no noise: most of it is constant", "give an image with noise", image.name)
    # a box of constant values has no noise
    rms = np.where(valid & (rms > 0), rms, np.nan).astype(np.float32)
    valid &= np.isfinite(rms)
    return PreparedImage(
        np.where(valid, filled, np.float32(0)), valid, rms, "measured" if image.rms is None else "given",
        beam, origin, per_pixel, per_beam,
    )  # fmt: skip


def surface_brightness(image: RadioImage) -> float:
    """Factor from an image's unit to Jy/arcsec2, with the beam of its header where needed.

    Raises
    ------
    InputError
        Where that is not possible.
    """
    return _brightness(image, _jansky(image, image.middle_beam)[0])


def _brightness(image: RadioImage, per_pixel: float) -> float:
    if np.isfinite(per_pixel):
        return per_pixel / image.grid.cell**2
    fault = f"its unit ({image.unit or 'none'}) cannot be turned into Jy/arcsec2"
    raise InputError(fault, "give an image in Jy/arcsec2, or in Jy/beam with its beam", image.name)


def pixels_with_data(data: Array32) -> Bool:
    """Pixels that hold data: neither NaN nor in an area of exact zeros, which some imagers write."""
    finite = np.isfinite(data)
    zero = data == 0
    block = np.ones((3, 3), dtype=bool)
    area = binary_dilation(binary_erosion(zero, block, border_value=1), block) & zero
    return finite & ~area


def _beam(image: RadioImage, data: Array32, valid: Bool) -> tuple[tuple[float, float, float] | None, str]:
    if image.beams is not None:
        return image.middle_beam, "given"
    if image.psf is not None:
        fitted = fitted_beam(image.psf[0])
        image.say_beam("fitted to the psf", fitted)
        return fitted, "psf"
    measured = beam_from_noise(data, valid)
    if measured is None:
        image.say_beam("its noise is uncorrelated, and treated as white noise", None)
        return None, "none"
    image.say_beam("measured from the noise's correlation", measured)
    return measured, "noise"


def _jansky(image: RadioImage, beam: tuple[float, float, float] | None) -> tuple[float, float]:
    """Factors to Jy/pixel and Jy/beam; NaN, with a note, where unit or beam do not allow them."""
    from astropy import units as u

    cell = image.grid.cell
    if beam is None:
        pixel = {u.Jy / u.pix: 1.0, u.Jy / u.arcsec**2: cell**2}
        for unit, factor in pixel.items():
            if image.unit.is_equivalent(unit):
                return float(image.unit.to(unit)) * factor, np.nan
        fault = f"its unit ({image.unit or 'none'}) gives no flux without a beam"
    else:
        beams = np.array([[beam[0] * cell, beam[1] * cell, beam[2]]])
        known = replace(image, beams=beams)
        try:
            per_beam = float(known.to_jy_per_beam()[0])
        except InputError as error:
            fault = error.fault
        else:
            return per_beam / float(sampled_area(beams, cell)[0]), per_beam
    if image.has_flux:  # otherwise there is a note already
        image.notes.append(f"fluxes are not known: {fault}")
    return np.nan, np.nan
