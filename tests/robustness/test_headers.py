"""Headers as other programs write them: understood, or one line that names the card and what it should be."""

import json
import re

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, NDData
from astropy.wcs import WCS

from faintsky import denoise, detect, inject, open_cube, open_image
from faintsky.catalog import read_catalog
from faintsky.cli import main
from faintsky.errors import InputError
from faintsky.grid import SPEED_OF_LIGHT as C
from faintsky.io import save_like

REST, HI = 1.001e11, 1420.405752e6
V = 3e5 + 2e3 * np.arange(24)
RADIO, OPTICAL = REST * (1 - V / C), REST / (1 + V / C)
# regular in frequency, labelled in optical velocity (Greisen et al. 2006, equation 64)
F2W = REST / (1 + 3e5 / C) - 2e3 * REST / C / (1 + 3e5 / C) ** 2 * np.arange(24)
NO_BEAM = {"BMAJ": None, "BMIN": None, "BPA": None}
VELOCITY = {"CTYPE3": "VRAD", "CRVAL3": 3e5, "CDELT3": 2e3, "CUNIT3": "m/s"}


def velocity(kind, **cards):
    return {**VELOCITY, "CTYPE3": kind, "SPECSYS": None, **cards}


@pytest.mark.parametrize(
    ("cards", "frequencies", "frame", "noted"),
    [
        (velocity("VELO-LSR", VELREF=257), RADIO, "LSRK", ""),
        (velocity("VELO-HEL", VELREF=258), RADIO, "BARYCENT", ""),
        (velocity("VELO-HEL", VELREF=2), OPTICAL, "BARYCENT", ""),
        (velocity("VELO-HEL"), OPTICAL, "BARYCENT", "optical"),
        (velocity("velo-lsrk", VELREF=257), RADIO, "LSRK", ""),
        (velocity("VELOCITY"), RADIO, "", "radio"),
        (velocity("VELOCITY", VELREF=1), OPTICAL, "", ""),
        (velocity("VEL-LSR"), RADIO, "LSRK", "radio"),
        (velocity("FELO-HEL"), F2W, "BARYCENT", ""),
        (velocity("FELO-LSR", VELREF=1), F2W, "LSRK", ""),
        (velocity("vrad"), RADIO, "", ""),
        (velocity("VRAD-LSR"), RADIO, "LSRK", ""),
        (velocity("VOPT"), OPTICAL, "", ""),
        (velocity("VRAD", CUNIT3="M/S"), RADIO, "", ""),
        (velocity("VRAD", CUNIT3=None), RADIO, "", "CUNIT3 is missing"),
        (velocity("VRAD", CUNIT3="KM/S", CRVAL3=300.0, CDELT3=2.0), RADIO, "", ""),
        (velocity("VRAD", CUNIT3="km/sec", CRVAL3=300.0, CDELT3=2.0), RADIO, "", ""),
        (velocity("VRAD", CUNIT3="km s-1", CRVAL3=300.0, CDELT3=2.0), RADIO, "", ""),
        ({"CTYPE3": "freq"}, None, "LSRK", ""),
        ({"CTYPE3": "FREQUENCY"}, None, "LSRK", ""),
        ({"CTYPE3": "FREQ-LSR", "SPECSYS": None}, None, "LSRK", ""),
        ({"CTYPE3": "FREQ-BAR", "SPECSYS": None}, None, "BARYCENT", ""),
        ({"CUNIT3": "HZ"}, None, "LSRK", ""),
        ({"CUNIT3": None}, None, "LSRK", ""),
        ({"CUNIT3": "GHZ", "CRVAL3": 100.0, "CDELT3": 0.01}, None, "LSRK", ""),
        ({"CUNIT3": "Mhz", "CRVAL3": 1e5, "CDELT3": 10.0}, None, "LSRK", ""),
        ({"CUNIT1": "DEGREE", "CUNIT2": "Degrees"}, None, "LSRK", ""),
        ({"CTYPE1": "RA--SIN", "CTYPE2": "DEC-SIN"}, None, "LSRK", ""),
        ({"CTYPE1": "ra---sin", "CTYPE2": "dec--sin"}, None, "LSRK", ""),
        ({"RADESYS": "J2000"}, None, "LSRK", ""),
        ({"RADESYS": None, "EQUINOX": "J2000"}, None, "LSRK", ""),
    ],
    ids=lambda v: " ".join(f"{k}={x}" for k, x in v.items()) if isinstance(v, dict) else "",
)
def test_axes_as_they_are_spelled(make_fits, tmp_path, cards, frequencies, frame, noted):
    opened = open_cube(make_fits(**cards))
    wanted = 1e11 + 1e7 * np.arange(24) if frequencies is None else frequencies
    np.testing.assert_allclose(opened.frequencies, wanted, rtol=1e-11)
    assert opened.spectral_frame == frame
    np.testing.assert_allclose(opened.sky(16, 16), [150.0, -30.0], atol=2e-5)
    assert len(opened.notes) == bool(noted)
    assert noted in "".join(opened.notes)
    again = open_cube(save_like(tmp_path / "o.fits", opened.data, opened))
    np.testing.assert_allclose(again.frequencies, wanted, rtol=1e-11)


