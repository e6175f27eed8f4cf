"""`faintsky.inject` on an image: filaments and blobs are what they say, and bright ones come back."""

import numpy as np
import pytest
from astropy.table import Table

import faintsky
from faintsky.errors import InputError
from faintsky.image import RadioImage
from faintsky.injecting import Outlined, draw_shape, place_in_image, recover
from faintsky.preparing import gaussian_psf, prepare_image

N, BEAM, RMS = 160, 4.0, 2e-4


@pytest.fixture(scope="module")
def image():
    """Noise correlated like a round beam, one bright blob, and a blank border."""
    rng = np.random.default_rng(5)
    beam = np.fft.rfft2(np.fft.ifftshift(gaussian_psf((N, N), BEAM / np.sqrt(2), BEAM / np.sqrt(2), 0.0)))
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((N, N))) * beam, s=(N, N))
    data = RMS * noise / noise.std()
    y, x = np.indices((N, N))
    data += 50 * RMS * np.exp(-((y - 40) ** 2 + (x - 40) ** 2) / 2 / 5**2)
    data[:, :10] = np.nan
    return RadioImage.from_array(data.astype(np.float32), cell=2.0, beam=[8.0, 8.0, 0.0])


def by_threshold(one):
    """A stand-in for a model: the image itself, and what is above three times the noise."""
    p = prepare_image(one)
    mask = ((p.scaled > 3) & p.valid).astype(np.int32)
    return Outlined(mask, one.data, p)


@pytest.fixture(scope="module")
def place(image):
    return place_in_image(image, by_threshold(image))


def test_shapes_are_long_or_round_and_of_peak_one():
    rng = np.random.default_rng(2)
    kinds = set()
    for _ in range(30):
        kind, shape = draw_shape(rng, 6.0)
        kinds.add(kind)
        assert shape.max() == pytest.approx(1, abs=0.02)
        inside = shape > 0.5
        assert inside.sum() > 8 * 1.133 * 36  # many beams
        assert not (shape > 0.05)[[0, -1]].any()
        y, x = np.nonzero(inside)
        values = np.linalg.eigvalsh(np.cov(np.stack([x, y])))
        # a filament is 2.7 times as long as wide or more, before it bends
        assert (values[1] > 3 * values[0]) == (kind == "filament")
    assert kinds == {"filament", "blob"}


def test_brightness_and_place_are_as_asked(image, place):
    for k in range(4):
        rng = np.random.default_rng(k)
        sources = place.draw(3, rng, (1.9, 2.1))
        seen = np.zeros((N, N), int)
        for s in sources:
            level = s.brightness[s.outline].mean() / np.median(place.found.prepared.rms[s.box][s.outline])
            assert level == pytest.approx(s.snr, rel=1e-6)
            assert 1.9 < s.snr < 2.1
            seen[s.box] += s.brightness > 0.05 * s.brightness.max()
        assert seen.max() == 1  # they do not overlap
        assert not seen[:, :10].any()
        assert not seen[place.found.mask > 0].any()
        added = place.with_sources(sources).data - image.data
        assert np.nansum(added) == pytest.approx(sum(s.brightness.sum() for s in sources), rel=1e-3)


def test_bright_ones_are_found_and_noise_is_not(place):
    sources, runs, others = recover(place, by_threshold, 12, 3, snr=(6.0, 9.0))
    assert len(sources) == 12
    assert runs >= 4
    assert sources["found"].all()
    assert np.asarray(sources["share"]) == pytest.approx(1, abs=0.25)
    assert np.median(sources["found_flux"] / sources["flux"]) == pytest.approx(1, abs=0.05)
    faint, _, _ = recover(place, by_threshold, 6, 3, snr=(0.01, 0.02))
    assert not faint["found"].any()
    assert others == 0


@pytest.mark.usefixtures("quick_workers")
def test_an_image_through_the_command_s_function(image, tmp_path):
    how = {"n": 6, "seed": 1, "snr_low": 0.5, "snr_high": 10.0, "device": "cpu"}
    result = faintsky.inject(image, tmp_path / "out", **how)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "completeness.csv", "completeness.png", "report.html", "injected.ecsv", "run.json",
    }  # fmt: skip
    table = Table.read(tmp_path / "out" / "completeness.csv")
    assert table["n"].sum() == result.facts["sources"] == 6
    assert "share" in table.colnames
    assert result.facts["taken_for"] == "restored"
    bright = np.asarray(result.sources["snr"]) > 4
    assert np.asarray(result.sources["found"])[bright].all()
    assert "S/N per pixel" in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(InputError, match="no room"):
        faintsky.inject(image, n=2, mask=np.eye(1, N * N, dtype=np.float32).reshape(N, N), device="cpu")
    plan = faintsky.inject(image, tmp_path / "plan", n=9, dry_run=True)
    assert plan.facts["searches"] == 4
