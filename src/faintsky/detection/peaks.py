"""Where filtered data peak, kept up to date only where it matters.

When a source leaves the data its sidelobes change the S/N almost everywhere, nearly everywhere by next to
nothing. By how much at most is known from the source alone. Values are calculated anew only where, with that
much added, they could matter to who asks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from faintsky.detection.matched_filter import FilterBank

CLOSE = 0.02
"""Standard deviations by which values may differ from what they were."""
SPREAD = 8
"""Channels to either side that much of a line template lies in."""
CHANNELS = 8
"""So many are compared at a time: their values stay in the processor's cache."""
AT_ONCE = 20_000
"""Voxels that are looked at in one go, the most promising first."""


class Peaks:
    """Largest and smallest value over the templates of a filter bank, at every voxel.

    Parameters
    ----------
    bank : FilterBank
        Who changes it says so by `change`.

    Attributes
    ----------
    high, low : torch.Tensor
        The larger of largest value and minus the smallest, and the smallest, ``[chan, y', x']``.
    slack : torch.Tensor
        By how much they may have changed since they were calculated.
    """

    def __init__(self, bank: FilterBank) -> None:
        self.bank = bank
        high, self.low = bank.extremes()
        self.high = torch.maximum(high, -self.low, out=high)
        self.slack = torch.zeros_like(self.high)

    def change(self, line: torch.Tensor, sky: torch.Tensor) -> None:
        """Something of response ``line[t, chan]`` times ``sky[s, y', x']`` entered or left the data."""
        strength, image = line.abs().amax(0), sky.abs().amax(0)
        touched = torch.nonzero(strength * image.max() > CLOSE / 2).flatten()
        if touched.numel():
            span = slice(int(touched[0]), int(touched[-1]) + 1)
            self.slack[span].addcmul_(strength[span, None, None], image)

    def rescale(self, factor: torch.Tensor) -> None:
        """The data of each channel have been multiplied by a factor, ``[chan]``.

        Over the channels of a line the factors may differ: by so much times the values, and the noise in
        them, the result is in doubt.
        """
        near = torch.nn.functional.pad(factor[None], (SPREAD, SPREAD), mode="replicate")[0]
        near = near.unfold(0, 2 * SPREAD + 1, 1)
        doubt = (near / factor[:, None] - 1).abs().amax(1)[:, None, None]
        self.high *= factor[:, None, None]
        self.low *= factor[:, None, None]
        self.slack.mul_(factor[:, None, None]).add_(doubt * (self.high + 4))

    def strongest(
        self, threshold: float, guard: torch.Tensor, blocked: torch.Tensor
    ) -> tuple[int, int, int] | None:
        """The voxel of largest absolute value over ``sqrt(1 + guard**2)`` outside `blocked`.

        None where nothing reaches `threshold`.
        """
        place = self._where(lambda z: self.high[z] + self.slack[z] >= threshold)
        place = place[~blocked.flatten()[place]]
        scale = torch.sqrt(1 + guard.flatten()[place] ** 2)
        while place.numel():
            slack = self.slack.flatten()[place]
            value = (self.high.flatten()[place] + slack) / scale
            known = slack <= CLOSE
            best = max(threshold, float(torch.where(known, value, 0.0).max()))
            open_ = torch.nonzero(~known & (value >= best)).flatten()
            if open_.numel() == 0:
                if not bool((known & (value >= threshold)).any()):
                    return None
                first = int(place[int(torch.where(known, value, 0.0).argmax())])
                z, rest = divmod(first, self.high[0].numel())
                return (z, *divmod(rest, self.high.shape[2]))
            if open_.numel() > AT_ONCE:
                open_ = open_[value[open_].topk(AT_ONCE).indices]
            self._settle(place[open_])
        return None

    def lows_below(self, level: float, where: torch.Tensor) -> torch.Tensor:
        """`low`, right wherever it is below `level`, in places where ``where[chan, y', x']``."""
        stale = self._where(
            lambda z: (self.low[z] - self.slack[z] < level) & (self.slack[z] > CLOSE) & where[z]
        )
        if stale.numel():
            self._settle(stale)
        return self.low

    def _where(self, condition: Callable[[slice], torch.Tensor]) -> torch.Tensor:
        """Flat indices where a condition holds that is given for some channels at a time."""
        n_chan, n = len(self.high), self.high[0].numel()
        spans = [slice(k, min(k + CHANNELS, n_chan)) for k in range(0, n_chan, CHANNELS)]
        return torch.cat([torch.nonzero(condition(z).flatten()).flatten() + z.start * n for z in spans])

    def _settle(self, places: torch.Tensor) -> None:
        """Calculate the values anew at flat indices, and in all channels between them."""
        n = self.high[0].numel()
        z = torch.div(places, n, rounding_mode="floor")
        span = slice(int(z.min()), int(z.max()) + 1)
        columns = torch.unique(places % n)
        if columns.numel() > 0.6 * n:
            high, low = self.bank.extremes(span)
            self.high[span], self.low[span] = torch.maximum(high, -low), low
            self.slack[span] = 0
            return
        high, low = self.bank.extremes(span, columns)
        for target, values in ((self.high, torch.maximum(high, -low)), (self.low, low)):
            target[span].flatten(1)[:, columns] = values
        self.slack[span].flatten(1)[:, columns] = 0
