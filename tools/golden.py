"""Does a change that should change nothing change nothing? Commands on small inputs, two runs compared.

    python tools/golden.py make /tmp/before        # with the package as it was
    python tools/golden.py make /tmp/after         # and as it is
    python tools/golden.py compare /tmp/before /tmp/after

``make`` runs whatever faintsky can be imported, every command, seeds fixed, in three minutes; ``--only`` runs
some of the cases. ``compare`` prints what differs by more than rounding, and ends with status 1 if anything
does: catalogues by more than 1e-3 of a value's error, more than 0.1 % of the labels, images by more than 1e-4
of their peak, other numbers by 1 %. ``--renamed old=new`` compares a column with its new name.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parents[1] / "tests" / "data"
NGC = DATA / "ngc3256_co10_64.fits.gz"
PISCO, PISCO_PSF = DATA / "alma_pisco_cii_dirty.fits.gz", DATA / "alma_pisco_cii_psf.fits.gz"
LOFAR = DATA / "lofar_hba_grb201006a.fits.gz"
TINY = "--set steps=4 --set batch_size=2 --set warmup=1 --set validate_every=2 --set workers=0"
SMALL_ALMA = "--size 96 --channels 32 --cell 0.2arcsec --total-time 200s --integration 20s"
CASES = {
    "alma": f"simulate alma -n 2 --seed 3 {SMALL_ALMA}",
    "alma_varied": "simulate alma --preset varied -n 2 --seed 4 --size 96 --channels 24 --snr 20",
    "alma_compact": f"simulate alma -n 4 --seed 5 {SMALL_ALMA} --products compact",
    "lofar": "simulate lofar -n 1 --seed 5 --size 256 --total-time 1h --primary-beam gaussian",
    "lofar_quick": "simulate lofar --preset lotss --quick -n 2 --seed 6 --size 256 --primary-beam gaussian "
    "--products sky,noise,dirty,psf,pb,compact --gain-rms 0.02",
    "detect_alma": "detect {out}/alma/0000_dirty.fits --psf {out}/alma/psf.fits --pb {out}/alma/pb.fits",
    "detect_clip": "detect {out}/alma/0001_dirty.fits --model smooth_clip --pb {out}/alma/pb.fits",
    "detect_flood": "detect {out}/alma/0001_dirty.fits --model flood_fill",
    "detect_ngc3256": f"detect {NGC} --reliability 0.5",
    "denoise_pisco": f"denoise {PISCO} --psf {PISCO_PSF}",
    "denoise_lofar": f"denoise {LOFAR} --members 2 --negative",
    "denoise_dirty": "denoise {out}/lofar/0000_dirty.fits --psf {out}/lofar/psf.fits "
    "--pb {out}/lofar/pb.fits",
    "inject_cube": f"inject {NGC} -n 4 --per-run 2 --seed 1",
    "inject_image": f"inject {LOFAR} -n 6 --per-run 3 --seed 1",
    "evaluate_alma": "evaluate alma --data {out}/alma --methods classical,smooth_clip,flood_fill",
    "evaluate_lofar": "evaluate lofar -n 2 --size 256 --seed 3 --kinds noise,dirty "
    "--methods denoiser,starlet,input",
    "evaluate_lofar_data": "evaluate lofar --data {out}/lofar_quick --kinds noise "
    "--methods denoiser,gaussian",
    "train_unet": f"train local_unet {TINY} --dry-run",
    "train_dda": "train dda --data {out}/lofar_quick --dry-run",
}
VOLATILE = ("seconds", "memory", "cost", "version", "command", "date", "peak_gb")
"""What is named after one of these is another at every run."""


def make(folder: Path, only: list[str]) -> None:
    """Run the cases."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    (folder / "said").mkdir(parents=True, exist_ok=True)
    for name in only or CASES:
        shutil.rmtree(folder / name, ignore_errors=True)
        words = [*CASES[name].format(out=folder).split(), "--out", str(folder / name), "--json"]
        command = [sys.executable, "-m", "faintsky.cli", *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        (folder / "said" / f"{name}.json").write_text((done.stdout.splitlines() or ["{}"])[-1])
        print(
            f"{name}: status {done.returncode}", *done.stderr.splitlines()[-1:][: done.returncode], flush=True
        )


def compare(before: Path, after: Path, renamed: dict[str, str]) -> int:
    """Print differences, and count them."""
    readers = {".fits": _fits, ".ecsv": _table, ".json": _json, ".npz": _npz}
    found = 0
    for path in sorted(p for p in before.rglob("*") if p.suffix in readers):
        name = path.relative_to(before)
        if not (after / name.parts[0]).exists():
            continue  # a case that was not run
        if (after / name).is_file():
            one, two = (readers[path.suffix](p) for p in (path, after / name))
            texts = list(_differences(one, two, renamed))
        else:
            texts = ["is not there"]
        found += len(texts)
        for text in texts:
            print(f"{name}: {text}")
    print(f"{found} differences")
    return found


def _fits(path: Path) -> dict[str, Any]:
    from astropy.io import fits

    data = fits.getdata(path)
    return _table(path, hdu=1) if data.dtype.names else {"data": data}


def _npz(path: Path) -> dict[str, Any]:
    return dict(np.load(path))


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text() or "{}")


