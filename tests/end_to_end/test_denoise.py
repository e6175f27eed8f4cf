"""`faintsky.denoise` from a file to files: the contract, the report, dirty images, and real ones."""

import json

import numpy as np
import pytest
from astropy.io import fits
from outputs import DENOISED, check_alone, live_source
from scipy.ndimage import gaussian_filter

import faintsky
from faintsky import denoise
from faintsky.catalog import read_catalog
from faintsky.errors import InputError
from faintsky.image import RadioCube, RadioImage


def spots(n=96, noise=1.0, seed=3):
    """Noise with two Gaussians of FWHM 9 and 6 pixels, the beam's 4: what a restored image holds."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(n, n)), 4 / 2.3548, mode="wrap")
    image = noise * smooth / smooth.std()
    y, x = np.indices(image.shape)
    for cx, cy, fwhm, peak in ((30, 40, 9, 40), (70, 25, 6, 25)):
        image += peak * np.exp(-4 * np.log(2) * ((x - cx) ** 2 + (y - cy) ** 2) / fwhm**2)
    return image.astype(np.float32)


def write_image(path, data, **cards):
    n_y, n_x = data.shape
    header = fits.Header()
    axes = [("RA---SIN", 180.0, -2 / 3600), ("DEC--SIN", 55.0, 2 / 3600)]
    for i, ((kind, value, step), n) in enumerate(zip(axes, (n_x, n_y)), start=1):
        header[f"CTYPE{i}"], header[f"CRVAL{i}"], header[f"CDELT{i}"] = kind, value, step
        header[f"CRPIX{i}"], header[f"CUNIT{i}"] = n // 2 + 1.0, "deg"
    header["BUNIT"], header["BMAJ"], header["BMIN"], header["BPA"] = "Jy/beam", 8 / 3600, 8 / 3600, 0.0
    header.update(cards)
    fits.PrimaryHDU(data, header).writeto(path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, passing):
    """One finished run: input, output folder, result."""
    folder = tmp_path_factory.mktemp("run")
    image = write_image(folder / "image.fits", spots() * 1e-3, OBJECT="<script>alert(1)</script>")
    return image, folder / "out", denoise(image, folder / "out", model=passing, device="cpu")


# ---------------------------------------------------------------------- files


def test_the_files_of_the_contract(run):
    _, out, result = run
    assert {p.name for p in out.iterdir()} == DENOISED
    assert result.facts["sources"] == len(result.catalog) == 2
    assert result.facts["regions"] == 0
    for name in ("catalog.fits", "catalog.ecsv", "catalog.vot", "catalog.csv"):
        table = read_catalog(out / name)
        assert list(table["id"]) == sorted(table["island"]) == [1, 2]
        np.testing.assert_allclose(table["flux"], result.catalog["flux"], rtol=1e-6)
        assert "fwhm_z" not in table.colnames
    record = json.loads((out / "run.json").read_text())
    assert record["complete"]
    assert record["model_hash"]
    assert set(record["files"]) == DENOISED - {"run.json"}
    assert (out / "regions.reg").read_text().count("ellipse") == 2
    np.testing.assert_array_equal(fits.getdata(out / "denoised.fits"), result.image)
    np.testing.assert_array_equal(fits.getdata(out / "uncertainty.fits"), result.uncertainty)
    chance, header = fits.getdata(out / "probability.fits", header=True)
    np.testing.assert_array_equal(chance, result.probability)
    assert (header["BTYPE"], header["BUNIT"]) == ("probability", "")
    noise = result.found.uncertainty if hasattr(result.found, "denoised") else result.found.prepared.rms
    sure = result.image - 0.5 * noise > 3 * result.uncertainty
    assert chance[sure].min() > 0.998
    assert chance[result.image < 0.5 * noise].max() <= 0.5
    mask = fits.getdata(out / "mask.fits")
    assert mask[40, 30] == 1
    assert mask[25, 70] == 2
    assert "faintsky version" in str(fits.getheader(out / "denoised.fits")["HISTORY"])


def test_model_and_residual_are_the_image(run):
    _, out, result = run
    model, residual = fits.getdata(out / "model.fits"), fits.getdata(out / "residual.fits")
    np.testing.assert_allclose(model + residual, result.data.data, atol=1e-5)
    assert list(read_catalog(out / "components.ecsv")["id"]) == list(result.catalog["id"])


def cloud(sign=1.0, n=320, peak=3.0):
    """`spots`, of which one lies in a cloud of ten beams; and another cloud, or a hole."""
    data, (y, x) = spots(n), np.indices((n, n))
    for cx, cy, p in ((40, 50, peak), (220, 200, sign * peak)):
        data += (p * np.exp(-4 * np.log(2) * ((x - cx) ** 2 + (y - cy) ** 2) / 40**2)).astype(np.float32)
    return data


@pytest.fixture(scope="module")
def clouds():
    """What the shipped network makes of two clouds."""
    return denoise(RadioImage.from_array(cloud(), cell=2.0, beam=[8, 8, 0]), device="cpu")


def test_diffuse_regions_and_compact_sources_are_one_catalogue(clouds):
    table, mask, regions = clouds.catalog, clouds.mask, clouds.mask_diffuse
    diffuse = table[np.asarray(table["kind"]) == "diffuse"]
    assert len(diffuse) == clouds.facts["regions"] == 2
    assert list(table["id"]) == list(range(1, len(table) + 1))
    for x, y, home in ((30, 40, regions[50, 40]), (70, 25, 0)):
        row = table[np.hypot(table["x"] - x, table["y"] - y).argmin()]
        assert np.hypot(row["x"] - x, row["y"] - y) < 1
        assert row["kind"] != "diffuse"
        assert row["parent"] == home
        assert (row["group"] > 0) == (home > 0)
        assert mask[y, x] == row["id"]
    assert set(np.unique(regions)) == {0, *diffuse["id"]}
    assert set(np.unique(clouds.components["id"])) == set(table["id"])
    smooth, area = cloud() - spots(320), np.pi / (4 * np.log(2)) * 4**2
    true = [smooth[regions == k].sum() / area for k in diffuse["id"]]
    np.testing.assert_allclose(diffuse["flux"], true, rtol=0.15)
    assert min(true) > 0.6 * 3 * (40 / 4) ** 2


def test_fluxes_of_regions_lie_within_their_errors():
    # outlines follow the noise, which makes faint fluxes too high: the errors say so
    y, x = np.indices((320, 320))
    true = sum(
        peak * np.exp(-4 * np.log(2) * ((x - cx) ** 2 + (y - cy) ** 2) / 40**2)
        for cx, cy, peak in ((80, 90, 2), (230, 200, 4))
    )
    area, pulls = np.pi / (4 * np.log(2)) * 4**2, []
    for seed in range(4):
        noise = gaussian_filter(np.random.default_rng(seed).normal(size=true.shape), 4 / 2.3548, mode="wrap")
        data = (true + noise / noise.std()).astype(np.float32)
        found = denoise(RadioImage.from_array(data, cell=2.0, beam=[8, 8, 0]), device="cpu")
        for row in found.catalog[np.asarray(found.catalog["kind"]) == "diffuse"]:
            assert row["flux"] > 3 * row["flux_err"]
            miss = row["flux"] - true[found.mask_diffuse == row["id"]].sum() / area
            pulls.append(miss / row["flux_err"])
    assert len(pulls) >= 6
    assert 0.4 < np.sqrt(np.mean(np.square(pulls))) < 1.7


def test_apertures_have_fluxes_with_errors(clouds):
    y, x = np.indices((320, 320))
    area = np.pi / (4 * np.log(2)) * 4**2
    aperture = np.hypot(x - 220, y - 200) < 25
    flux, error = clouds.flux(aperture)
    true = (cloud() - spots(320))[aperture].sum() / area
    assert abs(flux - true) < 4 * error < true
    # of one pixel that of the map; of many between those of independent and of equal errors
    one = (x == 220) & (y == 200)
    np.testing.assert_allclose(clouds.flux(one)[1], clouds.uncertainty[200, 220] / area, rtol=0.3)
    s = clouds.uncertainty[aperture] / area
    assert np.sqrt((s**2).sum()) < error < s.sum()
    assert clouds.flux(np.zeros_like(aperture)) == (0, 0)


def test_only_a_denoised_image_has_apertures(run):
    with pytest.raises(InputError, match="denoise"):
        faintsky.detect(run[0], device="cpu").flux(np.ones((96, 96), bool))


def test_a_remnant_a_filament_and_stripes_on_a_plateau_are_told_apart():
    y, x = np.indices((320, 320))
    remnant = 30 * np.exp(-4 * np.log(2) * ((x - 150) ** 2 + (y - 90) ** 2) / 45**2)
    along, across = 0.94 * (x - 150) + 0.34 * (y - 190), 0.94 * (y - 190) - 0.34 * (x - 150)
    filament = 3 * np.exp(-4 * np.log(2) * ((along / 110) ** 2 + (across / 26) ** 2))
    stripes = 0.8 * np.sin((x + 0.3 * y) / 3) * (1 + 0.5 * np.sin(y / 40)) * (x > 170)
    plateau = 1.2 + 0.3 * np.sin(x / 25) * np.sin(y / 31)
    data = (spots(320) + remnant + filament + stripes + plateau).astype(np.float32)
    regions = denoise(RadioImage.from_array(data, cell=2.0, beam=[8, 8, 0]), device="cpu").mask_diffuse
    inside = [regions == k for k in np.unique(regions[regions > 0])]
    assert len(inside) == 2
    for mine, other in ((remnant, filament), (filament, remnant)):
        region = max(inside, key=lambda r, mine=mine: (r & (mine > 1)).sum())
        assert region[mine > 1].mean() > 0.85
        assert not region[(other > 1) & (mine < 1)].any()
        assert (mine[region] < 0.3).mean() < 0.05


def test_fluxes_and_residual_are_the_image(clouds):
    np.testing.assert_allclose(clouds.model + clouds.residual, clouds.data.data, atol=1e-5)
    area = np.pi / (4 * np.log(2)) * 4**2
    inside = clouds.mask > 0
    left = clouds.data.data.sum(dtype=float) - clouds.data.data[inside].sum(dtype=float)
    total = clouds.catalog["flux"].sum() * area + left
    # wings of compact sources beyond their masks count twice
    assert total == pytest.approx(clouds.data.data.sum(dtype=float), rel=0.05)


def test_detect_finds_the_same_where_a_residual_hints_at_it(clouds):
    found = faintsky.detect(RadioImage.from_array(cloud(), cell=2.0, beam=[8, 8, 0]))
    for name in ("kind", "x", "y", "flux", "reliability", "parent"):
        np.testing.assert_array_equal(found.catalog[name], clouds.catalog[name])
    np.testing.assert_array_equal(found.mask_diffuse, clouds.mask_diffuse)
    plain = faintsky.detect(RadioImage.from_array(spots(), cell=2.0, beam=[8, 8, 0]))
    assert plain.mask_diffuse is None


def test_clouds_that_only_a_wide_smoothing_shows_are_found():
    """Of a peak of 1.7 times the noise, and ten beams wide."""
    found = faintsky.detect(RadioImage.from_array(cloud(peak=1.7), cell=2.0, beam=[8, 8, 0]))
    regions = found.catalog[found.catalog["kind"] == "diffuse"]
    places = sorted(zip(regions["x"], regions["y"]))
    np.testing.assert_allclose(places, [(40, 50), (220, 200)], atol=6)
    assert min(regions["flux"]) > 0.5 * 1.7 * (40 / 4) ** 2


def test_regions_are_measured(run):
    table = run[2].catalog
    for row, (x, y, fwhm, peak) in zip(table, ((30, 40, 9, 40), (70, 25, 6, 25))):
        assert abs(row["x"] - x) < 4 * row["x_err"]
        assert abs(row["y"] - y) < 4 * row["y_err"]
        # what lies outside the region's outline is not in its moments
        intrinsic = 2 * np.sqrt(fwhm**2 - 4**2)
        assert 0.4 * intrinsic < np.sqrt(row["dc_maj"] * row["dc_min"]) < 1.3 * intrinsic
        total = peak * 1e-3 * (fwhm / 4) ** 2
        assert row["flux"] == pytest.approx(total, rel=0.25)
        assert row["flux_peak"] == pytest.approx(peak * 1e-3, abs=4e-3)
        assert 0 < row["flux_err"] < 0.3 * row["flux"]
        east, north = -(row["x"] - 48) * 2 / 3600, (row["y"] - 48) * 2 / 3600
        assert row["dec"] == pytest.approx(55 + north, abs=1e-5)
        assert row["ra"] == pytest.approx(180 + east / np.cos(np.deg2rad(55 + north)), abs=2e-5)


def test_an_empty_image(tmp_path, passing):
    rng = np.random.default_rng(0)
    path = write_image(tmp_path / "empty.fits", rng.normal(size=(64, 64)).astype(np.float32))
    result = denoise(path, tmp_path / "out", model=passing, device="cpu")
    assert len(result.catalog) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == DENOISED
    assert not fits.getdata(tmp_path / "out" / "mask.fits").any()
    assert "No object reaches" in (tmp_path / "out" / "report.html").read_text()


def test_the_same_run_again_is_complete_already(run, passing):
    image, out, _ = run
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    again = denoise(image, out, model=passing, device="cpu", command="another command line")
    assert again.facts["already_complete"]
    assert again.image is again.catalog is None
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    with pytest.raises(InputError, match="another run"):
        denoise(image, out, model=passing, device="cpu", members=2)


def test_a_failure_leaves_nothing(tmp_path, passing, monkeypatch):
    image = write_image(tmp_path / "image.fits", spots())

    def fails(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("faintsky.report.image_report", fails)
    with pytest.raises(OSError, match="no space"):
        denoise(image, tmp_path / "new" / "out", model=passing, device="cpu")
    assert [p.name for p in tmp_path.iterdir()] == ["image.fits"]


def test_a_dry_run_says_what_it_needs(tmp_path, passing):
    image = write_image(tmp_path / "image.fits", spots())
    plan = denoise(image, tmp_path / "out", model=passing, dry_run=True).facts
    assert plan["shape"] == [96, 96]
    assert plan["blocks"] == 1
    assert plan["memory_gb"] > 0.3
    assert not (tmp_path / "out").exists()


def test_an_image_in_memory_needs_no_files(passing):
    steps = []
    image = RadioImage.from_array(spots(), cell=2.0, beam=[8, 8, 0])
    result = faintsky.denoise(
        image, model=passing, members=8, device="cpu", progress=lambda *step: steps.append(step)
    )
    assert len(result.catalog) == 2
    assert "out" not in result.facts
    assert [d for d, _, _ in steps] == sorted(d for d, _, _ in steps)
    assert steps[-1][0] == steps[-1][1]
    np.testing.assert_allclose(result.image, spots(), rtol=2e-3, atol=1e-3)


# ---------------------------------------------------------------------- report


def test_the_report_stands_alone(run):
    page = (run[1] / "report.html").read_text()
    check_alone(page)
    maps = live_source(page, "maps")
    assert all(np.std(maps[f"map{k}"][0]) > 5 for k in (0, 1, 3))


def test_large_and_narrow_images_are_drawn(tmp_path, passing):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(40, 1900)).astype(np.float32)
    data[:, 300:700] = np.nan
    path = write_image(tmp_path / "<b>wide.fits", data)
    denoise(path, tmp_path / "out", model=passing, device="cpu")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<b>wide" not in page
    assert "&lt;b&gt;wide" in page
    # means over squares of three pixels, blank where nothing was seen
    shades = live_source(page, "maps")["map0"][0]
    assert shades.shape == (13, 633)
    assert not shades[:, 100:233].any()
    assert shades[:, 240:].all()


# ---------------------------------------------------------------------- real images

LOFAR = "lofar_hba_grb201006a.fits.gz"
PISCO = "alma_pisco_cii_dirty.fits.gz", "alma_pisco_cii_psf.fits.gz"


@pytest.fixture
def real(request):
    return request.path.parents[1] / "data"


def test_a_real_header_comes_back(real, tmp_path, passing):
    """Two axes, WSClean's own cards, a beam; the brightest source lies where the header puts it."""
    denoise(real / LOFAR, tmp_path / "out", model=passing, device="cpu")
    data, given = fits.getdata(real / LOFAR, header=True)
    image, made = fits.getdata(tmp_path / "out" / "denoised.fits", header=True)
    assert image.shape == data.shape
    described = {"SIMPLE", "BITPIX", "EXTEND", "BUNIT", "BTYPE", "CASAMBM", "HISTORY", "COMMENT", ""}
    for key in set(given) - described:
        value = given[key]
        assert made[key] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)
    assert made["BUNIT"] == "Jy/beam"
    assert "wsclean -name" in str(made["HISTORY"])
    table = read_catalog(tmp_path / "out" / "catalog.ecsv")
    row = table[np.argmax(table["flux_peak"])]
    y, x = np.unravel_index(data.squeeze().argmax(), data.squeeze().shape)
    assert fits.getdata(tmp_path / "out" / "mask.fits").squeeze()[y, x] == row["id"]
    assert row["flux_peak"] == pytest.approx(data.max(), rel=0.01)
    # the header by hand: SIN projection, five arcseconds a pixel
    h = given
    east, north = (
        np.deg2rad((row[c] + 1 - h[f"CRPIX{i}"]) * h[f"CDELT{i}"]) for c, i in (("x", 1), ("y", 2))
    )
    dec0 = np.deg2rad(h["CRVAL2"])
    n = np.sqrt(1 - east**2 - north**2)
    dec = np.rad2deg(np.arcsin(north * np.cos(dec0) + n * np.sin(dec0)))
    ra = h["CRVAL1"] + np.rad2deg(np.arctan2(east, n * np.cos(dec0) - north * np.sin(dec0)))
    np.testing.assert_allclose([row["ra"] % 360, row["dec"]], [ra % 360, dec], atol=0.2 / 3600)


