"""Islands of other programs, as regions of an image; the programs themselves where they are installed."""

import numpy as np
import pytest
from conftest import skip_without

from faintsky.evaluation import Field, SimulatedFields
from faintsky.evaluation.methods import islands_of, scored_islands
from faintsky.evaluation.regions import region_fluxes
from faintsky.image import RadioImage
from faintsky.published.peers import PEERS, interpreter, searched_image


@pytest.fixture(scope="module")
def field():
    """White noise with a square patch of S/N 8 and a fainter one of S/N 2, with columns unlike rows."""
    one = SimulatedFields("paper", "noise", (0,), 9000, 96).load(0, empty=True)
    truth = np.zeros((96, 96), np.float32)
    truth[20:30, 60:80] = 8 * one.rms
    truth[60:80, 10:30] = 2 * one.rms
    image = RadioImage.from_array(one.image.data + truth, unit="Jy/arcsec2", cell=one.image.grid.cell)
    object.__setattr__(one, "image", image)
    object.__setattr__(one, "truth", truth)
    return one


@pytest.mark.parametrize("program", ["pybdsf", "aegean"])
def test_a_program_outlines_a_bright_patch(field, program):
    skip_without(interpreter, program)
    settings = {"smooth": 0.0, "seed": 5.0, "grow": 3.0, "wavelets": False}
    found = islands_of(field, program, settings)
    assert found.reported == found.labels.max() == 1
    inside = found.labels[20:30, 60:80] == 1
    assert inside.mean() > 0.97
    assert (found.labels > 0).sum() == pytest.approx(200, abs=15)
    assert found.score[0] > 8
    ((snr, ratio),) = region_fluxes(found, field.truth / field.rms)
    assert ratio == pytest.approx(1, abs=0.05)
    assert snr == pytest.approx(8 * np.sqrt(200), rel=0.1)
    # smoothed, the fainter one is an island as well
    assert islands_of(field, program, settings | {"smooth": 1.5}).labels.max() == 2


def test_islands_have_the_noise_of_their_sum():
    labels = np.zeros((20, 20), np.int32)
    labels[2:6, 2:6], labels[10:12, 10:19] = 1, 2
    data = np.where(labels == 1, 6.0, np.where(labels == 2, 2.0, 0.0)).astype(np.float32)
    image = RadioImage.from_array(data, unit="Jy/arcsec2", cell=2.0)
    field = Field(image, data, 2.0, None, 3.0)
    made = scored_islands(labels, field, data / 1.0)
    assert made.score == pytest.approx([6, 2])
    assert made.flux == pytest.approx([48, 18])
    assert made.snr == pytest.approx([48 / 4, 18 / np.sqrt(18)])
    assert scored_islands(np.zeros((20, 20), np.int32), field, data).reported == 0


def test_the_smoothed_image_s_noise_is_known():
    data = np.random.default_rng(0).normal(0, 1.0, (600, 600)).astype(np.float32)
    image, rms, beam = searched_image(data, 3.0, 2.0)
    assert image.std() == pytest.approx(rms, rel=0.05)
    assert beam == pytest.approx((np.hypot(3, 6), np.hypot(3, 6), 0))


def test_options_in_the_programs_words():
    s = {"smooth": 0.0, "seed": 5.0, "grow": 3.0, "wavelets": True}
    made = PEERS["aegean"].island_options(s, 0.2)
    assert made == {"innerclip": 5.0, "outerclip": 3.0, "rms": 0.2, "bkg": 0.0}
    made = PEERS["pybdsf"].island_options(s, 0.2)
    assert (made["thresh_pix"], made["thresh_isl"], made["rms_value"]) == (5.0, 3.0, 0.2)
    assert made["atrous_do"] is True
