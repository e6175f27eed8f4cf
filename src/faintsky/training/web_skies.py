"""A bank of skies out of cosmic webs, drawn once for a training: examples are cut out of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faintsky.errors import InputError
from faintsky.system import replacing

Array32 = NDArray[np.float32]

SCALE = np.float32(1e7)
"""In half precision 1 is 1e-7 Jy/arcsec2: 6e-12 to 6e-3 keep a relative error of 5e-4."""
HELD_SHARE = 1 / 6
"""Of the skies, the last ones: for validation."""
FACTOR = (0.03, 10.0)
"""Range of the factor on a cutting's brightness, log-uniform."""
TRIES, STEP = 6, 16


@dataclass(frozen=True)
class WebSkies:
    """Skies, some of them held out.

    Parameters
    ----------
    skies : array
        ``[sky, y, x]``, float16, in units of 1e-7 Jy/arcsec2.
    """

    skies: NDArray[np.float16]

    @classmethod
    def load(cls, path: Path) -> WebSkies:
        """Open what `make_skies` wrote, without reading it.

        Raises
        ------
        InputError
            Where the file is another one.
        """
        try:
            skies = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError("not a bank of skies", "delete it, so that it is made anew", path) from error
        if skies.ndim != 3 or skies.dtype != np.float16 or len(skies) < 2:
            raise InputError("not a bank of skies", "delete it, so that it is made anew", path)
        return cls(skies)

    def cut(self, rng: np.random.Generator, size: int, held: bool = False) -> Array32:
        """A part ``[size, size]`` of a sky [Jy/arcsec2], times a random factor.

        Most of a web is empty: two cuttings in three are the one of `TRIES` with most emission.
        """
        last = max(1, round(len(self.skies) * HELD_SHARE))
        first = len(self.skies) - last
        sky = self.skies[rng.integers(first, len(self.skies)) if held else rng.integers(first)]
        corners = rng.integers(np.array(sky.shape) - size + 1, size=(TRIES, 2))
        cuttings = [sky[y : y + size, x : x + size] for y, x in corners]
        light = [np.sqrt(c[::STEP, ::STEP].astype(np.float32)).mean() for c in cuttings]
        best = int(np.argmax(light)) if rng.random() < 2 / 3 else 0
        factor = np.float32(np.exp(rng.uniform(*np.log(FACTOR))))
        return cuttings[best].astype(np.float32) * (factor / SCALE)


def make_skies(
    path: Path,
    web: str | os.PathLike[str],
    count: int,
    seed: int,
    progress: Callable[[int, int, str], None] | None = None,
    *,
    size: int = 2000,
) -> None:
    """Draw ``count`` skies of both kinds in turn, where the web holds both, and write them to one file.

    Parameters
    ----------
    path : pathlib.Path
        ``.npy``
    web : str or path-like
        As `faintsky.sky.web.open_web` takes it.
    count, seed : int
    progress : callable, optional
        Called with skies done, skies in all, and a word.
    size : int, optional
        Side of a sky [pixel of 2 arcsec].
    """
    from faintsky.sky.web import draw_web, open_web

    tell = progress or (lambda done, total, word: None)
    opened = open_web(web, progress=lambda text: tell(0, count, text))
    kinds = [k for k in ("sky1", "sky2") if opened.of_kind(k)]
    rng = np.random.default_rng([seed, int.from_bytes(b"webs", "big")])
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as name, name.open("wb") as file:
        head = {"descr": "<f2", "fortran_order": False, "shape": (count, size, size)}
        np.lib.format.write_array_header_1_0(file, head)
        for i in range(count):
            sky = draw_web(opened, rng, size, 2.0, kinds[i % len(kinds)])
            file.write(np.minimum(sky * SCALE, np.float32(6e4)).astype("<f2").tobytes())
            tell(i + 1, count, "skies of the cosmic web")