def _table(path: Path, **how: Any) -> dict[str, Any]:
    """Columns, each with how far its values may move."""
    from astropy.table import Table

    table = Table.read(path, **how)
    out: dict[str, Any] = {}
    for name in table.colnames:
        values = np.asarray(table[name])
        out[name] = (values, np.zeros(len(table)))
        if f"{name}_err" in table.colnames:
            error = table[f"{name}_err"]
            degrees = (str(table[name].unit), str(error.unit)) == ("deg", "arcsec")
            out[name] = (values, np.asarray(error, float) * (1e-3 / 3600 if degrees else 1e-3))
    return out


def _differences(one: Any, two: Any, renamed: dict[str, str], at: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(two, dict):
        if any(word in str(one.get("quantity")) for word in VOLATILE):
            return
        for key in one:
            new = renamed.get(key, key)
            if key != "out" and not any(word in key for word in VOLATILE):
                here = f"{at}/{key}" if at else key
                yield from _differences(one[key], two[new], renamed, here) if new in two else [f"no {here}"]
    elif isinstance(one, tuple) and isinstance(two, tuple):
        yield from _unlike(one[0], two[0], at, room=one[1])
    elif isinstance(one, np.ndarray):
        yield from _unlike(one, np.asarray(two), at)
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for i, (x, y) in enumerate(zip(one, two)):
            yield from _differences(x, y, renamed, f"{at}[{i}]")
    elif isinstance(one, int | float) and isinstance(two, int | float):
        if not np.isclose(one, two, rtol=1e-2, atol=0, equal_nan=True):
            yield f"{at}: {one} became {two}"
    elif one != two and not (
        isinstance(one, str) and ("/" in one or len(one) > 30)
    ):  # paths, hashes, sentences
        yield f"{at}: {str(one)[:80]} became {str(two)[:80]}"


def _unlike(one: np.ndarray, two: np.ndarray, at: str, room: Any = None) -> Iterator[str]:
    if one.shape != two.shape:
        yield f"{at}: shape {one.shape} became {two.shape}"
    elif one.dtype.kind not in "fiub" or two.dtype.kind not in "fiub":
        if (one.astype(str) != two.astype(str)).any():
            yield f"{at}: text differs"
    elif one.dtype.kind != "f" and room is None:
        if one.size and (one != two).mean() > 1e-3:
            yield f"{at}: {(one != two).mean():.2%} of the labels differ"
    else:
        p, q = (np.nan_to_num(a.astype(float), nan=-1e-30) for a in (one, two))
        bound = (
            1e-4 * np.abs(p).max(initial=0)
            if room is None
            else np.fmax(np.nan_to_num(room), 1e-5 * np.abs(p))
        )
        wrong = (np.abs(p - q) > bound + 1e-12) | (np.isnan(one.astype(float)) != np.isnan(two.astype(float)))
        if wrong.any():
            yield f"{at}: {wrong.sum()} of {wrong.size} differ, such as {one[wrong][0]} and {two[wrong][0]}"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("make", "compare"))
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--only", nargs="*", default=[], metavar="CASE")
    parser.add_argument("--renamed", nargs="*", default=[], metavar="OLD=NEW")
    given = parser.parse_args()
    if given.what == "compare":
        return int(compare(*given.folders, dict(r.split("=") for r in given.renamed)) > 0)
    make(given.folders[0], given.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