def test_four_real_axes_come_back(real, tmp_path, passing):
    denoise(real / PISCO[0], tmp_path / "out", model=passing, device="cpu")
    given = fits.getheader(real / PISCO[0])
    for name in ("denoised.fits", "uncertainty.fits", "mask.fits"):
        made = fits.getheader(tmp_path / "out" / name)
        for i in range(1, 5):
            for key in ("NAXIS", "CTYPE", "CRVAL", "CDELT", "CRPIX"):
                assert made[f"{key}{i}"] == given[f"{key}{i}"]


def test_a_real_dirty_image_is_known_by_its_psf(real):
    from faintsky.denoising import Response
    from faintsky.io import open_image
    from faintsky.preparing import kind_of_image, prepare_image

    image = open_image(real / PISCO[0], psf=real / PISCO[1])
    prepared = prepare_image(image)
    assert kind_of_image(image, prepared, Response((257, 257), image.psf[0], prepared.beam)).name == "dirty"
    far = np.ones((257, 257), dtype=bool)
    far[80:180, 80:180] = False
    assert prepared.typical_rms == pytest.approx(image.data[far].std(), rel=0.1)


def test_the_negative_of_the_image_has_a_say():
    found = {}
    for sign in (0.0, -1.0):
        image = RadioImage.from_array(cloud(sign=sign), cell=2.0, beam=[8.0, 8.0, 0.0])
        found[sign] = denoise(image, negative=True, device="cpu")
    # a hole just like the cloud
    assert [f.facts["regions_in_negative"] for f in found.values()] == [0, 1]
    sure, doubtful = (f.catalog["reliability_negative"] for f in found.values())
    assert np.nanmin(sure) == 1
    assert np.nanmin(doubtful) < 0.6
    assert np.isnan(sure).sum() == 2
    assert any("negative" in note for note in found[0.0].found.notes)