def in_2000():
    place = SkyCoord(150 * u.deg, -30 * u.deg, frame="fk4", equinox="B1950").icrs
    return [place.ra.deg, place.dec.deg]


def test_equinoxes_in_words(make_fits):
    """B1950 in a word was taken for 2000: 0.6 degrees off."""
    cards = {"RADESYS": None, "EQUINOX": "B1950"}
    number = open_cube(make_fits(**{**cards, "EQUINOX": 1950.0})).sky(16, 16)
    np.testing.assert_allclose(open_cube(make_fits("w.fits", **cards)).sky(16, 16), number)
    np.testing.assert_allclose(number, in_2000(), atol=1e-4)


REST_CARDS = [
    ("FREQ0", HI), ("RESTFREQ", HI), ("RESTFRQ", HI), ("LINEFREQ", HI), ("RESTWAV", C / HI),
]  # fmt: skip


@pytest.mark.parametrize(("card", "value"), REST_CARDS)
def test_cards_of_the_rest_frequency(make_fits, card, value):
    cards = {"RESTFRQ": None, **VELOCITY, card: value}
    opened = open_cube(make_fits(**cards))
    assert opened.rest_frequency == pytest.approx(HI)
    np.testing.assert_allclose(opened.frequencies, HI * (1 - V / C), rtol=1e-12)
    along = open_cube(make_fits("f.fits", RESTFRQ=None) if card == "RESTFRQ" else make_fits("f.fits"))
    assert (along.rest_frequency is None) == (card == "RESTFRQ")


@pytest.mark.parametrize("value", ["1420.405752MHz", "1.420405752 GHz", HI, HI * u.Hz])
def test_a_rest_frequency_is_given(make_fits, tmp_path, value):
    path = make_fits(RESTFRQ=None, **VELOCITY)
    unknown = open_cube(path)
    assert any("--rest-frequency" in note and "1420.405752MHz" in note for note in unknown.notes)
    opened = open_cube(path, rest_frequency=value)
    assert unknown.rest_frequency is None
    np.testing.assert_allclose(unknown.velocities(), opened.velocities(), atol=1e-6)
    later = open_cube(unknown, rest_frequency=value)
    np.testing.assert_allclose(later.frequencies, opened.frequencies, rtol=1e-12)
    np.testing.assert_allclose(opened.frequencies, HI * (1 - V / C), rtol=1e-12)
    again = open_cube(save_like(tmp_path / "o.fits", opened.data, opened))
    np.testing.assert_allclose(again.frequencies, opened.frequencies, rtol=1e-12)
    # on a frequency axis, in place of the header's or of none
    for cards in ({}, {"RESTFRQ": None}, {"RESTFRQ": None, "RESTWAV": 1.0}):
        along = open_cube(make_fits("f.fits", **cards), rest_frequency=1e11)
        assert along.velocities()[0] == pytest.approx(0, abs=1e-6)
        (tmp_path / "f.fits").unlink()
    assert open_cube(open_cube(make_fits("g.fits")), rest_frequency=1e11).velocities()[0] == pytest.approx(
        0, abs=1e-6
    )


@pytest.mark.parametrize("value", ["1420.405752", "1420 Hz", "1420km/s", 1420.4, -1e9, float("nan")])
def test_rest_frequencies_that_cannot_be(make_fits, value):
    with pytest.raises(InputError, match=r"--rest-frequency .*Hz"):
        open_cube(make_fits(), rest_frequency=value)


def test_a_rest_frequency_in_megahertz_is_left_out(make_fits):
    opened = open_cube(make_fits(RESTFRQ=100100.0))
    assert opened.rest_frequency is None
    assert "RESTFRQ is 100100 Hz" in opened.notes[0]


