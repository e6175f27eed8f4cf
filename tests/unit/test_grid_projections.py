"""Sources on the sky in every projection: position, flux, size and position angle, in images and cubes.

The sky is drawn by another way than the package goes: steps on the sphere are turned into pixels by
astropy, and sources and beams are Gaussians in the plane that these span.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_skycoord, skycoord_to_pixel
from regions import Regions
from scipy.signal import fftconvolve

from faintsky.denoising import RegionSettings, region_catalog
from faintsky.detection import find_catalog
from faintsky.grid import ImageGrid, LocalFrame
from faintsky.injecting import place_in_cube
from faintsky.io import open_cube, open_image, quiet_reading, write_regions
from faintsky.models import load_model
from faintsky.preparing import PrimaryBeam, gaussian_psf, prepare_cube, prepare_image
from faintsky.simulating import grid_frame, region_columns, to_sky
from faintsky.telescopes import primary_beam

N, CELL = 160, 3.0
LINE_AREA = np.sqrt(np.pi / (4 * np.log(2)))
BEAM, SHAPE = (15.0, 10.0, 25.0), (18.0, 9.0)
"""Widths in units of `CELL` over three, and the beam's position angle [deg]."""


def coordinates(head):
    with quiet_reading():
        return WCS(head)


def header(projection, ra, dec, *, cell=CELL, step=(-1.0, 1.0), middle=None, axes=("RA--", "DEC-"), **cards):
    """Header with its reference point at (ra, dec), in the middle, or with another place there."""
    out = fits.Header({"NAXIS": 2, "NAXIS1": N, "NAXIS2": N, "RADESYS": "ICRS", "BUNIT": "Jy/beam"})
    for i, (name, value) in enumerate(zip(axes, (ra, dec)), start=1):
        out[f"CTYPE{i}"], out[f"CUNIT{i}"], out[f"CRVAL{i}"] = f"{name}-{projection}", "deg", value
        out[f"CDELT{i}"], out[f"CRPIX{i}"] = step[i - 1] * cell / 3600, N / 2 + 1
    out.update(cards)
    if middle is not None:
        x, y = coordinates(out).all_world2pix(*middle, 0)
        out["CRPIX1"] += N / 2 - float(x)
        out["CRPIX2"] += N / 2 - float(y)
    out["BMAJ"], out["BMIN"], out["BPA"] = (BEAM[0] * cell / 3 / 3600, BEAM[1] * cell / 3 / 3600, BEAM[2])
    return out


SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 2e-4, "B_0_2": -1.5e-4, "A_1_1": 1e-4, "B_1_1": -1e-4}
TURN = {"PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8}
B1950 = {"RADESYS": "FK4", "EQUINOX": 1950.0}
HEADERS = {
    "SIN": header("SIN", 150, -30),
    "NCP": header("NCP", 150, 60),
    "SIN far": header("SIN", 150, -30, middle=(187, -20)),
    "TAN far": header("TAN", 150, -30, middle=(160, -10)),
    "TAN-SIP": header("TAN-SIP", 150, -30, **SIP),
    "CAR at 60": header("CAR", 150, 0, middle=(150, 60)),
    "CAR over 12 deg": header("CAR", 150, 0, middle=(150, 60), cell=270.0),
    "SFL far": header("SFL", 0, 0, middle=(70, 50)),
    "GLS": header("GLS", 150, 40),
    "ZEA far": header("ZEA", 0, 0, middle=(60, 10)),
    "STG far": header("STG", 0, 0, middle=(60, 10)),
    "HPX": header("HPX", 0, 0, middle=(60, 50)),
    "AIT": header("AIT", 0, 0, middle=(120, 50)),
    "CEA": header("CEA", 0, 0, middle=(120, 50)),
    "north pole": header("SIN", 0, 90),
    "south pole": header("SIN", 40, -90),
    "LONPOLE": header("SIN", 150, -30, LONPOLE=150.0),
    "CROTA": header("SIN", 150, -30, CROTA2=33.0),
    "PC": header("TAN", 150, -30, **TURN),
    "mirrored": header("SIN", 150, -30, step=(1, 1)),
    "upside down": header("SIN", 150, -30, step=(-1, -1)),
    "oblong": header("SIN", 150, -30, step=(-1.5, 1)),
    "oblong and turned": header("TAN", 150, -30, step=(-1.5, 1), CROTA2=-20.0),
    "B1950": header("SIN", 150, -30, **B1950),
    "B1950 near the pole": header("SIN", 100, 89, **B1950),
    "Galactic": header("TAN", 33, 5, axes=("GLON", "GLAT")),
    "RA 0h": header("SIN", 0, -30),
    "RA -95": header("SIN", -95, -30),
    "RA 623": header("SIN", 623, -30),
}


def pixels_per_arcsec(wcs, x, y, *, own=False):
    """``[n, 2, 2]``: columns are shifts in x and y for a step to the east and to the north."""
    place = pixel_to_skycoord(x, y, wcs, mode="all")
    place = place if own else place.icrs
    columns = []
    for angle in (90, 0):
        ends = [
            skycoord_to_pixel(place.directional_offset_by(a * u.deg, 1 * u.arcsec), wcs, mode="all")
            for a in (angle, angle + 180)
        ]
        columns.append((np.array(ends[0]) - np.array(ends[1])).T / 2)
    return np.stack(columns, axis=-1)


def moments(matrix, major, minor, pa):
    """Second moments in pixels of a Gaussian on the sky."""
    sin, cos = np.sin(np.deg2rad(pa)), np.cos(np.deg2rad(pa))
    axes = np.array([[sin, cos], [cos, -sin]])
    on_sky = axes.T @ np.diag(np.square([major, minor])) @ axes / (8 * np.log(2))
    return matrix @ on_sky @ matrix.T


@dataclass
class Sky:
    """Nine sources of 1 Jy and their images ``[source, y, x]`` [Jy/beam]."""

    x: np.ndarray
    y: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    pa: np.ndarray
    widths: tuple[float, float]
    observed: list[np.ndarray]
    images: np.ndarray


def draw(head, seed=1):
    rng = np.random.default_rng(seed)
    wcs = coordinates(head)
    cell = abs(head["CDELT2"]) * 3600
    grid = (np.arange(3) + 0.5) * N / 3
    x, y = (v.ravel() + rng.uniform(-3, 3, 9) for v in np.meshgrid(grid, grid))
    pa = rng.uniform(0, 180, 9)
    matrix, own = pixels_per_arcsec(wcs, x, y), pixels_per_arcsec(wcs, x, y, own=True)
    if head["CTYPE1"][5:8] in ("SIN", "NCP"):
        own[:] = pixels_per_arcsec(wcs, *(np.array([head[f"CRPIX{i}"] - 1.0]) for i in (1, 2)), own=True)
    beam = (BEAM[0] * cell / 3, BEAM[1] * cell / 3, BEAM[2])
    major, minor = (v * cell / 3 for v in SHAPE)
    yy, xx = np.indices((N, N))
    images, observed = [], []
    for i in range(9):
        b = moments(own[i], *beam)
        t = b + moments(matrix[i], major, minor, pa[i])
        d = np.stack([xx - x[i], yy - y[i]], axis=-1)
        r2 = np.einsum("yxi,ij,yxj->yx", d, np.linalg.inv(t), d)
        images.append(np.sqrt(np.linalg.det(b) / np.linalg.det(t)) * np.exp(-r2 / 2))
        back = np.linalg.inv(matrix[i])
        observed.append(back @ t @ back.T)
    place = pixel_to_skycoord(x, y, wcs, mode="all").icrs
    return Sky(x, y, place.ra.deg, place.dec.deg, pa, (major, minor), observed, np.array(images))


def turned(a, b):
    return (np.asarray(a) - np.asarray(b) + 90) % 180 - 90


def offsets(table, sky):
    """East and north of the truth [arcsec]."""
    east = ((table["ra"] - sky.ra + 180) % 360 - 180) * np.cos(np.deg2rad(sky.dec))
    return np.array(east) * 3600, np.array(table["dec"] - sky.dec) * 3600


@pytest.mark.parametrize("name", HEADERS)
def test_image(name, tmp_path):
    head = HEADERS[name]
    sky, cell = draw(head), abs(head["CDELT2"]) * 3600
    data = sky.images.sum(axis=0)
    noisy = data + 1e-4 * np.random.default_rng(0).standard_normal(data.shape)
    image = open_image(fits.PrimaryHDU(noisy.astype(np.float32), head))
    prepared = prepare_image(image)
    labels = np.zeros(data.shape, dtype=np.int32)
    for i, one in enumerate(sky.images, start=1):
        labels[one > 3e-4] = i
    mean, sigma = data.astype(np.float32), np.full(data.shape, 1e-4, dtype=np.float32)
    table = region_catalog(image, prepared, mean, sigma, labels, RegionSettings())
    np.testing.assert_allclose(table["flux"], 1, atol=0.002)
    np.testing.assert_allclose(table["dc_maj"], sky.widths[0], rtol=0.01)
    np.testing.assert_allclose(table["dc_min"], sky.widths[1], rtol=0.02)
    assert np.abs(turned(table["dc_pa"], sky.pa)).max() < 0.3
    assert np.hypot(*offsets(table, sky)).max() < 0.005 * cell
    assert ((table["ra"] >= 0) & (table["ra"] < 360)).all()
    x, y = image.pixel(sky.ra, sky.dec)
    np.testing.assert_allclose([x, y], [sky.x, sky.y], atol=1e-4)
    regions = Regions.read(write_regions(tmp_path / "x.reg", table), format="ds9")
    for region, truth in zip(regions, sky.observed, strict=True):
        minor, major = region.width.to_value(u.arcsec) / 2, region.height.to_value(u.arcsec) / 2
        pa = region.angle.to_value(u.deg)
        wide = np.array([[np.sin(np.deg2rad(pa))], [np.cos(np.deg2rad(pa))]])
        assert 2 * major == pytest.approx(np.sqrt(8 * np.log(2) * np.linalg.eigvalsh(truth)[1]), rel=0.01)
        assert wide.T @ truth @ wide == pytest.approx(np.linalg.eigvalsh(truth)[1], rel=0.01)
        assert 2 * minor == pytest.approx(np.sqrt(8 * np.log(2) * np.linalg.eigvalsh(truth)[0]), rel=0.01)


@pytest.mark.parametrize("name", ["CAR over 12 deg", "SIN far", "oblong"])
@pytest.mark.parametrize("unit", ["Jy/pixel", "MJy/sr", "K"])
def test_units(name, unit):
    """Fluxes and peaks of the same sky in other units, by the pixels and the beam at each place."""
    head, sky = HEADERS[name].copy(), draw(HEADERS[name])
    matrix = pixels_per_arcsec(
        coordinates(head), *(v.ravel() for v in np.meshgrid(np.arange(N), np.arange(N)))
    )
    pixel = 1 / np.abs(np.linalg.det(matrix)).reshape(N, N)
    at_reference = pixels_per_arcsec(
        coordinates(head), *(np.array([head[f"CRPIX{i}"] - 1.0]) for i in (1, 2)), own=True
    )
    beam = np.pi / (4 * np.log(2)) * BEAM[0] * BEAM[1] * (head["CDELT2"] * 3600 / 3) ** 2
    here = pixel if name.startswith("CAR") else 1 / abs(np.linalg.det(at_reference[0]))
    head.update(BUNIT=unit, NAXIS=3, NAXIS3=1, CTYPE3="FREQ", CUNIT3="Hz", CRVAL3=1.42e9, CDELT3=1e6)
    head["CRPIX3"] = 1.0
    per_beam = (1 * u.Jy / u.beam).to_value(
        u.K, u.brightness_temperature(1.42 * u.GHz, beam_area=beam * u.arcsec**2)
    )
    sr = (1 * u.arcsec**2).to_value(u.sr)
    factor = {"Jy/pixel": here / beam, "MJy/sr": here / pixel / beam / sr * 1e-6, "K": per_beam}[unit]
    data = (sky.images.sum(axis=0) * factor).astype(np.float32)
    noisy = data * (1 + 1e-5) + 1e-6 * np.abs(data).max() * np.random.default_rng(0).standard_normal(
        data.shape
    )
    image = open_image(fits.PrimaryHDU(noisy[None].astype(np.float32), head))
    labels = (sky.images.argmax(axis=0) + 1) * (sky.images.max(axis=0) > 1e-3)
    sigma = np.full(data.shape, 1e-4 * data.max(), dtype=np.float32)
    args = image, prepare_image(image), data, sigma, labels.astype(np.int32), RegionSettings()
    table = region_catalog(*args)
    np.testing.assert_allclose(table["flux"], 1, atol=0.006)
    peaks = [one.max() for one in sky.images]
    np.testing.assert_allclose(table["flux_peak"], peaks, rtol=0.006)


def restored_cube(head, sky, n_chan=15, snr=60.0, seed=2):
    """Lines of three channels in noise of the beam's correlation; too few channels to read a psf off it."""
    rng = np.random.default_rng(seed)
    z0 = np.linspace(6.3, 8.2, len(sky.x))
    lines = np.exp(-4 * np.log(2) * ((np.arange(n_chan)[:, None] - z0) / 3) ** 2)
    head = head.copy()
    head["NAXIS"], head["NAXIS3"] = 3, n_chan
    head.update(CTYPE3="FREQ", CUNIT3="Hz", CRVAL3=1.42e9, CDELT3=1e5, CRPIX3=1.0, RESTFRQ=1.42e9)
    data = np.tensordot(lines, sky.images, 1)
    major, minor, pa = open_cube(fits.PrimaryHDU(data.astype(np.float32), head)).pixel_beams[0]
    kernel = gaussian_psf((41, 41), major / np.sqrt(2), minor / np.sqrt(2), pa)
    noise = np.stack([fftconvolve(rng.standard_normal((N, N)), kernel, "same") for _ in range(n_chan)])
    data += noise / noise.std() / snr
    return open_cube(fits.PrimaryHDU(data.astype(np.float32), head)), z0


CUBES = (
    "SIN",
    "south pole",
    "mirrored",
    "oblong and turned",
    "TAN-SIP",
    "CAR over 12 deg",
    "B1950 near the pole",
    "Galactic",
)


@pytest.mark.parametrize("name", CUBES)
def test_cube(name):
    sky = draw(HEADERS[name])
    cube, _ = restored_cube(HEADERS[name], sky)
    found = find_catalog(cube, load_model("classical", job="detect")).catalog
    assert prepare_cube(cube).psf_origin == "beam"
    near = [int(np.argmin(np.hypot(found["x"] - x, found["y"] - y))) for x, y in zip(sky.x, sky.y)]
    table = found[near]
    km_s = 299792.458 * 1e5 / 1.42e9
    east, north = offsets(table, sky)
    pulls = {
        "flux": (table["flux"] - LINE_AREA * 3 * km_s) / table["flux_err"],
        "dc_maj": (table["dc_maj"] - sky.widths[0]) / table["dc_maj_err"],
        "dc_min": (table["dc_min"] - sky.widths[1]) / table["dc_min_err"],
        "dc_pa": turned(table["dc_pa"], sky.pa) / table["dc_pa_err"],
        "ra": east / table["ra_err"],
        "dec": north / table["dec_err"],
    }
    for column, pull in pulls.items():
        # 0.67 is expected, and of nine values 0.25 to 1.5 with a probability of 0.999
        assert 0.2 < np.median(np.abs(pull)) < 1.6, column
    assert np.median(table["flux_err"] / table["flux"]) < 0.05
    assert np.median(table["dc_pa_err"]) < 5


def test_beams_at_the_edge_of_the_sky_and_beyond():
    """All of it in Aitoff's projection: a frame one step inside the edge, the middle's beam outside."""
    head = header("AIT", 0, 0, cell=2.5 * 3600)
    image = open_image(fits.PrimaryHDU(np.ones((N, N), dtype=np.float32), head))
    y, x = (v.ravel() for v in np.indices((N, N)))
    on_sky = np.isfinite(image.sky(x, y)[0])
    assert 0.2 < on_sky.mean() < 0.3
    frame = image.frame(x, y)
    assert np.isfinite(frame.matrix[on_sky]).all()
    assert frame.area[on_sky].min() > 0.5 * 9000.0**2  # an equal-area projection, with a step cut short
    np.testing.assert_allclose(np.median(frame.area[on_sky]), 9000.0**2, rtol=0.01)
    beam = image.pixel_beams[0]
    beams = image.local_beams(beam, x, y)
    assert np.isfinite(beams).all()
    np.testing.assert_array_equal(beams[~on_sky], np.tile(beam, (int((~on_sky).sum()), 1)))


def test_no_one_psf_is_read_off_the_noise_where_the_beam_varies():
    head = HEADERS["CAR over 12 deg"]
    cube, _ = restored_cube(head, draw(head), n_chan=24, snr=1000.0)
    assert prepare_cube(cube).psf_origin == "beam"


@pytest.mark.parametrize(("name", "told"), [("SIN far", False), ("TAN", False), ("CAR over 12 deg", True)])
def test_what_is_assumed_of_the_beam_is_said(name, told):
    head = HEADERS.get(name, header("TAN", 150, -30))
    image = open_image(fits.PrimaryHDU(np.ones((N, N), dtype=np.float32), head))
    assert any("same everywhere on the sky" in note for note in image.notes) == told


@pytest.mark.parametrize("name", ["oblong and turned", "mirrored", "south pole", "TAN-SIP", "CAR at 60"])
def test_primary_beam_by_the_angle_from_the_pointing_centre(name):
    head = HEADERS[name].copy()
    head.update(TELESCOP="ALMA", NAXIS=3, NAXIS3=1, CTYPE3="FREQ", CUNIT3="Hz", CRVAL3=100e9, CDELT3=1e6)
    head["CRPIX3"] = 1.0
    data = open_image(fits.PrimaryHDU(np.ones((1, N, N), dtype=np.float32), head), dish="12m")
    wcs = coordinates(HEADERS[name])
    y, x = np.indices((N, N))
    place = pixel_to_skycoord(x, y, wcs, mode="all")
    at = (N / 2 - 0.5, N / 2 - 0.5) if name == "CAR at 60" else (head["CRPIX1"] - 1, head["CRPIX2"] - 1)
    angle = place.separation(pixel_to_skycoord(*at, wcs, mode="wcs" if name == "TAN-SIP" else "all"))
    plane = PrimaryBeam(data).plane
    assert plane.min() < 0.1
    np.testing.assert_allclose(plane, primary_beam(angle.rad, 100e9), atol=1e-6)


def test_errors_on_the_sky_are_those_of_many_draws():
    rng = np.random.default_rng(3)
    frame = LocalFrame(np.array([[[-3.0, 1.0], [0.7, 1.6]]]))
    many = LocalFrame(np.repeat(frame.matrix, 40_000, axis=0))
    shape, errors = (9.0, 5.0, 35.0), (0.05, 0.04, 0.6)
    drawn = [v + e * rng.standard_normal(40_000) for v, e in zip(shape, errors)]
    on_sky = np.array(many.to_sky(*drawn))
    on_sky[2] = turned(on_sky[2], frame.to_sky(*shape)[2])
    np.testing.assert_allclose(np.ravel(frame.shape_errors(shape, errors)), on_sky.std(axis=1), rtol=0.03)
    np.testing.assert_allclose(np.ravel(frame.to_pixels(*frame.to_sky(*shape))), shape, rtol=1e-5)
    shifts = frame.matrix[0] @ (np.array([[0.2], [0.5]]) * rng.standard_normal((2, 40_000)))
    np.testing.assert_allclose(np.ravel(frame.position_errors(0.2, 0.5)), shifts.std(axis=1), rtol=0.03)


def test_a_point_keeps_its_upper_limits():
    frame = LocalFrame(np.array([[[-3.0, 0.0], [0.0, 3.0]]]))
    for minor in (0.0, 2.0):
        maj_err, min_err, pa_err = frame.shape_errors((minor, minor, 35.0), (0.5, 0.4, 90.0))
        assert (maj_err[0], min_err[0], pa_err[0]) == pytest.approx((1.5, 1.2, 90.0), rel=1e-4)
        assert frame.to_sky(minor, minor, 35.0)[2][0] == pytest.approx(35.0, abs=1e-4)


@pytest.mark.parametrize("dec", [-89.99, 89.0, 40.0, 90.0])
def test_truth_tables_count_angles_from_local_north(dec):
    grid = ImageGrid(200, 200, 20.0, 10.0, dec)
    x, y, pa = np.array([150.0]), np.array([120.0]), 30.0
    (ra,), (north) = to_sky(grid, x, y)
    start = SkyCoord(ra * u.deg, north[0] * u.deg)
    maj, minor = 400.0, 150.0
    head = {"NAXIS1": 200, "NAXIS2": 200, "CRPIX1": 101, "CRPIX2": 101, "LONPOLE": 180.0}
    wcs = coordinates(header("SIN", 10.0, dec, cell=20.0, **head))
    matrix = pixels_per_arcsec(wcs, x, y)[0]
    shape = grid_frame(grid, x, y).to_pixels(maj, minor, pa)
    yy, xx = np.indices(grid.shape)
    d = np.stack([xx - x, yy - y], axis=-1)
    cov = moments(matrix, maj, minor, pa)
    sky = np.exp(-np.einsum("yxi,ij,yxj->yx", d, np.linalg.inv(cov), d) / 2)
    table = region_columns(sky, np.ones(grid.shape), np.array([40.0, 40.0, 0.0]), 1e-4, grid)
    assert turned(table["dc_pa"], pa)[0] == pytest.approx(0, abs=0.1)
    assert table["dc_maj"][0] == pytest.approx(maj, rel=0.01)
    assert SkyCoord(table["ra"] * u.deg, table["dec"] * u.deg).separation(start).arcsec[0] < 0.1
    end = (x + 0.1 * -np.sin(np.deg2rad(shape[2])), y + 0.1 * np.cos(np.deg2rad(shape[2])))
    angle = start.position_angle(pixel_to_skycoord(*end, wcs)[0].icrs).deg
    assert turned(angle, pa) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("name", ["oblong and turned", "south pole", "CAR over 12 deg"])
def test_injected_sources_have_their_shape_on_the_sky(name):
    empty = replace(draw(HEADERS[name]), images=np.zeros((9, N, N)))
    cube, _ = restored_cube(HEADERS[name], empty)
    prepared = prepare_cube(cube)
    field = place_in_cube(
        cube, find_catalog(cube, load_model("classical", job="detect")).catalog, None, prepared
    )
    truth = field.draw(3, np.random.default_rng(5), (300.0, 400.0))
    wcs, scale = coordinates(HEADERS[name]), HEADERS[name]["CDELT2"] * 3600 / 3
    for row in truth:
        added = field.with_sources(truth[[int(row["id"]) - 1]]).data - cube.data
        plane = added[round(row["z"])].astype(float)
        yy, xx = np.indices(plane.shape)
        x, y = (float((v * plane).sum() / plane.sum()) for v in (xx, yy))
        d = np.stack([xx - x, yy - y])
        seen = np.einsum("iyx,jyx,yx->ij", d, d, plane) / plane.sum()
        place = np.array([row["x"]]), np.array([row["y"]])
        beam = pixels_per_arcsec(wcs, *place, own=True)[0]
        if name == "south pole":
            beam = pixels_per_arcsec(wcs, np.array([N / 2]), np.array([N / 2]), own=True)[0]
        shape = moments(pixels_per_arcsec(wcs, *place)[0], row["dc_maj"], row["dc_min"], row["dc_pa"])
        np.testing.assert_allclose(
            seen, moments(beam, *scale * np.array(BEAM[:2]), BEAM[2]) + shape, atol=0.02 * np.trace(seen)
        )