@pytest.mark.parametrize("unit", ["Jy/beam", "Jy/pixel", "Jy/arcsec2"])
@pytest.mark.parametrize("beam", [0.5, 0.8, 1.2, 3.0])
def test_fluxes_of_beams_below_a_pixel(passing, beam, unit):
    """A point of 100 Jy at a pixel has that flux whatever the unit; beside one its errors allow for it."""
    rng, (y, x) = np.random.default_rng(2), np.indices((96, 96))
    data = 0.1 * rng.normal(size=x.shape)
    for x0, y0 in ((30, 40), (60.2, 70.2)):
        data += 100 * np.exp(-4 * np.log(2) * ((x - x0) ** 2 + (y - y0) ** 2) / beam**2)
    area = np.exp(-4 * np.log(2) * ((x - 30) ** 2 + (y - 40) ** 2) / beam**2).sum()
    data *= {"Jy/beam": 1.0, "Jy/pixel": 1 / area, "Jy/arcsec2": 0.25 / area}[unit]
    image = RadioImage.from_array(data, cell=2.0, beam=[2 * beam, 2 * beam, 0.0], unit=unit)
    middle, beside = sorted(denoise(image, model=passing, device="cpu").catalog, key=lambda row: row["x"])
    assert middle["flux"] == pytest.approx(100, rel=0.01)
    assert middle["flux_peak"] == pytest.approx(100, rel=0.01)
    assert abs(beside["flux"] - 100) < 2 * beside["flux_err"]
    for row, x0 in ((middle, 30), (beside, 60.2)):
        assert abs(row["x"] - x0) < 3 * row["x_err"]
        assert row["dc_maj"] < 4 * row["dc_maj_err"]
        assert (row["flux_err"] > 0.25 * row["flux"]) == (beam < 1)
        assert row["snr"] > 50


