"""Our denoiser: a residual U-Net that is purely local, bias-free in the image, and conditioned on the beam.

What it is made of, and why:

- the image goes in, and comes out, as the planes of a starlet transform (Starck, Fadili & Murtagh 2007, IEEE
  Trans. Image Process. 16, 297), whose sum is the image: the network says how much of each plane is sky at
  each pixel. With all gates open a bright source passes as it is; with the fine ones shut, smooth emission of
  any brightness is averaged. Thresholding of starlets is the special case of gates that are 0 or 1;
- a pixel-unshuffle stem: 4 x 4 pixels become a channel vector, nothing is thrown away, and the convolutions
  run on a sixteenth of the pixels;
- no global pooling and no normalisation by batch or image, so that an output pixel depends on its
  surroundings within ``reach`` alone and a large image can be cut into blocks without a seam;
- no additive constants in the image path: an empty image stays empty (Mohan et al. 2020, arXiv:1906.05478,
  on why such denoisers hold at noise levels they have not seen);
- asinh of the signal-to-noise ratio as the scale of what it sees: linear in the noise, logarithmic in bright
  sources, inverted exactly by sinh;
- to the gated planes it may add ``sinh`` of an output of its own, no larger than what is seen nearby;
- the beam acts through a factor on every channel of every block (Perez et al. 2018, arXiv:1709.07871,
  without the shift).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from faintsky.networks.registry import register

LARGEST = 12.0
"""Bound of asinh values: a signal-to-noise ratio of 80,000."""
B3 = (1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16)
SCALES = (1.0, 3.0, 6.0, 10.0, 10.0)
"""Factors on the starlet planes, the coarsest last, that make white noise in each of them of order one."""
LEAST_SIGMA = 0.01
"""Standard deviation that is always there, in units of the noise."""


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; the beam scales what is between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        """Features ``[b, width, y, x]`` and factors ``[b, width]``."""
        inner = functional.relu(self.first(x)) * scale[:, :, None, None]
        return x + self.second(inner)


@register
class LocalUNet(nn.Module):
    """See the module's text.

    Parameters
    ----------
    widths : sequence of int
        Channels at 1/4, 1/8, 1/16 … of the resolution.
    encoder, decoder : sequence of int
        Blocks on the way down, the lowest level last, and on the way up, the highest level last.
    """

    stem = 4

    def __init__(
        self,
        widths: Sequence[int] = (64, 96, 128),
        encoder: Sequence[int] = (1, 1, 2),
        decoder: Sequence[int] = (1, 2),
    ) -> None:
        super().__init__()
        pixels = self.stem**2
        self.into = nn.Conv2d((len(SCALES) + 1) * pixels, widths[0], 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(
            nn.ModuleList(Block(w) for _ in range(n)) for w, n in zip(widths, encoder, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2, bias=False) for a, b in pairwise(widths))
        up = list(widths)[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2, bias=False) for a, b in pairwise(up))
        self.decoder = nn.ModuleList(
            nn.ModuleList(Block(w) for _ in range(n)) for w, n in zip(up[1:], decoder, strict=True)
        )
        self.out = nn.Conv2d(widths[0], (len(SCALES) + 2) * pixels, 3, padding=1, bias=False)
        nn.init.zeros_(self.out.weight)
        blocks = [*self.encoder, *self.decoder]
        self._splits = [level[0].first.out_channels for level in blocks for _ in level]
        self.beam = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, sum(self._splits)))
        self.stride = self.stem * 2 ** len(self.down)
        self.reach = self._reach()

    def _reach(self) -> int:
        """Pixels from an output pixel to the farthest input pixel that it depends on, at most."""
        levels = len(self.down)
        total = 2 * self.stem + 2 * (2 ** (len(SCALES) - 1) - 1)
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
        planes = starlet_planes(image.float(), weight > 0)
        out = functional.pixel_shuffle(self._features(planes, weight, beam).float(), self.stem)
        gates, add, spread = out.split((len(SCALES), 1, 1), dim=1)
        bound = self._bound(image)
        gated = (torch.sigmoid(gates) * planes).sum(dim=1, keepdim=True)
        mean = gated + torch.sinh(bound * torch.tanh(add / bound))
        sigma = LEAST_SIGMA + torch.exp(spread.clamp(-LARGEST, LARGEST))
        return mean[..., :n_y, :n_x], sigma[..., :n_y, :n_x]

    def _bound(self, image: Tensor) -> Tensor:
        """Largest absolute value of the neighbourhood, on the asinh scale, ``[b, 1, y, x]``.

        What is added never exceeds it; without it a chance step of training can send sinh through the roof.
        """
        cells = functional.pixel_unshuffle(image.float().abs(), self.stem).amax(dim=1, keepdim=True)
        near = functional.max_pool2d(cells, 5, stride=1, padding=2)
        grown = functional.interpolate(near, scale_factor=float(self.stem), mode="nearest")
        return torch.asinh(grown).clamp(1e-6, LARGEST)

    def _features(self, planes: Tensor, weight: Tensor, beam: Tensor) -> Tensor:
        scales = iter((1 + self.beam(_describe(beam))).split(self._splits, dim=1))
        seen = torch.cat([torch.asinh(planes * planes.new_tensor(SCALES)[:, None, None]), weight], dim=1)
        x = self.into(functional.pixel_unshuffle(seen, self.stem))
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


def starlet_planes(image: Tensor, known: Tensor) -> Tensor:
    """Details of 1, 2, 4 … pixels and what is left, ``[b, len(SCALES), y, x]``; their sum is the image.

    Averages are over known pixels only, so that a blank region leaves no step.

    Parameters
    ----------
    image : Tensor
        ``[b, 1, y, x]``, 0 where blank.
    known : Tensor of bool
        ``[b, 1, y, x]``
    """
    planes, current = [], image
    inside = known.to(image.dtype)
    for scale in range(len(SCALES) - 1):
        step = 2**scale
        smooth = _averaged(current * inside, step) / _averaged(inside, step).clamp(min=1e-3) * inside
        planes.append(current - smooth)
        current = smooth
    return torch.cat([*planes, current], dim=1)


def _averaged(image: Tensor, step: int) -> Tensor:
    """The B3 spline with holes of ``step`` pixels, along y and x."""
    for axis in (2, 3):
        n = image.shape[axis]
        edge = (2 * step, 2 * step, 0, 0) if axis == 3 else (0, 0, 2 * step, 2 * step)
        wide = functional.pad(image, edge)
        image = sum(w * wide.narrow(axis, i * step, n) for i, w in enumerate(B3))  # type: ignore[assignment]
    return image


def _describe(beam: Tensor) -> Tensor:
    """Size, elongation and direction of a beam, ``[b, 5]``, of order one."""
    major, minor, sine, cosine = beam.unbind(dim=1)
    size = torch.log1p(torch.sqrt(major * minor))
    stretch = (major - minor) / (major + minor).clamp(min=1e-6)
    white = (major == 0).to(beam.dtype)
    return torch.stack([size - 1.5, 3 * stretch - 1, 3 * stretch * sine, 3 * stretch * cosine, white], dim=1)
