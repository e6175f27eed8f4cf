"""`faintsky.denoise` of dirty images: their sidelobes, with and without the psf."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from synthetic import telescope

from faintsky import denoise
from faintsky.denoising import denoise_image, make_denoiser
from faintsky.image import RadioImage
from faintsky.models import load_model
from faintsky.simulating import at_resolution, simulated


def two_points(peak):
    """A dirty image, its psf, and the same sky restored with a Gaussian beam; noise of 1 in both."""
    from faintsky.preparing import gaussian_psf

    t = telescope(96)
    sky = np.zeros((96, 96))
    sky[40, 30], sky[60, 66] = peak, peak / 2
    pad = np.fft.rfft2(sky, s=(192, 192))
    seen = np.fft.irfft2(pad * t.weights, s=(192, 192))[:96, :96]
    clean = np.zeros((192, 192))
    clean[:96, :96] = gaussian_psf((96, 96), *t.beam)
    clean = np.roll(clean, (-48, -48), axis=(0, 1))
    restored = np.fft.irfft2(pad * np.fft.rfft2(clean).real, s=(192, 192))[:96, :96]
    noise = t.noise(np.random.default_rng(1), 1)[0]
    return (seen + noise).astype(np.float32), t.psf, (restored + noise).astype(np.float32), t.beam


@pytest.fixture(scope="module")
def dirty():
    """Points that are bright enough to show sidelobes."""
    return two_points(60.0)


def as_image(data, beam, **details):
    return RadioImage.from_array(data, cell=1.0, beam=list(beam), **details)


def test_dirty_and_restored_are_told_apart(dirty, passing):
    image, psf, restored, beam = dirty
    for data, kind in ((image, "dirty"), (restored, "restored")):
        result = denoise(as_image(data, beam, psf=psf), model=passing, device="cpu")
        assert result.facts["kind"] == kind
        assert f"treated as {kind}: " in result.found.notes[0]
        assert denoise(as_image(data, beam), model=passing, device="cpu").facts["kind"] == kind


def test_rings_of_a_dirty_image_are_not_believed_without_its_psf():
    """What the shipped denoiser outlined, and was sure of, are sidelobes."""
    seen = next(
        simulated("lofar", 1, seed=3001, preset="lotss", size=300, quick=True, products=("sky", "dirty"))
    )
    cell, beam = seen.instrument.grid.cell, seen.beams[0]
    true = at_resolution(seen.sky * seen.instrument.pb[0], beam, cell) * 1.133 * beam[0] * beam[1]
    empty = true < 1e-4  # below the noise
    images = {
        k: RadioImage.from_array(seen.dirty, cell=cell, beam=beam, kind=k) for k in ("restored", "auto")
    }
    denoiser = make_denoiser(load_model("denoiser"))
    found = {k: denoiser(image) for k, image in images.items()}
    assert (found["restored"].mask[empty] > 0).mean() > 0.1
    assert found["auto"].kind == "dirty"
    assert any("give --psf" in note for note in found["auto"].notes)
    assert (found["auto"].mask[empty] > 0).mean() < 0.005
    assert found["auto"].mask[np.unravel_index(true.argmax(), true.shape)]
    # what may be a sidelobe is said to be, and is doubtful; errors know of them
    doubtful = denoiser(images["auto"], reliability=0).catalog
    flagged = np.array(["sidelobe" in flags for flags in doubtful["flags"]])
    assert flagged.any()
    assert doubtful["reliability"][flagged].max() < 0.9
    assert np.median(found["auto"].uncertainty) > 1.2 * np.median(found["restored"].uncertainty)


@pytest.mark.parametrize(("components", "kind"), [(0, "dirty"), (1000, "restored")])
def test_wscleans_header_is_believed(dirty, passing, components, kind):
    opened = as_image(dirty[0], dirty[3])
    opened.header["WSCMINOR"] = components
    result = denoise(opened, model=passing, device="cpu")
    assert result.facts["kind"] == kind
    assert ("give --psf" in " ".join(result.found.notes)) == (kind == "dirty")


def test_major_cycles_take_the_sidelobes_out(dirty):
    """With a denoiser that knows where the points are, but not how bright, the image is the restored one."""
    from faintsky.denoising import Response, major_cycles
    from faintsky.preparing import gaussian_psf

    image, psf, restored, beam = dirty
    valid = np.ones(image.shape, dtype=bool)
    spot = gaussian_psf(image.shape, *beam)
    spots = [np.roll(spot, (y - 48, x - 48), axis=(0, 1)) for y, x in ((40, 30), (60, 66))]

    def denoised(data, residual):
        # a matched filter each, which sees the sidelobes of both
        return sum((data * s).sum() / (s**2).sum() * s for s in spots).astype(np.float32), 1.0

    done = major_cycles(image, valid, Response(image.shape, psf, beam), denoised)
    assert done.settled
    inner = slice(12, -12), slice(12, -12)
    before, after = (np.abs(x - restored)[inner] for x in (image, done.image))
    assert before.max() > 9
    assert after.max() < 4
    assert after.std() < 0.4 * before.std()
    for y, x in ((40, 30), (60, 66)):
        assert done.image[y, x] == pytest.approx(restored[y, x], rel=0.04)
    assert done.residual[inner].std() == pytest.approx(1.0, abs=0.15)


def test_bright_points_are_cleaned_and_wide_emission_is_left(dirty):
    from faintsky.denoising import Response, clean_bright

    image, psf, restored, beam = dirty
    y, x = np.indices(image.shape)
    wide = 12 * np.exp(-4 * np.log(2) * ((x - 25) ** 2 + (y - 75) ** 2) / 30**2).astype(np.float32)
    valid, response = np.ones(image.shape, bool), Response(image.shape, psf, beam)
    for more in (0, wide):
        model, rest = clean_bright(image + more, valid, response)
        for point in ((40, 30), (60, 66)):
            assert model[point] + (rest - more)[point] == pytest.approx(restored[point], rel=0.06)
            assert abs((rest - more)[point]) < 8
        far = np.hypot(x - 30, y - 40) > 12
        far &= np.hypot(x - 66, y - 60) > 12
        assert np.abs(model[far]).max() < 0.5
        inner = slice(12, -12), slice(12, -12)
        assert (rest - more)[inner].std() < 1.3


def test_snapshots_of_bright_points_get_no_plateau():
    """A snapshot's psf has strong sidelobes everywhere, and no zero spacing."""
    from faintsky.preparing import gaussian_psf

    rng = np.random.default_rng(5)
    half, n = 80, 160
    weights = np.zeros((n, n))
    for _ in range(40):
        r, angle = rng.uniform(12, 45), rng.uniform(0, 2 * np.pi)
        u, v = round(r * np.cos(angle)), round(r * np.sin(angle))
        weights[u % n, v % n] += 1
        weights[-u % n, -v % n] += 1
    weights = gaussian_filter(weights, 2.5, mode="wrap")
    weights[0, 0] = 0
    psf = np.fft.fftshift(np.fft.ifft2(weights).real)
    psf /= psf.max()
    sky, inner = np.zeros((n, n)), slice(30, n - 30)
    sky[inner, inner].flat[rng.choice(100 * 100, 12, replace=False)] = rng.uniform(40, 300, 12)
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, n))) * np.sqrt(weights)).real
    seen = np.fft.irfft2(
        np.fft.rfft2(sky, s=(3 * n, 3 * n)) * np.fft.rfft2(psf, s=(3 * n, 3 * n)), s=(3 * n, 3 * n)
    )[half : half + n, half : half + n]
    image = RadioImage.from_array(
        (seen + noise / noise.std()).astype(np.float32), cell=1.0, psf=psf[1:, 1:].astype(np.float32),
        kind="dirty",
    )  # fmt: skip
    found = denoise(image, device="cpu")
    spot = np.fft.ifftshift(gaussian_psf((n, n), *found.found.prepared.beam))
    truth = np.fft.ifft2(np.fft.fft2(sky) * np.fft.fft2(spot)).real
    error, empty = found.image - truth, truth < 0.1
    assert seen[truth < 0.1].std() > 7
    # of the noise; with starlets instead of CLEAN there was a plateau of 2.4
    assert abs(error[empty].mean()) < 0.5
    assert error[empty].std() < 0.5
    assert error[truth > 20].std() < 2.5


