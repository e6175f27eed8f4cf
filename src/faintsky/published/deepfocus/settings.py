"""Thresholds and choices of the pipeline, as a model's card holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Settings:
    """See Section 4.4 of the paper; the thresholds are fitted on validation cubes when the model is trained.

    Parameters
    ----------
    threshold : float
        Of Blobs Finder's map (paper: 0.15).
    paper_code : bool
        As their program did it: each map brought to [0, 1], 0.15, and one dilation.
    height, prominence : float
        Least of a peak in Deep GRU's answer.
    bright : float
        Global S/N in the integrated image above which one line is enough (paper: 6, in other units).
    faint : float
        Least global S/N of the focused image (paper: 1).
    apart : float
        Two peaks farther from each other than this are two sources [pixel].
    friend, plateau : float
        A pixel joins a growing source above this pixel S/N; growth ends where the global S/N falls below
        this share of its best.
    dilation : float
        Of the segmentation mask.
    reliability_fit : tuple of float
        Logistic curve: a constant and a slope for each of `faintsky.published.deepfocus.focusing.Source`'s
        features.
    reliability : float
        Least reliability in the catalogue where the user gives none.
    trained : mapping
        ``cell`` [arcsec], ``beam`` [arcsec, arcsec], ``channels`` and ``width`` [Hz] of the training cubes.
    """

    threshold: float = 0.15
    paper_code: bool = False
    height: float = 0.1
    prominence: float = 0.05
    bright: float = 6.0
    faint: float = 1.0
    apart: float = 3.0
    friend: float = 1.0
    plateau: float = 0.8
    dilation: float = 1.5
    reliability_fit: tuple[float, ...] = (0.0, 1.0, 0.0, 0.0)
    reliability: float = 0.0
    trained: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Settings:
        """From a model's card; what it lacks has its default."""
        known = {f.name for f in fields(cls)}
        given = {k: v for k, v in settings.items() if k in known}
        if "reliability_fit" in given:
            given["reliability_fit"] = tuple(given["reliability_fit"])
        return cls(**given)

    def as_dict(self) -> dict[str, Any]:
        """For a model's card."""
        return {"method": "deepfocus", **asdict(self)}
