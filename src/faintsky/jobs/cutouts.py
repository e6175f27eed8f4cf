"""Cubelet, mask, moments and spectrum of each source of a cube, under SoFiA-2's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faintsky.beams import beam_pixels
from faintsky.cutouts import label_boxes
from faintsky.system import replacing

if TYPE_CHECKING:
    from faintsky.jobs.result import Result

MARGIN = (2, 6, 6)
"""Margin around a source's mask [channel and pixel]."""


def write_cutouts(result: Result, folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write ``STEM_cubelets/STEM_ID_cube.fits`` and, likewise, mask, ``mom0``, ``mom1``, ``mom2``, ``chan``.

    A method without a three-dimensional mask has none. The cubelet holds the data, including the continuum.
    Moments and spectrum are those of the data without continuum, within the mask. The moments have the units
    of ``moment0.fits`` and so on. The spectrum, ``spec.txt``, is a table of channel, frequency [Hz], flux
    density [Jy] and number of pixels.

    Parameters
    ----------
    result : Result
        Result of a cube.
    folder : pathlib.Path
        Folder in which that of the cutouts is made.
    provenance : mapping
        Entries for the headers.
    """
    from faintsky.detection import moment_sums
    from faintsky.io import header_like, write_fits

    cube: Any = result.data
    if result.mask is None or result.mask.ndim < 3 or result.catalog is None:
        return
    stem = Path(cube.name).name.split(".")[0]
    prepared: Any = result.found.prepared
    line = prepared.restored(prepared.line)
    area = float(beam_pixels(prepared.beam, 1.0)[0])
    to = folder / f"{stem}_cubelets"
    to.mkdir(exist_ok=True)

    def save(name: str, array: NDArray[Any], box: tuple[slice, ...], **how: Any) -> None:
        native = cube.layout.to_native(array)
        header = header_like(cube, native.shape, provenance=provenance, **how)
        for axis, start in zip(("chan", "y", "x"), (s.start for s in box)):
            number = len(cube.layout.axes) - cube.layout.axes.index(axis)
            if axis != "chan" or array.ndim == 3:
                header[f"CRPIX{number}"] = header.get(f"CRPIX{number}", 0.0) - start
        write_fits(to / name, native, header)

    for number, its in label_boxes(result.mask).items():
        box = tuple(
            slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(its, MARGIN, cube.shape)
        )
        inside, data, name = result.mask[box] == number, line[box], f"{stem}_{number}"
        save(f"{name}_cube.fits", cube.taken(box), box)
        save(f"{name}_mask.fits", inside.astype(np.int32), box, labels=True)
        for order, (image, unit) in enumerate(moment_sums(cube, data, inside, box[0]).maps(cube)):
            save(f"{name}_mom{order}.fits", image.astype(np.float32), box, unit=unit, kind=f"moment {order}")
        save(f"{name}_chan.fits", inside.sum(axis=0, dtype=np.int32), box, labels=True, kind="channels")
        flux = np.where(inside, data, 0).sum(axis=(1, 2)) / area
        with replacing(to / f"{name}_spec.txt") as path:
            z = np.arange(box[0].start, box[0].stop)
            columns = np.stack([z, cube.frequencies[z], flux, inside.sum(axis=(1, 2))], axis=1)
            words = "channel frequency[Hz] flux_density[Jy] pixels"
            np.savetxt(path, columns, fmt=("%d", "%.9e", "%.6e", "%d"), header=words)
