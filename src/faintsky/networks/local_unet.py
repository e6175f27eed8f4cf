"""Our denoiser: a U-Net that is purely local, bias-free in the image, and conditioned on the beam.

Its elements, and the reasons for them:

- Input and output are planes of a starlet transform (Starck, Fadili & Murtagh 2007, IEEE Trans. Image
Process. 16,
  297), whose sum is the image. The network estimates the fraction of noise in each plane at each pixel. If
  nothing is removed, a bright source is unchanged; if the fine planes are removed, smooth emission of any
  brightness is averaged. Hard thresholding of starlets is the special case of fractions 0 and 1.
- Planes are in units of the noise that the beam causes in each of them, so that one rule serves all beams. No
more
  than some times that noise is removed from a plane. Thus, however bright a source is, its error is of the
  order of the noise.
- The stem is a pixel unshuffle: 4 x 4 pixels become a channel vector, without loss, and convolutions run on a
  sixteenth of the pixels. The widest planes are averaged on that grid.
- There is no global pooling and no normalisation by batch or image. An output pixel depends only on pixels
within
  ``reach``, and a large image can be cut into blocks without seams.
- The image path has no additive constants, so that an empty image stays empty (Mohan et al. 2020,
arXiv:1906.05478,
  explain why such denoisers work at noise levels not in the training data).
- The input is the asinh of the signal-to-noise ratio: linear for noise, logarithmic for bright sources.
- The network may add a small correction to the remaining planes, no larger than the values nearby.
- The beam acts through a factor on every channel of every block (Perez et al. 2018, arXiv:1709.07871, without
the
  shift).
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from faintsky.errors import InputError

LARGEST = 4.0
"""Bound on the network's logarithms, for factors of 0.02 to 55."""
B3 = (1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16)
FINE = 4
"""Starlet planes at full resolution: 1 to 8 pixels."""
WIDE = 3
"""Starlet planes on the stem's cells: 16 and 32 pixels, and the rest."""
LEAST_NOISE = 0.005
"""Least noise of a plane over the image's; planes with less are ignored."""
TAKEN = 4.0
"""Largest amount that an untrained network removes from a plane, over its noise."""
ADDED = 3.0
"""Bound on the asinh of the correction: ten times the noise."""
LEAST_SIGMA = 0.01
"""Least standard deviation, in units of the noise."""


class ConditionedBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut; the beam scales the features between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        """Features ``[b, width, y, x]`` and factors ``[b, width]``."""
        inner = functional.relu(self.first(x)) * scale[:, :, None, None]
        return x + self.second(inner)


