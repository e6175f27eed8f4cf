"""Deep GRU: from a dirty spectrum to a denoised one; Delli Veneri et al. (2022), Section 4.2 and Fig. 6."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from faintsky.errors import InputError
from faintsky.networks.registry import register

WIDTH = 32
"""Hidden states of each layer."""
HEADS = ("dense", "per_channel")


@register
class DeepGru(nn.Module):
    """Two layers of gated recurrent units in opposite directions, and a layer on their states together.

    Parameters
    ----------
    head : {"dense", "per_channel"}
        ``dense`` is the text: the second layer runs back over the first one's states, and one fully
        connected layer sees the states of all channels (1.06 million weights). ``per_channel`` is the
        authors' code: both directions read the spectrum, and the same small layer is applied to each channel
        (6,785 weights), so that it takes any number of channels.
    channels : int
        Of the spectra; ``per_channel`` does not need it.
    """

    def __init__(self, head: str = "dense", channels: int = 128) -> None:
        super().__init__()
        if head not in HEADS:
            raise InputError(f"no head {head!r}", f"choose one of {', '.join(HEADS)}")
        self.channels = channels if head == "dense" else None
        self.dense = head == "dense"
        if self.dense:
            self.forth = nn.GRU(1, WIDTH, batch_first=True)
            self.back = nn.GRU(WIDTH, WIDTH, batch_first=True)
            self.out = nn.Linear(2 * WIDTH * channels, channels)
        else:
            self.both = nn.GRU(1, WIDTH, batch_first=True, bidirectional=True)
            self.out = nn.Linear(2 * WIDTH, 1)

    @staticmethod
    def example(size: int) -> tuple[Tensor, ...]:
        """Two spectra of ``size`` channels."""
        return (torch.randn(2, size),)

    def forward(self, spectrum: Tensor) -> Tensor:
        """Where along frequency a source emits.

        Parameters
        ----------
        spectrum : Tensor
            Standardised, ``[b, chan]``.

        Returns
        -------
        Tensor
            ``[b, chan]``, in [0, 1].
        """
        # errors of half precision would add up along the spectrum
        with torch.autocast(spectrum.device.type, enabled=False):
            x = spectrum.float()[..., None]
            if self.dense:
                forth, _ = self.forth(x)
                back, _ = self.back(forth.flip(1))
                states = torch.cat([forth, back.flip(1)], dim=2)
                return torch.sigmoid(self.out(states.flatten(1)))
            states, _ = self.both(x)
            return torch.sigmoid(self.out(states)[..., 0])