@pytest.mark.parametrize("beam", [0.5, 0.8, 1.2])
def test_line_fluxes_of_beams_below_a_pixel(beam):
    (z, y, x), expected = np.indices((32, 48, 48)), 40 * 5 * 2.998 * np.sqrt(np.pi / np.log(2)) / 2
    for beside in (0.0, 0.2):
        data = np.random.default_rng(1).normal(size=z.shape)
        radius = np.hypot(x - 15 - beside, y - 20 - beside) / beam
        data += 40 * np.exp(-4 * np.log(2) * (radius**2 + ((z - 15) / 5) ** 2))
        cube = RadioCube.from_array(
            data, cell=1.0, frequencies=1e11 + 1e6 * np.arange(32), beam=[beam, beam, 0], rest_frequency=1e11
        )
        row = faintsky.detect(cube, device="cpu").catalog[0]
        assert abs(row["flux"] - expected) < 2 * row["flux_err"]
        assert (row["flux_err"] > 0.2 * row["flux"]) == (beam < 1)
        assert abs(row["x"] - 15 - beside) < 4 * row["x_err"]
        if not beside:
            assert row["flux"] == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("seed", range(12))
def test_regions_at_blanks_have_errors_and_lie_on_data(passing, seed):
    """Random blank rims, holes and pixels, primary beams with blanks, rings, sources over the border."""
    rng, n = np.random.default_rng(seed), 64
    (y, x), beam = np.indices((n, n)), float(rng.choice([0.5, 0.8, 1.2, 3, 5]))
    radius = np.hypot(x - 32, y - 32)
    data = rng.normal(size=(n, n)) + rng.choice([0, 20]) * np.exp(-(((radius - 9) / 3) ** 2))
    for _ in range(5):
        away = (x - rng.uniform(-3, n + 3)) ** 2 + (y - rng.uniform(-3, n + 3)) ** 2
        width = np.hypot(beam, rng.choice([0, 5, 15]))
        data += rng.choice([-50, 10, 50, 1000]) * np.exp(-4 * np.log(2) * away / width**2)
    data[radius < 7] = np.nan
    data[np.hypot(x - rng.integers(n), y - rng.integers(n)) < rng.choice([2, 12])] = np.nan
    data[:, -int(rng.integers(1, 14)) :] = np.nan
    data[rng.random(data.shape) < 0.02] = np.nan
    pb = np.where(np.isnan(data), np.nan, np.exp(-((radius / 50) ** 2)))
    image = RadioImage.from_array(data * 1e-3, cell=2.0, beam=[2 * beam, 2 * beam, 0], pb=pb)
    found = denoise(image, model=passing, device="cpu", reliability=0.5).catalog
    assert len(found) > 0
    for row in found:
        assert np.isfinite(data[round(row["y"]), round(row["x"])])
        assert np.isfinite(row["pb"])
        for name in [
            "ra",
            "dec",
            "x",
            "y",
            "flux",
            f"flux_{row['flux_method']}",
            "flux_peak",
            "fwhm_maj",
            "fwhm_min",
            "pa",
            "dc_maj",
            "dc_min",
            "dc_pa",
        ]:
            assert 0 < row[f"{name}_err"] < np.inf, name