class LocalUNet(nn.Module):
    """Our denoiser; see the module.

    Parameters
    ----------
    widths : sequence of int
        Channels at 1/4, 1/8, 1/16 … of the resolution.
    encoder, decoder : sequence of int
        Numbers of blocks in the encoder, the lowest resolution last, and in the decoder, the highest last.

    Raises
    ------
    InputError
        If the three do not fit together.
    """

    stem = 4

    def __init__(
        self,
        widths: Sequence[int] = (64, 96, 128, 160),
        encoder: Sequence[int] = (1, 1, 1, 1),
        decoder: Sequence[int] = (1, 1, 2),
    ) -> None:
        super().__init__()
        if not len(widths) == len(encoder) == len(decoder) + 1:
            raise InputError(
                f"{len(widths)} widths, {len(encoder)} and {len(decoder)} levels of encoder and decoder",
                "give as many in the encoder as widths, and one fewer in the decoder",
            )
        pixels = self.stem**2
        self.into = nn.Conv2d((FINE + 1) * pixels + WIDE, widths[0], 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(
            nn.ModuleList(ConditionedBlock(w) for _ in range(n)) for w, n in zip(widths, encoder, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2, bias=False) for a, b in pairwise(widths))
        up = list(widths)[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2, bias=False) for a, b in pairwise(up))
        self.decoder = nn.ModuleList(
            nn.ModuleList(ConditionedBlock(w) for _ in range(n)) for w, n in zip(up[1:], decoder, strict=True)
        )
        self.out = nn.Conv2d(widths[0], (2 * FINE + 2) * pixels + 2 * WIDE, 1, bias=False)
        nn.init.zeros_(self.out.weight)
        blocks = [*self.encoder, *self.decoder]
        self._splits = [level[0].first.out_channels for level in blocks for _ in level]
        self.beam = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, sum(self._splits)))
        self.stride = self.stem * 2 ** len(self.down)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.reach = self._reach()

    def _reach(self) -> int:
        """Upper limit of the distance between an output pixel and an input pixel that affects it [pixel]."""
        levels = len(self.down)
        # stem, fine planes, wide planes on cells, and interpolation between cells
        planes = 2 * (2**FINE - 1) + 2 * self.stem + 2 * (2 ** (FINE + WIDE - 1) - 2**FINE)
        total = 2 * self.stem + planes
        for i, level in enumerate(self.encoder):
            total += 2 * len(level) * self.stem * 2**i  # type: ignore[arg-type]
        for i, level in enumerate(self.decoder):
            total += 2 * len(level) * self.stem * 2 ** (levels - 1 - i)  # type: ignore[arg-type]
        return total + self.stride

    @staticmethod
    def example(size: int = 32) -> tuple[Tensor, ...]:
        """An image, its weights and its beam."""
        shape = (2, 1, size, size + 3)
        return 3 * torch.randn(shape), torch.ones(shape), torch.tensor([[5.0, 4.0, 0.6, 0.8], [0, 0, 0, 0]])

    def forward(self, image: Tensor, weight: Tensor, beam: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate and standard deviation of the sky at the beam's resolution.

        Parameters
        ----------
        image : Tensor
            ``[b, 1, y, x]``, data over the local rms, 0 where blank.
        weight : Tensor
            ``[b, 1, y, x]``, median rms over local rms, 0 where blank.
        beam : Tensor
            ``[b, 4]``: FWHM of the major and minor axes [pixel], sine and cosine of twice the position angle;
            zeros for white noise.

        Returns
        -------
        mean, sigma : Tensor
            ``[b, 1, y, x]``, in units of the local rms.
        """
        n_y, n_x = image.shape[-2:]
        edge = (0, -n_x % self.stride, 0, -n_y % self.stride)
        image, weight = functional.pad(image, edge), functional.pad(weight, edge)
        fine, wide = starlet_planes(image.float(), weight > 0, self.stem)
        noise = plane_noise(beam)[:, :, None, None]
        n_fine, n_wide = noise[:, :FINE], noise[:, FINE:]
        out = self._features(fine / n_fine, wide / n_wide, weight, beam)
        pixels, cells = out.split(((2 * FINE + 2) * self.stem**2, 2 * WIDE), dim=1)
        shut, most, add, spread = _pixels(pixels, self.stem).float().split((FINE, FINE, 1, 1), dim=1)
        kept = _kept(wide, n_wide, *cells.float().split(WIDE, dim=1)).sum(dim=1, keepdim=True)
        bound = self._bound(image)
        mean = _kept(fine, n_fine, shut, most).sum(dim=1, keepdim=True) + _interpolated(kept, self.stem)
        mean = mean + torch.sinh(bound * torch.tanh(add / bound))
        sigma = LEAST_SIGMA + _power(spread)
        return mean[..., :n_y, :n_x], sigma[..., :n_y, :n_x]

    def _bound(self, image: Tensor) -> Tensor:
        """Largest absolute value of the neighbourhood on the asinh scale, or `ADDED`, ``[b, 1, y, x]``."""
        cells = functional.max_pool2d(image.float().abs(), self.stem)
        near = functional.max_pool2d(cells, 5, stride=1, padding=2)
        grown = functional.interpolate(near, scale_factor=float(self.stem), mode="nearest")
        return _asinh(grown).clamp(1e-6, ADDED)

    def _features(self, fine: Tensor, wide: Tensor, weight: Tensor, beam: Tensor) -> Tensor:
        scales = iter((1 + self.beam(_describe(beam))).split(self._splits, dim=1))
        x = _cells(torch.cat([_asinh(fine), weight], dim=1), self.stem)
        x = self.into(torch.cat([x, _asinh(wide)], dim=1))
        kept: list[Tensor] = []
        for i, level in enumerate(self.encoder):
            if i:
                kept.append(x)
                x = self.down[i - 1](x)
            for block in level:  # type: ignore[attr-defined]
                x = block(x, next(scales))
        for up, level in zip(self.up, self.decoder, strict=True):
            x = up(x) + kept.pop()
            for block in level:  # type: ignore[attr-defined]
                x = block(x, next(scales))
        return self.out(x)


def _asinh(x: Tensor) -> Tensor:
    """As ``torch.asinh``, which is not vectorised and ten times slower on a CPU."""
    return torch.copysign(torch.log(x.abs() + torch.sqrt(x * x + 1)), x)


def _power(x: Tensor) -> Tensor:
    return torch.exp(LARGEST * torch.tanh(x / LARGEST))


def _cells(x: Tensor, side: int) -> Tensor:
    """``pixel_unshuffle`` with the channels last in memory, which is faster for convolutions."""
    b, c, n_y, n_x = x.shape
    cells = x.view(b, c, n_y // side, side, n_x // side, side).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(b, n_y // side, n_x // side, c * side**2).permute(0, 3, 1, 2)


def _pixels(x: Tensor, side: int) -> Tensor:
    """The inverse of `_cells`."""
    b, c, n_y, n_x = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(b, n_y, n_x, c // side**2, side, side).permute(0, 3, 1, 4, 2, 5)
    return pixels.reshape(b, c // side**2, n_y * side, n_x * side)


def _kept(planes: Tensor, noise: Tensor, shut: Tensor, most: Tensor) -> Tensor:
    """Planes less a fraction of each pixel, which is limited to some times the noise."""
    limit = noise * TAKEN * _power(most)
    return planes - limit * torch.tanh(torch.sigmoid(shut) * planes / limit)


def starlet_planes(image: Tensor, known: Tensor, cell: int) -> tuple[Tensor, Tensor]:
    """Starlet planes: details of 1, 2, 4 … pixels, and wider ones and the rest on cells.

    Their sum is the image. Averages are over known pixels only, so that a blank region causes no step.

    Parameters
    ----------
    image : Tensor
        ``[b, 1, y, x]``, 0 where blank.
    known : Tensor of bool
        ``[b, 1, y, x]``
    cell : int
        Side of the cells [pixel]; a divisor of the image's sides.

    Returns
    -------
    fine, wide : Tensor
        ``[b, FINE, y, x]`` and ``[b, WIDE, y / cell, x / cell]``, interpolated linearly in the sum.
    """
    inside = None if bool(known.all()) else known.to(image.dtype)
    fine, wide = [], []
    for scale in range(FINE):
        smooth = _average(image, inside, 2**scale)
        fine.append(image - smooth)
        image = smooth
    share = None if inside is None else functional.avg_pool2d(inside, cell)
    cells = functional.avg_pool2d(image, cell)
    cells = cells if share is None else cells / share.clamp(min=1e-3)
    fine[-1] = fine[-1] + image - _interpolated(cells, cell)
    for scale in range(FINE, FINE + WIDE - 1):
        smooth = _average(cells, share, 2**scale // cell)
        wide.append(cells - smooth)
        cells = smooth
    return torch.cat(fine, dim=1), torch.cat([*wide, cells], dim=1)


def _interpolated(cells: Tensor, side: int) -> Tensor:
    return functional.interpolate(cells, scale_factor=float(side), mode="bilinear")


def _average(image: Tensor, known: Tensor | None, step: int) -> Tensor:
    """Average by a B3 spline with gaps of ``step`` pixels, along y and x, over known pixels."""
    if known is not None:
        weight = _spline(_spline(known, step, 2), step, 3).clamp(min=1e-3)
        return _spline(_spline(image * known, step, 2), step, 3) / weight * (known > 0)
    for axis in (2, 3):
        shape = [1, 1, 1, 1]
        shape[axis] = image.shape[axis]
        image = _spline(image, step, axis) / _spline(image.new_ones(shape), step, axis)
    return image


def _spline(image: Tensor, step: int, axis: int) -> Tensor:
    n = image.shape[axis]
    edge = (2 * step, 2 * step, 0, 0) if axis == 3 else (0, 0, 2 * step, 2 * step)
    taps = [functional.pad(image, edge).narrow(axis, i * step, n) for i in range(5)]
    out = taps[2] * B3[2]
    for i in (0, 1, 3, 4):
        out.add_(taps[i], alpha=B3[i])
    return out


def plane_noise(beam: Tensor) -> Tensor:
    """Noise of each starlet plane for noise correlated like the beam, ``[b, FINE + WIDE]``.

    The noise of the image is 1, and its power is the beam's transform, as for natural weighting.

    Parameters
    ----------
    beam : Tensor
        ``[b, 4]``: FWHMs [pixel], sine and cosine of twice the position angle; zeros for white noise.
    """
    fx, fy, area, response = _polar_responses()
    fx, fy, area, response = (x.to(beam.device, torch.float32) for x in (fx, fy, area, response))
    major, minor, sine, cosine = (x[:, None] for x in beam.float().unbind(dim=1))
    mean, half = (major**2 + minor**2) / 2, (major**2 - minor**2) / 2
    across = mean * (fx**2 + fy**2) - half * (cosine * (fx**2 - fy**2) + 2 * sine * fx * fy)
    power = area * torch.exp(-(math.pi**2) / (4 * math.log(2)) * across)
    # a matrix product would be in half precision if the network is
    share = (power[:, None] * response).sum(dim=2) / power.sum(dim=1, keepdim=True)
    return torch.sqrt(share).clamp(min=LEAST_NOISE)


@cache
def _polar_responses() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Spatial frequencies [1/pixel], the area of each, and the planes' squared responses ``[plane, f]``."""
    radius = torch.logspace(-3.5, math.log10(math.sqrt(0.5)), 96, dtype=torch.float64)
    angle = torch.arange(48, dtype=torch.float64) * math.pi / 48
    fx, fy = (torch.outer(radius, trig(angle)).ravel() for trig in (torch.cos, torch.sin))
    inside = (fx.abs() <= 0.5) & (fy.abs() <= 0.5)
    fx, fy = fx[inside], fy[inside]
    smooth, responses = torch.ones_like(fx), []
    for scale in range(FINE + WIDE - 1):
        before = smooth
        for f in (fx, fy):
            turn = 2 * math.pi * f * 2**scale
            smooth = smooth * (B3[2] + 2 * B3[1] * torch.cos(turn) + 2 * B3[0] * torch.cos(2 * turn))
        responses.append((before - smooth) ** 2)
    return fx, fy, fx**2 + fy**2, torch.stack([*responses, smooth**2])


def _describe(beam: Tensor) -> Tensor:
    """Size, elongation and direction of a beam, ``[b, 5]``, of order one."""
    major, minor, sine, cosine = beam.unbind(dim=1)
    size = torch.log1p(torch.sqrt(major * minor))
    stretch = (major - minor) / (major + minor).clamp(min=1e-6)
    white = (major == 0).to(beam.dtype)
    return torch.stack([size - 1.5, 3 * stretch - 1, 3 * stretch * sine, 3 * stretch * cosine, white], dim=1)
