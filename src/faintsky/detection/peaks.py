"""Where filtered data peak, kept up to date only where it matters.

When a source leaves the data its sidelobes change the S/N almost everywhere, nearly everywhere by next to
nothing. By how much at most is known from the source alone. Values are calculated anew only where, with that
much added, they could matter to who asks.
"""

from __future__ import annotations

import torch

from faintsky.classical.matched_filter import FilterBank

CLOSE = 0.02
"""Standard deviations by which values may differ from what they were."""
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

    def strongest(
        self, threshold: float, guard: torch.Tensor, blocked: torch.Tensor
    ) -> tuple[int, int, int] | None:
        """The voxel of largest absolute value over ``sqrt(1 + guard**2)`` outside `blocked`.

        None where nothing reaches `threshold`.
        """
        place = torch.nonzero((self.high + self.slack >= threshold).flatten()).flatten()
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
        stale = (self.slack > CLOSE) & (self.low - self.slack < level) & where
        if bool(stale.any()):
            self._settle(torch.nonzero(stale.flatten()).flatten())
        return self.low

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