def test_cycles_that_drive_apart_are_given_up(dirty):
    from faintsky.denoising import Response, major_cycles

    image, psf, _, beam = dirty
    valid = np.ones(image.shape, dtype=bool)
    done = major_cycles(
        image, valid, Response(image.shape, psf, beam), lambda data, residual: (-3 * data, 1.0)
    )
    assert done.diverged
    assert done.cycles < 12
    assert done.residual.std() <= image.std()


class Network(torch.nn.Module):
    """Of a denoiser's kind: what stands out of the noise, times a factor."""

    reach, stride = 8, 4

    def __init__(self, factor):
        super().__init__()
        self.factor, self.calls = factor, 0

    def forward(self, image, weight, beam):
        self.calls += 1
        return self.factor * torch.where(image > 4, image, 0), torch.ones_like(image)


@pytest.mark.parametrize(("factor", "knows"), [(1.0, True), (-3.0, False)])
def test_starlets_come_before_the_network_and_answer_where_it_fails(dirty, factor, knows):
    image, psf, restored, beam = dirty
    network = Network(factor)
    found = denoise_image(as_image(image, beam, psf=psf, kind="dirty"), network)
    assert any("major cycles with starlets" in n for n in found.notes)
    assert any("the network fails on this image" in n for n in found.notes) != knows
    assert network.calls <= (4 if knows else 1)
    for y, x in ((40, 30), (60, 66)):
        assert found.image[y, x] == pytest.approx(restored[y, x], rel=0.1)
    away = np.min(
        [np.hypot(*(np.mgrid[:96, :96] - np.array(p)[:, None, None])) for p in ((40, 30), (60, 66))], 0
    )
    assert np.abs(found.image[away > 15]).mean() < 0.3 * np.abs(image[away > 15]).mean()
    if not knows:
        assert np.median(found.uncertainty) == pytest.approx(1.0, rel=0.3)


def test_sidelobes_beyond_a_cut_psf_count_as_noise():
    """They grow with the emission that is found; noise, errors and a note with them."""
    whole = np.fft.fftshift(np.fft.irfft2(telescope(96).weights, s=(192, 192))).astype(np.float32)
    found = {}
    for peak in (60.0, 6000.0):
        image, cut, restored, beam = two_points(peak)
        for name, psf in (("whole", whole), ("cut", cut)):
            one = denoise_image(as_image(image, beam, psf=psf, kind="dirty"), Network(1.0))
            said = any("sidelobes farther than that stay" in n for n in one.notes)
            assert said == (name == "cut")
            found[peak, name] = np.median(one.uncertainty), np.quantile(np.abs(one.image - restored), 0.9)
    assert found[60.0, "cut"][0] > 1.1 * found[60.0, "whole"][0]
    # a hundred times as bright, they are far above the noise
    error, off = found[6000.0, "cut"]
    assert off > 5 * found[6000.0, "whole"][1]
    assert error > 0.6 * off