@pytest.mark.parametrize(("shape", "x", "peak"), [((40, 33_000), 32_900, 100), ((64, 64), 20, 1e6)])
def test_long_images_and_a_dynamic_range_of_a_million(passing, shape, x, peak):
    at = np.hypot(np.arange(shape[1]) - x, (np.arange(shape[0]) - 15)[:, None]) / 4
    data = np.random.default_rng(1).normal(size=shape)
    data += peak * np.exp(-4 * np.log(2) * at**2)
    image = RadioImage.from_array(1e-3 * data, cell=2.0, beam=[8, 8, 0])
    row = denoise(image, model=passing, device="cpu", kind="restored").catalog[0]
    assert (row["x"], row["y"]) == pytest.approx((x, 15), abs=max(4 * row["x_err"], 1e-4))
    assert row["flux"] == pytest.approx(1e-3 * peak, abs=4 * row["flux_err"], rel=0.01)


def test_a_beam_below_a_pixel_is_said(tmp_path):
    small = write_image(tmp_path / "small.fits", spots(32), BMAJ=1 / 3600, BMIN=1 / 3600)
    large = write_image(tmp_path / "large.fits", spots(32))
    said = [any("narrower" in note for note in faintsky.open_image(path).notes) for path in (small, large)]
    assert said == [True, False]


