"""Refines line emitters: from a candidate's cut-out and fits to a score, corrections and their spread.

A fit of a bright isolated source is as good as can be, so that nothing is learned twice: the outputs are
changes of the classical result, all zero in a fresh network. A correction is a share of the way to a second
opinion (the fit of line and continuum together; for the continuum also the way to none) plus a shift in units
of the classical error; the spread is a factor on that error, in part that of the second opinion's.

The cut-out is what the filter bank says about the candidate: S/N for every size and width, in three
dimensions about its place. Convolutions, scaled by what the beam is, read it; a plain network reads the rest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from faintsky.networks.registry import register

TEMPLATES, CUT, EVEN, ODD, TENSORS, VALUES = 30, (5, 7, 7), 51, 3, 6, 8
BEAM_EVEN, BEAM_TENSOR = (-4, -3), 2
"""Places of the scalars that describe the beam: its axis ratio and sampling, and its direction."""
GATE, SHIFT = 1.5, 3.0
"""Bounds of the share of a second opinion, and of a shift in classical errors."""


class Member(nn.Module):
    """One network of the ensemble."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(TEMPLATES, channels, 1)
        self.second = nn.Conv3d(channels, channels, 3)
        self.third = nn.Conv3d(channels, channels, 3)
        self.beam = nn.Linear(len(BEAM_EVEN) + 2, channels)
        self.flat = nn.Linear(channels * 9, width // 2)
        self.scalars = nn.Linear(EVEN + ODD + 2 * TENSORS, width)
        self.joined = nn.Linear(width + width // 2, width)
        self.deep = nn.Linear(width, width)
        self.out = nn.Linear(width, 1 + 4 * VALUES + 1 + 5)
        for zero in (self.beam, self.out):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def forward(self, cut: Tensor, scalars: Tensor, beam: Tensor) -> Tensor:
        """Raw outputs ``[b, 39]``."""
        scale = 1 + self.beam(beam)
        x = functional.gelu(self.first(cut)) * scale[:, :, None, None, None]
        x = functional.gelu(self.third(functional.gelu(self.second(x))))
        x = functional.gelu(self.flat(x.flatten(1)))
        y = functional.gelu(self.scalars(scalars))
        y = functional.gelu(self.joined(torch.cat([x, y], dim=1)))
        y = functional.dropout(y, 0.1, self.training)
        out: Tensor = self.out(y + functional.gelu(self.deep(y)))
        return out


@register
class LineRefiner(nn.Module):
    """See the module's text.

    Parameters
    ----------
    width : int
        Of the plain layers.
    channels : int
        Of the convolutions.
    members : int
        Networks whose outputs are averaged.
    """

    def __init__(self, width: int = 96, channels: int = 10, members: int = 4) -> None:
        super().__init__()
        self.members = nn.ModuleList(Member(width, channels) for _ in range(members))
        self.middle: Tensor
        self.scale: Tensor
        self.register_buffer("middle", torch.zeros(EVEN))
        self.register_buffer("scale", torch.ones(EVEN))

    @staticmethod
    def example(size: int) -> tuple[Tensor, ...]:
        """Cut-outs and scalars of ``size`` candidates."""
        return (
            3 * torch.randn(size, TEMPLATES, *CUT),
            torch.randn(size, EVEN),
            torch.randn(size, ODD),
            torch.randn(size, TENSORS, 2),
        )

    def forward(self, cut: Tensor, even: Tensor, odd: Tensor, tensor: Tensor) -> tuple[Tensor, ...]:
        """What to change of each candidate.

        Parameters
        ----------
        cut : Tensor
            S/N, ``[b, template, z, y, x]``.
        even, odd, tensor : Tensor
            As in `faintsky.detection.candidates.Candidates`.

        Returns
        -------
        score : Tensor
            Added to the S/N, ``[b]``.
        gate : Tensor
            Share of the joint fit in each value, and of no continuum in the last, ``[b, 9]``.
        shift : Tensor
            In classical errors, ``[b, 8]``.
        spread : Tensor
            Logarithm of the factor on the classical errors, ``[b, 8]``, and share of the joint fit's
            errors in it, ``[b, 8]``, together ``[b, 16]``.
        angle : Tensor
            Of the double angle's vector: share of the joint fit's, shift ``(2)``; of its error: logarithm
            of a factor, share of the joint fit's; ``[b, 5]``.
        """
        parts = self.raw(cut, even, odd, tensor).mean(0)
        return self.outputs(parts)

    def raw(self, cut: Tensor, even: Tensor, odd: Tensor, tensor: Tensor) -> Tensor:
        """Outputs of every member before their bounds, ``[member, b, 39]``."""
        peak = cut.amax(dim=(1, 2, 3, 4), keepdim=True)
        shape = torch.asinh(cut - peak)
        normal = ((even - self.middle) / self.scale).clamp(-6, 6)
        flat = torch.cat([normal, odd, tensor.flatten(1)], dim=1)
        beam = torch.cat([normal[:, list(BEAM_EVEN)], tensor[:, BEAM_TENSOR]], dim=1)
        return torch.stack([m(shape, flat, beam) for m in self.members]).float()

    @staticmethod
    def outputs(raw: Tensor) -> tuple[Tensor, ...]:
        """`forward`'s outputs from ``[..., 39]``."""
        score, gate, shift, spread, angle = raw.split([1, VALUES + 1, VALUES, 2 * VALUES, 5], dim=-1)
        return (
            SHIFT * torch.tanh(score[..., 0] / SHIFT),
            GATE * torch.tanh(gate / GATE),
            SHIFT * torch.tanh(shift / SHIFT),
            SHIFT * torch.tanh(spread / SHIFT),
            SHIFT * torch.tanh(angle / SHIFT),
        )
