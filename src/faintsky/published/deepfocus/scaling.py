"""What the networks see of images and spectra: the same in training and in use (Sections 4.4 and 4.5)."""

from __future__ import annotations

import torch
from torch import Tensor

IMAGE = 256
"""Pixels a side of what Blobs Finder looks at."""


def unit_range(images: Tensor) -> Tensor:
    """Images ``[..., y, x]``, each brought to [0, 1]; blanks count as 0, a constant image becomes all 0."""
    clean = torch.nan_to_num(images.float())
    low, high = clean.amin((-2, -1), keepdim=True), clean.amax((-2, -1), keepdim=True)
    span = high - low
    return torch.where(span > 0, (clean - low) / torch.where(span > 0, span, 1.0), 0.0)


def unit_range_1d(spectra: Tensor) -> Tensor:
    """Spectra ``[..., chan]``, each brought to [0, 1] like `unit_range`: what Deep GRU is to give."""
    return unit_range(spectra[..., None, :])[..., 0, :]


def standardise(spectra: Tensor) -> Tensor:
    """Spectra ``[..., chan]``, each with mean 0 and standard deviation 1; a constant one becomes all 0."""
    clean = torch.nan_to_num(spectra.float())
    centred = clean - clean.mean(-1, keepdim=True)
    spread = centred.std(-1, correction=0, keepdim=True)
    return torch.where(spread > 0, centred / torch.where(spread > 0, spread, 1.0), 0.0)


def crop_origin(n: int, size: int = IMAGE) -> int:
    """First pixel, negative where it is padded, of the crop from the middle of ``n`` pixels."""
    return n // 2 - size // 2


def crop_centre(images: Tensor, size: int = IMAGE) -> Tensor:
    """The middle of images ``[..., y, x]``, ``[..., size, size]``; 0 where they are smaller or blank."""
    out = images.new_zeros((*images.shape[:-2], size, size))
    source, target = [], []
    for n in images.shape[-2:]:
        first = crop_origin(n, size)
        source.append(slice(max(first, 0), min(first + size, n)))
        target.append(slice(source[-1].start - first, source[-1].stop - first))
    out[..., target[0], target[1]] = torch.nan_to_num(images[..., source[0], source[1]])
    return out