@pytest.mark.parametrize(
    "cards",
    [{**VELOCITY, "RESTFRQ": None}, {"CRVAL3": 0.0, "CDELT3": 1.0}, {"CUNIT3": "km"}, {"CUNIT3": "nonsense"}],
    ids=str,
)
def test_an_image_needs_no_frequency(make_fits, cards):
    """The spectral axis of a single plane may say anything."""
    image = open_image(make_fits(data=np.ones((1, 32, 32), "f4"), **cards))
    assert image.frequencies is None
    assert image.notes


@pytest.mark.parametrize("beam", ["6arcsec,5arcsec,30deg", (6, 5, 30), [6 * u.arcsec, "5arcsec", 210]])
def test_a_beam_is_given(make_fits, tmp_path, beam):
    for cards in ({}, NO_BEAM, {"BMAJ": -1.0}):
        path = make_fits(**cards)
        opened = open_cube(path, beam=beam)
        np.testing.assert_allclose(opened.beams, np.tile([6, 5, 30], (24, 1)))
        assert opened.notes == ["the beam is the one given"]
        np.testing.assert_allclose(open_cube(open_cube(path), beam=beam).beams, opened.beams)
        again = open_cube(save_like(tmp_path / "o.fits", opened.data, opened))
        np.testing.assert_allclose(again.beams, opened.beams)
        path.unlink()


@pytest.mark.parametrize(
    "beam",
    [
        "6,6,0",
        "6arcsec,6arcsec",
        "6arcsec",
        "5arcsec,6arcsec,0deg",
        "6Jy,6arcsec,0deg",
        "0arcsec,0arcsec,0deg",
        (1, 2),
    ],
)
def test_beams_that_cannot_be(make_fits, beam):
    with pytest.raises(InputError, match=r"--beam .*arcsec"):
        open_cube(make_fits(), beam=beam)
    with pytest.raises(InputError, match=r"impossible.*check --beam"):
        open_cube(make_fits("c.fits"), beam="20deg,20deg,0deg")


def test_a_missing_beam_names_the_option(make_fits):
    with pytest.raises(InputError, match="--beam MAJ,MIN,PA"):
        open_cube(make_fits(BUNIT="K", **NO_BEAM)).to_jy_per_beam()


@pytest.mark.parametrize("factor", [1.5, 10.0])
def test_a_beam_above_the_image_is_accepted(make_fits, passing, factor):
    side = 48 * 0.5
    cards = {k: None for k in ("CTYPE3", "CRVAL3", "CDELT3", "CRPIX3", "CUNIT3")}
    data = np.random.default_rng(0).normal(size=(48, 48)).astype(np.float32)
    path = make_fits(data=data, BMAJ=factor * side / 3600, BMIN=factor * side / 3600, **cards)
    image = open_image(path)
    assert image.beams[0, 0] == pytest.approx(factor * side)
    assert image.notes == ["the beam is larger than the image"]
    assert open_image(image, mask=np.ones((48, 48))).notes == image.notes
    found = denoise(path, model=passing, device="cpu")
    assert np.isfinite(found.image).all()
    assert "the beam is larger than the image" in found.facts["notes"]


@pytest.mark.parametrize("planes", [1, 48], ids=["image", "cube"])
@pytest.mark.parametrize("beam", [4 * 0.5, -1.0], ids=["arcsec", "negative"])
def test_one_note_says_what_stands_for_an_impossible_beam(make_fits, noisy, planes, beam):
    """The cells are of half an arcsec, the beam of 4 by 3 of them is given in degrees."""
    path = make_fits(data=noisy(48, 48)[-planes:].astype(np.float32), BMAJ=beam, BMIN=beam)
    notes = [note for note in detect(path, device="cpu").facts["notes"] if "beam" in note]
    (said,) = (note for note in notes if "impossible" in note)
    assert not any("no beam" in note for note in notes)
    assert ("BMAJ must be in degrees" in said) == (beam > 0)
    assert re.search(r"; taken as [\d.]+ x [\d.]+ arcsec, .* fluxes depend on it, and --beam sets it", said)


