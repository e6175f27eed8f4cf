"""The fast telescope: dirty images and noise by FFT, on the CPU or a GPU.

A dirty image is the sky times the primary beam, convolved with the exact psf. Psf and primary beam are known
at a few frequencies, the nodes (see `faintsky.simulating.instrument`). A sky that is a sum of images times
spectra is observed once per image and node, and a matrix product makes the cube. A sky given as a cube is
convolved channel by channel.

Thermal noise is drawn in the padded uv plane, in the cells reached by baselines, with the power of the
gridded weights. It is thus correlated like that of the dirty image.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from faintsky.arrays import Array, Array32, Float
from faintsky.simulating.instrument import Instrument
from faintsky.sky import SkyModel

_BATCH = 16
_MANY = 16


@dataclass(frozen=True)
class TermImages:
    """Each image of a sky as observed.

    Parameters
    ----------
    images : tensor
        ``[term, node, y, x]`` [1/beam]
    weights : tensor
        Weights of the nodes in each channel, ``[chan, node]``.
    """

    images: torch.Tensor
    weights: torch.Tensor


class FastTelescope:
    """An instrument ready to observe.

    Parameters
    ----------
    instrument : Instrument
        Psf, primary beam and noise.
    device : str, optional
        A torch device.
    """

    def __init__(self, instrument: Instrument, device: str = "cpu") -> None:
        self.instrument = instrument
        self.device = torch.device(device)
        self._transfer = self._put(instrument.transfer)
        self._pb = self._put(instrument.pb)
        self._weights = self._put(instrument.node_weights().astype(np.float32))
        self._psfs: torch.Tensor | None = None
        # with more nodes than this, convolving a channel is faster than a term
        self._many_nodes = len(instrument.nodes) > _MANY
        half = instrument.padded[1] // 2 + 1
        columns = instrument.noise_cells % half
        # the spectrum is stored up to the last column reached by a baseline
        self._n_columns = int(columns.max()) + 1
        rows = instrument.noise_cells // half
        self._cells = torch.as_tensor(rows * self._n_columns + columns, device=self.device)
        # columns that are their own mirror images count once in a real transform, the others twice
        once = np.where((columns == 0) | (columns == half - 1), 1.0, 0.5).astype(np.float32)
        self._multiplicity = self._put(once)

    def _put(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), device=self.device)

    def _convolved(self, images: torch.Tensor, transfer: torch.Tensor) -> torch.Tensor:
        """Linear convolution of ``[..., y, x]`` with psfs given by their transforms."""
        grid, padded = self.instrument.grid, self.instrument.padded
        wide = torch.fft.rfft2(images, s=padded) * transfer
        return torch.fft.irfft2(wide, s=padded)[..., : grid.n_y, : grid.n_x]

    def convolve(self, images: Array32, transfer: NDArray[Any]) -> torch.Tensor:
        """Images ``[..., y, x]`` convolved with another psf than the instrument's own.

        Parameters
        ----------
        images : array
            Already multiplied by the primary beam.
        transfer : array
            Real transform of the psf on the padded grid, ``[p_y, p_x // 2 + 1]``.
        """
        return self._convolved(self._put(images), self._put(transfer))

    def observe_terms(self, images: Array32) -> TermImages:
        """Observe the images ``[term, y, x]`` of a sky at every node (at the middle one if they are many)."""
        sky = self._put(images)
        if self._many_nodes:
            middle = self._pb.shape[0] // 2
            only = self._convolved(sky * self._pb[middle], self._transfer[middle])
            return TermImages(only[:, None], torch.ones_like(self._weights[:, :1]))
        nodes = [self._convolved(sky * pb, t) for pb, t in zip(self._pb, self._transfer, strict=True)]
        return TermImages(torch.stack(nodes, dim=1), self._weights)

    def dirty(self, sky: SkyModel, terms: TermImages | None = None) -> torch.Tensor:
        """The noise-free dirty cube of a sky, ``[chan, y, x]`` [Jy/beam].

        Parameters
        ----------
        sky : SkyModel
            The sky.
        terms : TermImages, optional
            `observe_terms` of its images, if known already.
        """
        grid, n_chan = self.instrument.grid, self.instrument.spectral.n_chan
        if len(sky.images) and self._many_nodes:
            cube = torch.zeros((n_chan, *grid.shape), device=self.device)
            self._add_cube(cube, sky.as_cube())
            return cube
        if len(sky.images):
            seen = self.observe_terms(sky.images) if terms is None else terms
            spectra = self._put(sky.spectra.T.astype(np.float32))
            table = (spectra[:, :, None] * seen.weights[:, None, :]).reshape(n_chan, -1)
            cube = (table @ seen.images.reshape(table.shape[1], -1)).reshape(n_chan, *grid.shape)
        else:
            cube = torch.zeros((n_chan, *grid.shape), device=self.device)
        if sky.cube is not None:
            self._add_cube(cube, sky.cube)
        return cube

    def summed(self, sky: SkyModel, weights: Array) -> torch.Tensor:
        """Weighted sum ``[y, x]`` over channels of the noise-free dirty cube, without making the cube.

        The sky is summed for every node before it is observed, so there is one transform per node, not per
        channel.
        """
        grid, padded = self.instrument.grid, self.instrument.padded
        if sky.cube is not None:
            return torch.tensordot(self._put(weights.astype(np.float32)), self.dirty(sky), dims=1)
        amounts = self._put((sky.spectra * weights @ self.instrument.node_weights()).astype(np.float32))
        skies = torch.tensordot(amounts.T, self._put(sky.images), dims=1) * self._pb
        wide = (torch.fft.rfft2(skies, s=padded) * self._transfer).sum(dim=0)
        return torch.fft.irfft2(wide, s=padded)[: grid.n_y, : grid.n_x]

    def voxel(self, sky: SkyModel, z: int, y: int, x: int) -> float:
        """One voxel of the noise-free dirty cube, without any transform.

        Parameters
        ----------
        sky : SkyModel
            The sky.
        z, y, x : int
            Channel and pixel.

        Returns
        -------
        float
            [Jy/beam]
        """
        if sky.cube is not None:
            return float(self.dirty(sky)[z, y, x])
        if self._psfs is None:
            self._psfs = self._put(self.instrument.node_psfs())
        (n_y, n_x), (p_y, p_x) = self.instrument.grid.shape, self.instrument.padded
        # psfs are symmetric about p // 2
        about = self._psfs[:, p_y // 2 - y :, p_x // 2 - x :][:, :n_y, :n_x]
        plane = np.tensordot(sky.spectra[:, z].astype(np.float32), sky.images, 1)
        return float((about * self._pb * self._put(plane)).sum(dim=(1, 2)) @ self._weights[z])

    def _add_cube(self, cube: torch.Tensor, sky: Array32) -> None:
        for c in range(cube.shape[0]):
            if not sky[c].any():
                continue
            weights = self._weights[c]
            pb = torch.tensordot(weights, self._pb, dims=1)
            transfer = torch.tensordot(weights, self._transfer, dims=1)
            cube[c] += self._convolved(self._put(sky[c]) * pb, transfer)

    def spectrum_at(self, sky: SkyModel, terms: TermImages, y: int, x: int) -> Float:
        """Noise-free dirty spectrum of each term at a pixel.

        Parameters
        ----------
        sky : SkyModel
            The sky.
        terms : TermImages
            `observe_terms` of its images.
        y, x : int
            The pixel.

        Returns
        -------
        array
            ``[term, chan]`` [Jy/beam]
        """
        here = terms.images[:, :, y, x].cpu().numpy().astype(float)
        return sky.spectra * (here @ terms.weights.cpu().numpy().astype(float).T)

    def own_response(
        self, sky: SkyModel, terms: TermImages, source: int, sigma: Float
    ) -> tuple[float, float]:
        """Matched S/N and noise-free dirty peak [Jy/beam] of a source's line, from all its terms.

        Parameters
        ----------
        sky : SkyModel
            The sky.
        terms : TermImages
            `observe_terms` of its images.
        source : int
            Row of the catalogued source.
        sigma : array
            Noise, ``[chan]`` [Jy/beam]; infinite where a channel does not count.

        Returns
        -------
        snr, peak : float
            Matched S/N, and peak [Jy/beam].
        """
        mine = sky.terms_of(source)
        node = terms.images.shape[1] // 2
        seen = terms.images[mine, node].flatten(1)
        middle = self._pb.shape[0] // 2
        true = (self._put(sky.images[mine]) * self._pb[middle]).flatten(1)
        # m . (psf * m) of every channel, for noise that is correlated like the psf
        overlap = (true @ seen.T).cpu().numpy().astype(float)
        lines = sky.lines[mine]
        square = np.einsum("kc,kl,lc->c", lines, overlap, lines) / sigma**2
        cube = self._put(lines.T.astype(np.float32)) @ seen
        peak = float(cube.max()) if lines.sum() >= 0 else float(cube.min())
        return float(np.sqrt(max(square.sum(), 0.0))), peak

    def generator(self, seed: int) -> torch.Generator:
        """A generator of random numbers on this device."""
        return torch.Generator(device=self.device).manual_seed(seed)

    def add_noise(self, cube: torch.Tensor, sigma: Float, generator: torch.Generator) -> torch.Tensor:
        """Add noise that is correlated like the dirty image's, in place.

        Parameters
        ----------
        cube : tensor
            ``[chan, y, x]``
        sigma : array
            Its standard deviation, ``[chan]``, in the cube's unit.
        generator : torch.Generator
            Random numbers of this device.

        Returns
        -------
        tensor
            The cube.
        """
        n_chan = cube.shape[0]
        # the batch is fixed, so that each cell has the same random number on any machine
        for first in range(0, n_chan, _BATCH):
            channels = slice(first, min(first + _BATCH, n_chan))
            scale = np.asarray(sigma[channels], dtype=np.float32)[:, None]
            cube[channels] += self._noise(self.instrument.noise_at(channels), scale, generator)
        return cube

    def add_summed_noise(self, image: torch.Tensor, sigma: Float, generator: torch.Generator) -> torch.Tensor:
        """Add the sum over channels of the noise of `add_noise` to an image, in place.

        The sum of independent noises has the sum of their powers, and is drawn directly.

        Parameters
        ----------
        image : tensor
            ``[y, x]``
        sigma : array
            Standard deviation of each channel's noise, ``[chan]``, in the image's unit.
        generator : torch.Generator
            Random numbers of this device.

        Returns
        -------
        tensor
            The image.
        """
        power = self.instrument.summed_noise(sigma)
        return image.add_(self._noise(power[None], np.ones((1, 1), np.float32), generator)[0])

    def _noise(self, power: Array32, scale: Array32, generator: torch.Generator) -> torch.Tensor:
        """Noise ``[n, y, x]`` with power ``[n, cell]``, times a scale ``[n, 1]``."""
        grid, padded = self.instrument.grid, self.instrument.padded
        count = len(power)
        # variance of the real and of the imaginary part: half the power in the columns that a real
        # transform counts twice, all of it in those that it counts once
        amplitude = self._put(scale) * torch.sqrt(self._put(power) * self._multiplicity)
        white = torch.randn(
            (count, amplitude.shape[1], 2), generator=generator, device=self.device, dtype=torch.float32
        )
        plane = torch.zeros((count, padded[0] * self._n_columns), dtype=torch.complex64, device=self.device)
        plane[:, self._cells] = torch.view_as_complex(white * amplitude[..., None])
        plane = plane.reshape(count, padded[0], self._n_columns)
        rows = torch.fft.ifft(plane, dim=1, norm="forward")[:, : grid.n_y]
        return torch.fft.irfft(rows, n=padded[1], dim=2, norm="forward")[:, :, : grid.n_x]

    def add_white_noise(self, cube: torch.Tensor, sigma: float, generator: torch.Generator) -> None:
        """Add noise that is independent from pixel to pixel, in place.

        Parameters
        ----------
        cube : tensor
            ``[chan, y, x]``
        sigma : float
            Its standard deviation, in the cube's unit.
        generator : torch.Generator
            Random numbers of this device.
        """
        for plane in cube:
            plane += sigma * torch.randn(
                plane.shape, generator=generator, device=self.device, dtype=torch.float32
            )

    def blank(self, cube: torch.Tensor) -> torch.Tensor:
        """Set voxels to NaN where the primary beam is below the cutoff, as in tclean's images, in place."""
        radius = self._put(self.instrument.grid.radius())
        for plane, freq in zip(cube, self.instrument.spectral.frequencies().tolist(), strict=True):
            plane[radius * freq >= self.instrument.pb_cutoff] = float("nan")
        return cube

    def correct_pb(self, cube: torch.Tensor) -> None:
        """Divide by the primary beam, in place."""
        for plane, weights in zip(cube, self._weights, strict=True):
            plane /= torch.tensordot(weights, self._pb, dims=1)