@pytest.mark.parametrize("power", [-40, 40])
@pytest.mark.parametrize("kind", ["restored", "dirty", "white"])
def test_the_regions_are_the_same_at_any_scale(passing, kind, power):
    """A power of two leaves every digit as it is: what changes hangs on a number in some unit."""
    data, how = spots(), {"restored": {"beam": [8, 8, 0]}, "white": {}}.get(kind, {"beam": [8, 8, 0]})
    if kind == "dirty":
        how["psf"] = np.exp(-4 * np.log(2) * (np.hypot(*(np.indices((97, 97)) - 48)) / 4) ** 2)
    scale = np.float32(2.0**power)
    one, other = (
        denoise(RadioImage.from_array(d, cell=2.0, **how), model=passing, device="cpu",
                kind="dirty" if kind == "dirty" else "restored").catalog
        for d in (data, data * scale)
    )  # fmt: skip
    assert len(one) == len(other) > 0
    for name in ("x", "y", "x_err", "dc_maj", "dc_maj_err", "snr", "reliability"):
        np.testing.assert_allclose(other[name], one[name], rtol=1e-4, err_msg=name)
    if kind != "white":
        for name in ("flux", "flux_err"):
            np.testing.assert_allclose(np.array(other[name]) / scale, one[name], rtol=1e-4)