@pytest.mark.parametrize("unit", ["counts", "W.U.", "K (Ta*)", "km/s"])
@pytest.mark.parametrize("model", ["classical", "smooth_clip"])
def test_cubes_without_a_unit_of_flux(make_fits, tmp_path, unit, model):
    out, path = tmp_path / "out", make_fits(BUNIT=unit)
    found = detect(path, out, device="cpu", model=model)
    known = detect(make_fits("j.fits"), device="cpu", model=model)
    table, wanted = found.catalog, known.catalog
    assert len(table) == len(wanted) == 1
    for name in ("x", "y", "z", "ra", "dec", "freq", "snr"):
        assert table[name][0] == pytest.approx(wanted[name][0], rel=1e-6)
    assert all(np.isnan(table[n][0]) for n in ("flux", "flux_err", "flux_peak", "flux_peak_err", "continuum"))
    assert np.isfinite(wanted["flux"][0])
    assert any(f"BUNIT {unit!r}" in note for note in open_cube(path).notes)
    assert any("fluxes are not known" in note for note in found.facts["notes"])
    assert found.facts["unit"] == str(open_cube(path).unit)
    assert found.facts["rms"] == pytest.approx(known.facts["rms"])
    if found.found.model is not None:
        assert fits.getheader(out / "model.fits")["BUNIT"].replace(" ", "") == unit.replace(
            "/s", "s-1"
        ).replace(" ", "")
    assert np.isnan(read_catalog(out / "catalog.ecsv")["flux"][0])
    assert "mJy/beam" not in (out / "report.html").read_text().split("<svg")[0]


@pytest.mark.parametrize("unit", ["counts", "K (Ta*)"])
def test_images_without_a_unit_of_flux(make_fits, noisy, tmp_path, passing, unit):
    cards = {k: None for k in ("CTYPE3", "CRVAL3", "CDELT3", "CRPIX3", "CUNIT3")}
    data = (noisy(n_chan=3, n=48)[1] * 1e-3).astype(np.float32)
    tables = [
        denoise(make_fits(f"{n}.fits", data, BUNIT=t, **cards), tmp_path / n, model=passing, device="cpu")
        for n, t in (("a", unit), ("b", "Jy/beam"))
    ]
    found, known = (t.catalog for t in tables)
    assert len(found) == len(known) == 1
    assert found["snr"][0] == pytest.approx(known["snr"][0])
    assert np.isnan(found["flux"][0])
    assert fits.getheader(tmp_path / "a" / "denoised.fits")["BUNIT"] == unit
    assert len([n for n in tables[0].facts["notes"] if "fluxes are not known" in n]) == 1


def test_sources_are_injected_whatever_the_unit(make_fits, tmp_path):
    """What comes back is compared in the data's own unit."""
    rows = [
        inject(
            make_fits(f"{k}.fits", BUNIT=t), n=2, per_run=1, seed=1, snr_low=20, snr_high=30, device="cpu"
        ).sources
        for k, t in enumerate(("counts", "Jy/beam"))
    ]
    assert rows[0]["found"].all()
    for name in ("snr", "flux", "found_flux"):
        np.testing.assert_allclose(rows[0][name], rows[1][name], rtol=1e-4)
    assert (rows[0]["flux"].unit, str(rows[1]["flux"].unit)) == (None, "Jy km / s")


def test_options_on_the_command_line_and_in_a_file(make_fits, tmp_path, capsys):
    """--beam, --stokes and --rest-frequency: kept in run.json, and the same run is not done again."""
    cards = {**NO_BEAM, **VELOCITY, "RESTFRQ": None}
    path = make_fits(**cards, BUNIT="K")
    out = tmp_path / "out"
    words = ["detect", str(path), "--out", str(out), "--device", "cpu", "--json"]
    assert main(words) == 2
    assert "--rest-frequency" in capsys.readouterr().err
    assert main([*words, "--rest-frequency", "100.1GHz"]) == 2
    assert "--beam" in capsys.readouterr().err
    options = ["--rest-frequency", "100.1GHz", "--beam", "2arcsec,1.5arcsec,30deg", "--stokes", "I"]
    assert main([*words, *options]) == 0
    config = json.loads((out / "run.json").read_text())["config"]
    assert (config["beam"], config["stokes"]) == ([2.0, 1.5, 30.0], "I")
    assert config["rest_frequency"] == pytest.approx(1.001e11)
    row = read_catalog(out / "catalog.ecsv")[0]
    assert row["velocity"] == pytest.approx(300 + 2 * row["z"], abs=1e-6)
    assert np.isfinite(row["flux"])
    file = tmp_path / "c.toml"
    file.write_text('beam = ["2arcsec", "1.5arcsec", "30deg"]\nstokes = "I"\nrest-frequency = "100100 MHz"\n')
    capsys.readouterr()
    assert main([*words, "--config", str(file)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["already_complete"]
    assert main([*words, *options[:2], "--beam", "2arcsec,1.6arcsec,30deg"]) == 2
    assert "another run" in capsys.readouterr().err


def test_denoise_and_inject_take_beam_and_stokes(tmp_path, header, noisy, passing, capsys):
    planes = np.stack([np.zeros((1, 48, 48)), noisy(n_chan=3, n=48)[1:2] * 1e-3]).astype(np.float32)
    path = tmp_path / "x.fits"
    fits.PrimaryHDU(planes, header(CTYPE4="STOKES", CRVAL4=-1.0, CDELT4=-1.0, CRPIX4=1.0, **NO_BEAM)).writeto(
        path
    )
    base = [str(path), "--device", "cpu", "--model", str(passing), "--dry-run"]
    assert main(["denoise", *base, "--out", str(tmp_path / "o")]) == 2
    assert "2 Stokes planes (RR, LL), none of them I; choose one with --stokes" in capsys.readouterr().err
    found = denoise(path, model=passing, device="cpu", stokes="LL", beam="2arcsec,1.5arcsec,30deg")
    assert len(found.catalog) == 1
    assert found.found.prepared.beam_origin == "given"
    options = ["--stokes", "LL", "--beam", "2arcsec,1.5arcsec,30deg"]
    for command in ("denoise", "inject"):
        assert main([command, *base, *options, "--out", str(tmp_path / "o")]) == 0


def test_masked_data_in_foreign_objects(header, noisy):
    data = np.ma.array(noisy().astype(np.float32), mask=noisy() > 4)
    blank = data.mask
    wcs = WCS(header())
    things = {
        "HDU": fits.ImageHDU(data, header()),
        "list": fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, header())]),
        "NDData": NDData(data, wcs=wcs, unit=u.mJy / u.beam, meta=dict(header())),
        "CCDData": CCDData(data.data, mask=blank, wcs=wcs, unit=u.mJy / u.beam, meta=header()),
    }
    for name, thing in things.items():
        opened = open_cube(thing)
        np.testing.assert_array_equal(np.isnan(opened.data), blank, err_msg=name)
        np.testing.assert_array_equal(opened.data[~blank], data.data[~blank])
        assert opened.unit == (u.mJy / u.beam if "Data" in name else u.Jy / u.beam)
        assert opened.beams is not None, name
        np.testing.assert_allclose(opened.sky(16, 16), [150, -30], atol=1e-9)


