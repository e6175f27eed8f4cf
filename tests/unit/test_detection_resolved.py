"""Resolved galaxies: one object each, with the flux, widths and kinematics that they have."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from faintsky.beams import beam_pixels
from faintsky.detection import find_sources, width_at
from faintsky.image import RadioCube

SIDE, CHANNELS, BEAM, CELL = 72, 48, 4.0, 10.0
RMS, FIRST, WIDTH, REST = 1e-3, 1.4e9, 5e4, 1.420405751786e9
AREA = float(beam_pixels((BEAM, BEAM, 0.0), 1.0)[0])


def disc(x0, y0, angle, scale=5.0, z0=24.0, half=11.0):
    """A rotating disc [Jy/beam], receding (towards higher channels) at an angle from +y towards -x."""
    z, y, x = np.mgrid[:CHANNELS, :SIDE, :SIDE].astype(float)
    t = np.deg2rad(angle)
    along = -(x - x0) * np.sin(t) + (y - y0) * np.cos(t)
    across = ((x - x0) * np.cos(t) + (y - y0) * np.sin(t)) * 2
    r = np.hypot(along, across) + 1e-9
    cube = np.exp(-r / scale) * (r < 14) * np.exp(-0.5 * (z - z0 - half * np.tanh(r / 3) * along / r) ** 2)
    cube = np.stack([gaussian_filter(p, BEAM / 2.3548) for p in cube])
    return cube * 25 * RMS / cube.max()


def point(x0, y0, z0, snr=20.0, width=5.0):
    z, y, x = np.mgrid[:CHANNELS, :SIDE, :SIDE].astype(float)
    line = np.exp(-4 * np.log(2) * ((z - z0) / width) ** 2)
    line *= snr / np.linalg.norm(line[:, 0, 0])
    return RMS * line * np.exp(-4 * np.log(2) * ((x - x0) ** 2 + (y - y0) ** 2) / BEAM**2)


def found(*parts, seed=1, level=0.0, **details):
    white = np.random.default_rng(seed).normal(size=(CHANNELS, SIDE, SIDE))
    noise = np.stack([gaussian_filter(p, BEAM / 2.3548 / np.sqrt(2), mode="wrap") for p in white])
    data = noise * RMS / noise.std() + sum(parts) + level
    # channels of rising frequency: velocities fall
    cube = RadioCube.from_array(
        data.astype(np.float32), cell=CELL, frequencies=FIRST + WIDTH * np.arange(CHANNELS),
        beam=(BEAM * CELL, BEAM * CELL, 0.0), rest_frequency=REST, kind="restored", **details,
    )  # fmt: skip
    return find_sources(cube)


def km_s(row):
    return 299792.458 * WIDTH / REST


@pytest.mark.parametrize("angle", [20.0, 200.0, 310.0])
def test_a_rotating_disc_is_one_object_with_its_flux_and_its_angle(angle):
    galaxy, beside = disc(36, 36, angle), [point(12, 14, 10), point(60, 58, 24)]
    got = found(galaxy, *beside)
    assert len(got.catalog) == 3 <= got.candidates
    row = got.catalog[np.hypot(got.catalog["x"] - 36, got.catalog["y"] - 36) < 4][0]
    assert row["flux_method"] == "mask"
    assert row["flux"] == pytest.approx(galaxy.sum() / AREA * km_s(row), rel=0.05)
    assert row["flux"] == row["flux_mask"]
    # velocities fall with the channels: it recedes on the other side
    turn = (row["kin_pa"] - (angle + 180) + 180) % 360 - 180
    assert abs(turn) < max(3 * row["kin_pa_err"], 10)
    assert row["w50"] == pytest.approx(22 * km_s(row), rel=0.15)
    assert row["w20"] > row["w50"]
    # mask, model and residual agree
    assert (got.mask == row["id"]).sum() > 1000
    labelled = got.mask == row["id"]
    np.testing.assert_allclose(got.model[labelled], got.prepared.line[labelled], atol=1e-3 * RMS)


@pytest.mark.parametrize(("blank", "rows"), [([20], 1), ([18, 25, 26], 1), (range(21, 29), 2)])
def test_few_blank_channels_divide_no_galaxy(blank, rows):
    galaxy = disc(36, 36, 20.0)
    whole, total = found(galaxy).catalog[0], galaxy.sum()
    assert whole["flags"] == "extended,no_primary_beam"
    galaxy[list(blank)] = np.nan
    got = found(galaxy)
    assert len(got.catalog) == rows
    assert all("edge" in flags.split(",") for flags in got.catalog["flags"])
    if rows == 1:
        left = np.nansum(galaxy) / total
        assert got.catalog["flux"][0] == pytest.approx(left * whole["flux"], rel=0.03)


def test_a_lopsided_galaxy_is_where_its_middle_is():
    """One half twice as bright as the other moves neither its place nor its velocity."""
    galaxy = disc(36, 36, 60.0)
    galaxy[24:] *= 0.5
    row = found(galaxy).catalog[0]
    assert np.hypot(row["x"] - 36, row["y"] - 36) < 0.2 * BEAM
    assert abs(row["z"] - 24) < 0.7


def test_a_galaxy_blinds_no_one():
    lines = [point(12, 14, 10, 7.5), point(60, 58, 24, 7.5), point(58, 12, 38, 7.5), point(14, 58, 6, 7.5)]
    places = [(12, 14), (60, 58), (58, 12), (14, 58)]

    def hits(*parts):
        c = [found(*parts, *lines, seed=s).catalog for s in range(4)]
        return sum(int((np.hypot(t["x"] - x, t["y"] - y) < 3).any()) for t in c for x, y in places)

    assert hits(disc(36, 36, 50)) >= hits() - 1


def test_two_galaxies_stay_two():
    got = found(disc(22, 36, 0, scale=3, half=6), disc(50, 36, 0, scale=3, half=6))
    assert len(got.catalog) == 2
    assert sorted(np.round(got.catalog["x"])) == pytest.approx([22, 50], abs=2)


def test_a_galaxy_makes_no_continuum():
    wide = disc(36, 36, 30, half=20)
    got = found(wide)
    assert not got.prepared.present.any()
    assert got.catalog[0]["flux"] == pytest.approx(wide.sum() / AREA * km_s(None), rel=0.06)


def test_levels_all_over_are_a_continuum_beside_a_galaxy_too():
    """As after a continuum was fitted to a few channels and taken out: what its noise left is in all."""
    levels = np.random.default_rng(2).normal(size=(SIDE, SIDE))
    levels = gaussian_filter(levels, BEAM / 2.3548 / np.sqrt(2), mode="wrap")
    galaxy, line = disc(36, 36, 30, half=14), point(12, 14, 10, snr=12)
    got = found(galaxy, line, level=levels * 0.5 * RMS / levels.std())
    assert got.prepared.present[got.prepared.valid].mean() > 0.7
    assert len(got.catalog) == 2
    rows = got.catalog[np.argsort(-np.asarray(got.catalog["snr"]))]
    assert rows["flux"][0] == pytest.approx(galaxy.sum() / AREA * km_s(None), abs=3 * rows["flux_err"][0])
    assert rows["snr"][1] == pytest.approx(12, rel=0.2)


def test_no_line_is_weaker_for_a_continuum_beside_a_galaxy():
    """What a wide line adds to the continuum fitted through it would be taken out of it."""
    levels = gaussian_filter(np.random.default_rng(2).normal(size=(SIDE, SIDE)), 1.2, mode="wrap")
    places = [(12, 14, 10), (60, 14, 30), (60, 60, 15), (12, 60, 34)]
    lines = [point(*place, snr=20, width=10) for place in places]
    rows = found(disc(36, 36, 30, half=14), *lines, level=levels * 0.5 * RMS / levels.std()).catalog
    pulls = []
    for line, (x, y, _) in zip(lines, places):
        row = rows[np.hypot(rows["x"] - x, rows["y"] - y).argmin()]
        pulls.append((row["flux"] - line.sum() / AREA * km_s(None)) / row["flux_err"])
    assert abs(np.mean(pulls)) < 2


def test_what_negative_emission_is_as_strong_as_is_not_trusted():
    galaxy, faint = disc(36, 36, 30), 0.4 * disc(61, 61, 0, scale=3, half=6)
    bowl = -0.5 * disc(12, 12, 0, scale=3, half=6)
    alone, doubtful = found(galaxy, faint), found(galaxy, faint, bowl)
    assert len(alone.catalog) == 2
    assert alone.catalog["reliability"].min() > 0.99
    assert len(doubtful.catalog) == 1
    assert doubtful.catalog["x"][0] == pytest.approx(36, abs=2)


def test_the_continuum_is_what_the_user_says():
    """A third of the line's peak in all channels."""
    line = point(30, 40, 20, snr=30, width=8)
    both = line + 0.3 * line[20]
    flux = line.sum() / AREA * km_s(None)
    rows = {}
    for asked in ("auto", "fit", "none"):
        got = found(both, continuum=asked)
        rows[asked] = got.catalog[got.catalog["snr"].argmax()]
        share = got.prepared.present[got.prepared.valid].mean()
        assert {"auto": 0 < share < 0.5, "fit": share == 1, "none": share == 0}[asked]
        assert any("continuum was subtracted" in note for note in got.notes)
    for asked in ("auto", "fit"):
        assert rows[asked]["flux"] == pytest.approx(flux, abs=4 * rows[asked]["flux_err"])
        assert rows[asked]["continuum"] == pytest.approx(0.3 * line.max(), rel=0.2)
    assert rows["none"]["flux"] > flux + 4 * rows["auto"]["flux_err"]
    # without a continuum in the data its fit costs a line's flux precision
    alone = {k: found(line, continuum=k).catalog[0]["flux_err"] for k in ("auto", "fit")}
    assert 1.05 < alone["fit"] / alone["auto"] < 1.4


def test_width_between_outermost_crossings():
    horns = np.array([0, 0, 4, 8, 4, 2, 4, 8, 4, 0, 0], dtype=float)
    ends, error, above = width_at(horns, np.full(11, 0.1), 0.5)
    assert (*ends, above) == (2.0, 8.0, True)
    assert 0 < error < 0.2
    assert not width_at(horns, np.full(11, 3.0), 0.2)[2]
