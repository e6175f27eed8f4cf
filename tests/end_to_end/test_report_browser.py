"""A report in a browser: it loads nothing, shows its maps, and answers to clicks, with many objects, too."""

import shutil
import time

import numpy as np
import pytest

import faintsky
from faintsky.catalog import make_table
from faintsky.report import Section, explore, image_layers, render

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
N = 10_000


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(5)
    data = rng.normal(size=(300, 400)).astype(np.float32) * 1e-3
    y, x = np.indices(data.shape)
    for at in ((100, 80), (300, 200)):
        data += (0.1 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 8)).astype(np.float32)
    return faintsky.RadioImage.from_array(
        data, cell=2.0, beam=[9.4, 9.4, 0], ra=30.0, dec=40.0, name="</script>"
    )


@pytest.fixture(scope="module")
def page_with_many(image, tmp_path_factory):
    """As `faintsky detect` writes it, with a catalogue of ten thousand objects."""
    found = faintsky.detect(image, device="cpu").found
    rng = np.random.default_rng(6)
    x, y = rng.uniform(0, 399, N), rng.uniform(0, 299, N)
    ra, dec = image.sky(x, y)
    rows = {"id": np.arange(1, N + 1), "x": x, "y": y, "ra": ra, "dec": dec, "flux": rng.exponential(1e-2, N)}
    rows |= {"flux_err": np.full(N, 1e-4), "snr": np.sort(rng.exponential(20, N))[::-1], "kind": "point"}
    rows |= dict.fromkeys(("fwhm_maj", "fwhm_min"), np.full(N, 9.4)) | {"pa": np.zeros(N)}
    rows |= {"flux_peak": rng.exponential(1e-2, N), "flux_peak_err": np.geomspace(1e-6, 1e-3, N)}
    rows["flags"] = np.where(np.arange(N) % 100, "", "extended")
    table = make_table(rows, meta={}, two_d=True)
    columns = ["id", "kind", "ra", "dec", "flux", "snr", "flags", "flux_peak", "fwhm_maj", "fwhm_min", "pa"]
    units = {"flux": "mJy", "flux_peak": "mJy/beam"}
    live = explore(image, image_layers(image, found), table, columns, units, found.mask)
    html = render("many <b>", "", {}, [Section("Maps", live=live)], provenance={"command": "</script><b>"})
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html)
    return path, table


@pytest.fixture
def opened(page_with_many):
    path, table = page_with_many
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 1600})
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else problems.append(r.url),
        )
        page.goto(f"file://{path}")
        page.wait_for_selector(".slick-row")
        yield page, table
        assert problems == []
        browser.close()


def test_a_row_is_chosen_and_the_maps_follow(opened):
    page, table = opened
    began = time.monotonic()
    page.locator(".slick-row").nth(1).click()
    page.wait_for_function("document.querySelector('#detail dl') !== null")
    assert time.monotonic() - began < 10
    said = page.locator("#detail").inner_text().split("\n")
    assert said[said.index("id") + 1] == "2"
    assert float(said[said.index("snr") + 1]) == pytest.approx(table["snr"][1], rel=1e-6)
    ranges = page.evaluate("""() => { const d = Bokeh.documents[0];
        const f = d.all_models ? [...d.all_models].find(m => m.type == 'Figure') : null;
        return [f.x_range.start, f.x_range.end, f.y_range.start, f.y_range.end]; }""")
    assert np.mean(ranges[:2]) == pytest.approx(table["x"][1], abs=0.5)
    assert np.mean(ranges[2:]) == pytest.approx(table["y"][1], abs=0.5)
    assert ranges[1] - ranges[0] < 200
    page.get_by_text("whole image").click()


def test_the_table_is_filtered_and_sorted(opened):
    page, table = opened
    page.get_by_placeholder("extended").fill("extended")
    page.get_by_placeholder("extended").press("Enter")
    page.wait_for_function("document.querySelector('#detail') !== null")
    first = page.locator(".slick-row").nth(0)
    first.get_by_text("extended").wait_for()
    assert first.inner_text().split("\n")[0] == "1"
    page.get_by_text("flux [mJy]").first.click()
    page.wait_for_timeout(500)
    least = 1e3 * np.min(table["flux"][table["flags"] == "extended"])
    shown = page.locator(".slick-row").nth(0).inner_text().split("\n")
    assert any(text.startswith(f"{least:.2f} ±") for text in shown)


def test_the_table_cuts_nothing_off(opened):
    page, _ = opened
    beyond = "all => all.filter(e => {}).map(e => e.innerText)"
    cells, heads = page.locator(".slick-cell"), page.locator(".slick-column-name")
    assert cells.filter(has_text="±").count() > 10
    assert heads.get_by_text("flux_peak [mJy/beam]").count() == 1
    assert cells.evaluate_all(beyond.format("e.scrollWidth > e.clientWidth")) == []
    right = "getBoundingClientRect().right"
    assert heads.evaluate_all(beyond.format(f"e.{right} > e.parentElement.{right}")) == []


def test_the_pointer_tells_the_place(opened):
    page, _ = opened
    box = page.locator(".bk-Canvas").first.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    place = page.get_by_text("≈ input")
    place.wait_for()
    text = place.inner_text()
    assert "02:00:0" in text or "01:59:5" in text
    assert "+40:0" in text or "+39:5" in text
    assert "mJy/beam" in text


def test_header_text_brings_no_markup(opened):
    page, _ = opened
    assert page.title() == "many <b>"
    assert page.get_by_text("</script><b>").count() == 1