def test_our_own_cubes_keep_their_companions(make_fits):
    first = open_cube(make_fits(), rms=np.full((32, 32), 1e-3), beam=(3, 2, 10))
    second = open_cube(first, mask=np.ones((32, 32)))
    assert second.rms.shape == second.mask.shape == (1, 32, 32)
    np.testing.assert_allclose(second.beams[0], [3, 2, 10])
    assert first.mask is None


@pytest.mark.parametrize("case", ["kelvin", "negative", "zeros", "B1950", "descending", "table"])
def test_what_has_always_been_right(make_fits, noisy, case):
    """The source at its place with its flux."""
    data, cards, extra = (noisy() * 1e-3).astype(np.float32), {}, []
    if case == "kelvin":
        factor = open_cube(make_fits("k.fits", BUNIT="K")).to_jy_per_beam()
        data, cards = (data / factor[:, None, None]).astype(np.float32), {"BUNIT": "K"}
    if case == "negative":
        data = data - np.float32(0.04)
    if case == "zeros":
        data[[0, 3, 22]] = 0
    if case == "B1950":
        cards = {"RADESYS": None, "EQUINOX": 1950.0}
    if case == "descending":
        cards = {"CDELT3": -1e7}
    if case == "table":
        columns = [
            fits.Column(n, "1E", unit=unit, array=np.full(24, v))
            for n, unit, v in (("BMAJ", "arcsec", 2.0), ("BMIN", "arcsec", 1.5), ("BPA", "deg", 30.0))
        ]
        cards, extra = NO_BEAM, [fits.BinTableHDU.from_columns(columns, name="BEAMS")]
    plain = detect(make_fits("plain.fits"), device="cpu").catalog[0]
    cube = open_cube(make_fits(data=data, extra=extra, **cards))
    row = detect(cube, device="cpu").catalog[0]
    for name in ("x", "y", "z"):
        assert row[name] == pytest.approx(plain[name], abs=0.05)
    assert row["flux"] == pytest.approx(plain["flux"], abs=2 * plain["flux_err"])
    assert row["freq"] == pytest.approx(float(cube.frequency(row["z"])), rel=1e-12)
    expected = cube.sky(row["x"], row["y"])
    np.testing.assert_allclose([row["ra"], row["dec"]], expected, atol=1e-9)
    if case == "B1950":
        np.testing.assert_allclose(expected, in_2000(), atol=1e-3)


def test_two_channels_are_refused_in_one_line(make_fits):
    with pytest.raises(InputError, match="has 2 channels with data, fewer than"):
        detect(make_fits(data=np.random.default_rng(0).normal(size=(2, 32, 32)).astype("f4")), device="cpu")
