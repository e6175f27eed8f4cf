"""What Deep GRU learns: clean spectra from dirty ones (Delli Veneri et al. 2022, Sections 4.2 and 4.5).

Phase 1 takes spectra in true boxes, phase 2 in Blobs Finder's: the same arrays from another folder.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faintsky.errors import InputError
from faintsky.published.deepfocus.losses import l1
from faintsky.published.deepfocus.scaling import standardise, unit_range_1d
from faintsky.training.fit import Batch

CHUNK = 512
"""Spectra that are validated at a time."""
Arrays = dict[str, NDArray[np.float32]]


class Spectra:
    """The task; see `faintsky.training.fit.EpochTask`.

    Parameters
    ----------
    network : torch.nn.Module
        ``deep_gru``
    train, held : dict of arrays
        ``spectra`` and ``clean_spectra``, ``[source, chan]``: `compact_sets.read_sources`.

    Raises
    ------
    InputError
        Where the network is for another number of channels.
    """

    def __init__(self, network: nn.Module, train: Arrays, held: Arrays) -> None:
        self.network = network
        self.train, self.held = _prepared(train), _prepared(held)
        self.examples = len(self.train[0])
        channels = self.train[0].shape[1]
        if getattr(network, "channels", None) not in (None, channels):
            raise InputError(f"the spectra have {channels} channels", f"give --set channels={channels}")

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Random examples."""
        return self.take(rng, rng.integers(self.examples, size=size))

    def take(self, rng: np.random.Generator, pick: NDArray[np.int64]) -> Batch:
        """``spectrum``, standardised, and ``target`` in [0, 1], ``[b, chan]``."""
        spectrum, target = (a[torch.as_tensor(pick)] for a in self.train)
        return {"spectrum": spectrum, "target": target}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean absolute difference."""
        return l1(network(batch["spectrum"]), batch["target"])

    def validate(self, network: nn.Module) -> dict[str, float]:
        """``loss`` over all validation spectra."""
        device = next(network.parameters()).device
        total = 0.0
        for spectrum, target in zip(*(a.split(CHUNK) for a in self.held), strict=True):
            made = network(spectrum.to(device))
            total += float(l1(made, target.to(device))) * len(spectrum) / len(self.held[0])
        return {"loss": total}


def _prepared(arrays: Arrays) -> tuple[Tensor, Tensor]:
    dirty, clean = (torch.as_tensor(arrays[k]) for k in ("spectra", "clean_spectra"))
    return standardise(dirty), unit_range_1d(clean)
