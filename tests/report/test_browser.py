"""The page in a real browser: Debian's Chromium, headless, driven by Playwright, with the network off."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from recon.report.paper import PAPER
from recon.report.results import records
from tests.conftest import ROOT

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
SIZES = {"phone": (375, 812), "wide": (1280, 900)}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the PATH: `apt-get install chromium` to run this test"
)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: install the extra dev")
    with sync_api.sync_playwright() as playwright:
        # Without a sandbox: root, as in a container, gets none; the page is our own.
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def opened(browser, file):
    """A function that opens the page; whatever it says on the console or asks of a network fails the test."""
    wrong, contexts = [], []

    def open_(size="wide", scheme="light", **options):
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url))
        page.goto(file.as_uri())
        page.wait_for_selector("#facts dd")
        page.wait_for_selector("#anytime-chart .main-svg")
        page.wait_for_function("document.getElementById('picture-nearest').width > 1")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


def facts(page):
    terms, values = (page.locator(f"#facts {tag}").all_inner_texts() for tag in ("dt", "dd"))
    return dict(zip(terms, values))


def data(page):
    return json.loads(page.locator("#data").text_content())


def pixels(page, canvas):
    """The grey values of a canvas."""
    address = page.locator(canvas).evaluate("c => c.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB"), float)[..., 0].ravel() / 255


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_loads_fits_and_can_be_read(opened, size, scheme, tmp_path):
    page = opened(size, scheme)
    width = SIZES[size][0]
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out sideways
    ink, paper = (
        np.mean([float(v) for v in re.findall(r"[\d.]+", page.evaluate(f"getComputedStyle(document.body).{name}"))[:3]])
        for name in ("color", "backgroundColor")
    )
    assert (ink < 64 < 192 < paper) if scheme == "light" else (paper < 64 < 192 < ink)
    shot = page.screenshot(path=tmp_path / "page.png")
    assert len(shot) > 10_000  # not an empty sheet
    # The charts' text is in the page's ink.
    assert page.locator("#curve .xtick text").first.evaluate("t => getComputedStyle(t).fill") == page.evaluate(
        "getComputedStyle(document.body).color"
    )


def test_a_phone_shows_every_column_and_whole_pictures(opened):
    page = opened("phone")
    outside = """(selector) => [...document.querySelectorAll(selector)].filter((e) => {
      const box = e.getBoundingClientRect();
      return box.width && (box.left < 0 || box.right > innerWidth + 1);
    }).length"""
    assert page.locator("#overview .verdict").first.bounding_box()["width"] > 20
    assert page.locator(".drawn img").count() > 20
    page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    for selector in ("td", ".standings th", ".beside thead th", ".drawn img"):
        assert page.evaluate(outside, selector) == 0, selector
    # What a table's region cannot show without scrolling would be larger than it.
    hidden = """(e) => Math.max(e.scrollWidth - e.clientWidth, e.scrollHeight - e.clientHeight)"""
    tables = page.locator(".scrolled:has(table)")
    assert tables.count() > 100
    assert max(tables.nth(i).evaluate(hidden) for i in range(tables.count())) <= 1


def test_a_link_to_what_got_worse_unfolds_it(opened):
    page = opened()
    page.goto(page.url.partition("#")[0] + "#fig2-quick-samples-metrics")
    assert page.locator("#fig2-quick-samples-metrics").get_attribute("open") is not None
    assert page.locator("#fig2-quick-samples-metrics table").first.is_visible()


@pytest.mark.parametrize("size", SIZES)
def test_the_paper_s_table_of_every_figure_lies_open(opened, size):
    page = opened(size)
    tables = page.locator("section.result > .beside")
    assert tables.count() >= len(records(ROOT / "results").keys() & {f for claim in PAPER for f in claim.figures}) > 10
    assert all(tables.nth(i).is_visible() for i in range(tables.count()))


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_opens_in_full_size(opened, size):
    page = opened(size)
    button = page.locator("#fig1 .drawn > button").first
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#full[open]")
    natural, shown = page.locator("#full img").evaluate("i => i.decode().then(() => [i.naturalWidth, i.width])")
    assert natural == shown > SIZES["phone"][0]
    assert page.locator("#full img").get_attribute("alt").startswith("Figure 1")
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    page.keyboard.press("Escape")
    assert page.locator("#full").get_attribute("open") is None
    assert button.evaluate("e => e === document.activeElement")


def test_the_theme_can_be_chosen_and_is_kept(opened):
    page = opened()
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"
    page.reload()
    page.wait_for_selector("#facts dd")
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"


def test_arrow_keys_walk_along_the_curve(opened):
    page = opened()
    network = data(page)["networks"][0]
    first, second = network["attacks"][:2]
    page.focus("#curve")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    image = first["order"][2]
    assert facts(page)["rank"] == f"3 of {len(first['order'])}"
    assert float(facts(page)["L2 to the training image"]) == pytest.approx(first["distance"][image], rel=5e-3)
    assert float(facts(page)["L2 to the nearest held-out"]) == pytest.approx(first["nearest_held_out"][image], rel=5e-3)
    assert float(facts(page)["|α|"]) == pytest.approx(network["dual_norm"][image], rel=5e-3)
    page.keyboard.press("End")
    last = float(facts(page)["L2 to the training image"])
    assert last == pytest.approx(max(first["distance"]), rel=5e-3)
    page.keyboard.press("ArrowRight")
    assert float(facts(page)["L2 to the training image"]) == last
    page.keyboard.press("ArrowDown")
    assert facts(page)["solver"] == second["name"]
    page.keyboard.press("Home")
    assert float(facts(page)["L2 to the training image"]) == pytest.approx(min(second["distance"]), rel=5e-3)


def test_pictures_are_as_far_apart_as_the_numbers_say(opened):
    """Distances measured between the pixels on the screen are those of the record, but for 8 bits and their packing."""
    page = opened()
    for rank in (1, 20, 36):
        page.fill("#rank", str(rank))
        page.wait_for_timeout(300)
        found = pixels(page, "#picture-found")
        for fact, canvas in (
            ("L2 to the training image", "#picture-train"),
            ("L2 to the nearest held-out", "#picture-nearest"),
        ):
            shown = np.linalg.norm(found - pixels(page, canvas))
            assert shown == pytest.approx(float(facts(page)[fact]), rel=0.15, abs=0.6)


def test_pointing_at_a_curve_shows_that_image(opened):
    page = opened()
    network = data(page)["networks"][0]
    page.locator("#curve").scroll_into_view_if_needed()
    where = """([k, place]) => {
      const chart = document.getElementById("curve"), box = chart.getBoundingClientRect(), layout = chart._fullLayout;
      const trace = chart.data.find((t) => t.meta && t.meta.attack === k && !("control" in t.meta));
      return [box.left + layout.xaxis._offset + layout.xaxis.d2p(trace.x[place]),
              box.top + layout.yaxis._offset + layout.yaxis.d2p(trace.y[place])];
    }"""
    for k, place in ((0, len(network["kept"]) - 2), (1, len(network["kept"]) - 1)):
        x, y = page.evaluate(where, [k, place])
        page.mouse.move(x - 3, y - 3)
        page.mouse.move(x, y)
        page.wait_for_function(f"document.getElementById('rank').value == {place + 1}")
        assert facts(page)["solver"] == network["attacks"][k]["name"]


def test_tapping_a_curve_works_on_a_phone(opened):
    page = opened("phone", has_touch=True, is_mobile=True)
    page.locator("#curve").scroll_into_view_if_needed()
    box = page.locator("#curve .nsewdrag").first.bounding_box()
    page.touchscreen.tap(box["x"] + 0.75 * box["width"], box["y"] + 0.9 * box["height"])
    page.wait_for_function("document.getElementById('rank').value > 10")


def test_another_network_and_a_logarithmic_axis(opened):
    page = opened()
    networks = data(page)["networks"]
    page.check("#log")
    assert page.evaluate("document.getElementById('curve')._fullLayout.yaxis.type") == "log"
    page.select_option("#network", "2")
    attack = networks[2]["attacks"][0]
    page.wait_for_function(f"document.getElementById('rank').max == {len(attack['order'])}")
    assert facts(page)["rank"] == f"1 of {len(attack['order'])}"
    assert page.evaluate("document.getElementById('curve')._fullLayout.yaxis.type") == "log"


def test_sliders_go_through_the_stored_steps(opened):
    page = opened()
    attacks = data(page)["networks"][0]["attacks"]
    ways = page.locator("#ways .way")
    assert ways.count() == len(attacks) + 1  # the training images first
    slider, told = (ways.nth(1).locator(tag) for tag in ("input", "output"))
    slider.focus()
    page.keyboard.press("Home")
    assert told.inner_text().startswith("step 0 of")
    assert ways.nth(2).locator("output").inner_text().startswith("step 0 of")  # together
    page.uncheck("#together")
    slider.focus()
    for frame in attacks[0]["frames"][1:]:
        page.keyboard.press("ArrowRight")
        assert told.inner_text().startswith(f"step {frame['step']:,} of")
        assert float(told.inner_text().split("L2 ")[1]) == pytest.approx(frame["mean"], rel=5e-3)
    assert ways.nth(2).locator("output").inner_text().startswith("step 0 of")  # alone
    # What is on the screen at the end is not what was there at the start.
    page.wait_for_timeout(300)
    end, still = (pixels(page, f"#ways .way:nth-child({i}) canvas") for i in (2, 1))
    start = pixels(page, "#ways .way:nth-child(3) canvas")
    assert np.linalg.norm(end - still) < 0.5 * np.linalg.norm(start - still)


def test_everything_is_reached_with_the_keyboard_and_seen_to_be(opened):
    page = opened()
    wanted = {"theme", "network", "solver", "log", "curve", "rank", "way-network", "together", "way-0", "way-1"}
    for _ in range(400):  # links of the contents, of the claims and of the overview come first
        page.keyboard.press("Tab")
        at, outline = page.evaluate(
            "[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert outline != "none", at
        wanted.discard(at)
        if not wanted:
            break
    assert not wanted
    page.goto(page.url.partition("#")[0] + "#fig2-quick-samples")
    assert page.locator("#fig2-quick-samples").get_attribute("open") is not None
