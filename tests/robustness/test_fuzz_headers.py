"""Random headers: a file is read rightly or refused in one line, whatever its cards say."""

import os
import warnings
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faintsky import open_cube, open_image
from faintsky.errors import InputError
from faintsky.io import save_like

EXAMPLES = int(os.environ.get("FAINTSKY_FUZZ_EXAMPLES", "60"))

numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=64),
    st.sampled_from([0.0, 1.0, -1.0, 1e-4, -1e-4, 90.0, -90.0, 360.0, 1e11, 1e-300, 1e300]),
    st.integers(-(10**6), 10**6),
)
usual = [
    *(
        "RA---SIN",
        "DEC--SIN",
        "RA---TAN",
        "GLON-CAR",
        "FREQ",
        "VRAD",
        "VOPT-F2W",
        "STOKES",
        "RA--SIN",
        "freq",
    ),
    *("VELO-HEL", "FELO-LSR", "VELOCITY", "stokes"),
]
words = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
    st.sampled_from(
        [*usual, "Hz", "m/s", "deg", "K", "Jy/beam", "KM/S", "GHZ", "DEGREE", "counts", "K (Tmb)", "B1950"]
    ),
)
values = st.one_of(numbers, words, st.booleans())
numbered = st.builds(
    lambda k, i: f"{k}{i}",
    st.sampled_from(["CTYPE", "CRVAL", "CDELT", "CRPIX", "CUNIT", "CROTA"]),
    st.integers(1, 4),
)
others = (
    "BMAJ BMIN BPA BUNIT RESTFRQ SPECSYS VELREF RADESYS EQUINOX LONPOLE PC1_2 CD1_1 BLANK BSCALE WCSAXES "
    "FREQ0 LINEFREQ RESTWAV BMMAJ BMMIN EPOCH"
)
keys = st.one_of(numbered, st.sampled_from([*others.split(), "PV2_1", "CASAMBM", "OBJECT", "DATE-OBS"]))
shapes = st.sampled_from([(6, 9, 8), (1, 6, 9, 8), (9, 8), (1, 1, 9, 8), (1, 9, 8), (2, 3, 9, 8)])


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FAINTSKY_FUZZ_RANDOM" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(
    cards=st.dictionaries(keys, values, max_size=6),
    shape=shapes,
    removed=st.sets(keys, max_size=3),
    given_by_hand=st.sampled_from([{}, {}, {"beam": (3, 2, 10), "rest_frequency": "100GHz", "stokes": "I"}]),
)
def test_headers(cards, shape, removed, given_by_hand):
    header = base_header()
    for key in removed:
        header.remove(key, ignore_missing=True)
    for key, value in cards.items():
        try:
            header[key] = value
        except ValueError:  # what FITS cannot hold cannot come in a file
            continue
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "f.fits"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
            fits.PrimaryHDU(data, header).writeto(path, output_verify="ignore")
        for opener in (open_cube, open_image):
            read_or_refuse(partial(opener, **given_by_hand), path, opener)


def base_header() -> fits.Header:
    header = fits.Header()
    axes = [("RA---SIN", 150.0, -1e-4, "deg"), ("DEC--SIN", -30.0, 1e-4, "deg"), ("FREQ", 1e11, 1e7, "Hz")]
    for i, (kind, value, step, unit) in enumerate(axes, start=1):
        header[f"CTYPE{i}"], header[f"CRVAL{i}"], header[f"CDELT{i}"] = kind, value, step
        header[f"CRPIX{i}"], header[f"CUNIT{i}"] = 4.0, unit
    header["BMAJ"], header["BMIN"], header["BPA"] = 3e-4, 2e-4, 10.0
    return header


def read_or_refuse(opener, path: Path, again) -> None:
    refusal = None
    try:
        opened = opener(path)
        cube = opened.cube
    except InputError as error:
        refusal = error
    if refusal is not None:
        assert str(refusal).startswith(str(path))
        assert refusal.hint
        assert "\n" not in str(refusal)
        return
    assert cube.shape == opened.shape
    assert cube.dtype == np.float32
    assert not np.isinf(cube).any()
    assert opened.grid.cell > 0
    if opened.beams is not None:
        assert np.all(opened.beams[:, 1] > 0)
        assert np.all((opened.beams[:, 2] >= 0) & (opened.beams[:, 2] < 180))
    if opened.frequencies is not None:
        assert np.all(opened.frequencies > 0)
    assert np.shape(opened.sky(3.0, 4.0)) == (2,)
    saved = again(save_like(path.with_name("out.fits"), opened.cube, opened))
    np.testing.assert_array_equal(saved.cube, cube)


@settings(
    max_examples=max(EXAMPLES // 4, 10),
    deadline=None,
    derandomize="FAINTSKY_FUZZ_RANDOM" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(cards=st.dictionaries(keys, values, max_size=4), removed=st.sets(keys, max_size=3))
def test_headers_of_images_to_denoise(passing, cards, removed):
    """An image is denoised, in the unit and with the axes it came in, or refused in one line."""
    from faintsky import denoise

    header = base_header()
    for key in removed:
        header.remove(key, ignore_missing=True)
    for key, value in cards.items():
        try:
            header[key] = value
        except ValueError:
            continue
    with TemporaryDirectory() as folder:
        path = Path(folder) / "f.fits"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = np.random.default_rng(1).normal(size=(1, 24, 20)).astype(np.float32)
            data[0, 8:14, 9:15] += 9
            fits.PrimaryHDU(data, header).writeto(path, output_verify="ignore")
        refusal = None
        try:
            result = denoise(path, model=passing, device="cpu")
        except InputError as error:
            refusal = error
        if refusal is not None:
            assert str(refusal).startswith(str(path))
            assert refusal.hint
            assert "\n" not in str(refusal)
            return
        assert result.image.shape == (24, 20)
        save_like(path.with_name("out.fits"), result.image, open_image(path))
