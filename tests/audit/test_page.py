"""The page of an audit of a network that scikit-learn trained, read by the standard library's parser."""

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPRegressor

import recon
from recon.auditing import save
from recon.auditing.evidence import rocs, thinned
from recon.auditing.result import Defences
from recon.metrics import distances
from tests.audit.made import audit_of, images
from tests.report.conftest import Page
from tests.report.test_browser import CHROMIUM, browser

__all__ = ["browser"]  # a fixture
N, W = 20, 256
ORDER = ("threat", "answer", "pictures", "evidence", "used", "reconstructions", "tried", "defences", "limits")


@pytest.fixture(scope="module")
def digits():
    return recon.load_task("mnist_odd_even", N, seed=0, source="samples", n_test=1)


@pytest.fixture(scope="module")
def arrays(digits):
    """Weights before and after."""
    x = digits.train.x.reshape(N, -1)
    kind = {"hidden_layer_sizes": (W, W), "alpha": 0.0, "batch_size": N, "random_state": 0, "solver": "sgd"}
    twin, model = (MLPRegressor(**kind, learning_rate_init=rate) for rate in (1e-30, 5e-3))
    for network, epochs in ((twin, 1), (model, 100)):
        for _ in range(epochs):
            network.partial_fit(x, digits.train.y.ravel())
    return [{"coefs_": [*m.coefs_], "intercepts_": [*m.intercepts_]} for m in (twin, model)]


@pytest.fixture(scope="module")
def made(arrays, digits):
    given = {"x": digits.train.x, "y": np.where(digits.train.y.ravel() > 0, 7, 4)}
    return recon.audit(*arrays, data=given, held_out=digits.held_out.x, progress=False)


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    save(made, folder)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text())


def sections(page):
    return [attrs["id"] for attrs in page.named("section")]


def test_sections_come_in_the_order_of_questions(page):
    assert tuple(sections(page)) == ORDER
    assert [a["href"] for a in page.named("a")] == [f"#{name}" for name in ORDER]
    assert "initial and the final weights gets all 20 training images" in page.within["answer"]
    assert "does not need any training image, labels, the loss" in page.within["threat"]
    assert "it had as many images as the rank shows" in page.within["tried"]


def test_markdown_says_the_same(folder, page):
    """Every word of the Markdown, but for marks and links, is in the page; the charts are the page's alone."""
    text = (folder / "report.md").read_text()
    titles = re.findall("^## (.*)$", text, re.M)
    assert len(titles) == len(ORDER)
    words, heard = (re.sub(r"!\[.*?\]\(.*?\)|[^\w.<> -]|-{2,}(?!\w)", " ", part).split() for part in (text, page.text))
    assert {word.strip(".") for word in words} - {word.strip(".") for word in heard} <= {"", "-"}


def test_pictures_are_as_many_as_said_and_the_images_themselves(page, digits):
    said = re.search(r"(\d+) reconstructions, each beside", page.within["pictures"])
    pictures = page.named("img")
    assert len(pictures) == 2 * int(said.group(1)) == 2 * N
    assert page.within["pictures"].count("✓ certified") == N
    assert len([f for f in page.named("figure") if f.get("class") == "sure"]) == N
    pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(p["src"].partition(",")[2]))), float) for p in pictures]
    for truth, found, given in zip(pixels[::2], pixels[1::2], pictures[::2], strict=True):
        assert np.abs(truth - found).max() <= 1
        own = digits.train.x[int(given["alt"].rpartition(" ")[2])].reshape(28, 28)
        assert np.corrcoef(truth.ravel(), own.ravel())[0, 1] > 0.999


def test_nothing_is_loaded_from_elsewhere(folder, page):
    links = [value for _, attrs in page.elements for name, value in attrs.items() if name in ("src", "href", "srcset")]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"url\(|@import|https?:", (folder / "report.html").read_text())
    assert not page.named("script")


def test_spectrum_is_that_of_the_change(folder, page, arrays):
    before, after = arrays
    change = np.concatenate([np.float64(after[kind][0]).reshape(-1, W) - before[kind][0] for kind in before])
    values = np.linalg.svd(change, compute_uv=False)
    told = json.loads((folder / "report.json").read_text())["spectrum"]
    assert told["cut"] == N
    np.testing.assert_allclose(told["value"], values[np.array(told["place"]) - 1], rtol=1e-3)
    # One rounding of each weight of the initial size, as random noise has its largest singular value.
    noise = np.random.default_rng(0).normal(size=change.shape) * 2**-24 * np.sqrt(np.mean(arrays[0]["coefs_"][0] ** 2))
    assert told["rounding"] == pytest.approx(np.linalg.norm(noise, 2), rel=0.2)
    assert f"{N} are above the largest gap" in page.within["evidence"]
    # In the chart, as many points as values above the cut and below.
    discs = [attrs["class"] for attrs in page.named("circle")]
    assert discs.count("a") == 2 * N  # of the spectrum, and distances of training images
    assert discs.count("b") == len(told["value"])  # the rest, and held-out images


def test_few_values_stand_for_many():
    assert thinned(5, 2).tolist() == [1, 2, 3, 4, 5]
    many = thinned(5_000, 1_234)
    assert {1, 1_234, 1_235, 5_000} <= set(many)
    assert len(many) < 310


def test_rates_are_those_of_the_distances(made, folder, digits):
    sides = [x.reshape(N, -1) for x in (digits.train.x, digits.held_out.x)]
    near = [distances(x, made.found.images.reshape(N, -1)).min(axis=1) for x in sides]
    told = json.loads((folder / "report.json").read_text())["roc"]
    assert [f["by"] for f in told] == ["nearest reconstruction", "span of the change"]
    for facts in told:
        assert facts["auc"]["value"] == 1
        assert [level["level"] for level in facts["levels"]] == [0]  # 1 % takes a hundred held-out images
    np.testing.assert_allclose(made.nearest.train, near[0])
    assert roc_auc_score(np.repeat([1, 0], N), -np.concatenate(near)) == 1


def test_without_certificate_distances_are_all_that_tells(arrays, digits, tmp_path):
    more = recon.load_task("mnist_odd_even", 150, seed=1, source="samples", n_test=1).train.x
    made = recon.audit(*arrays, data=digits.train.x, held_out=more, attack="ntk-fast", seconds=0.5, progress=False)
    save(made, tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert "has no certificate" in page.within["evidence"]
    assert "its time was up" in page.within["tried"]
    assert "guaranteed" not in page.within["tried"]
    assert "✓" not in page.within["pictures"]
    roc, facts = rocs(made)["nearest reconstruction"], json.loads((tmp_path / "report.json").read_text())["roc"][0]
    assert (facts["training"], facts["held_out"], len(made.held_out.distance)) == (N, 150, N)
    pairs = (roc.members[:, None] < roc.others).mean() + (roc.members[:, None] == roc.others).mean() / 2
    assert facts["auc"]["value"] == pytest.approx(pairs)
    assert [level["level"] for level in facts["levels"]] == [0, 0.01]
    one_wrong = np.sort(roc.others)[1]
    assert facts["levels"][1]["found"]["value"] == (roc.members < one_wrong).mean()


def test_without_data_there_are_no_distances_and_no_membership(arrays, tmp_path):
    save(recon.audit(*arrays, progress=False), tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert tuple(sections(page)) == tuple(name for name in ORDER if name != "used")
    assert len(page.named("img")) == N
    assert len(page.named("svg")) == 1
    assert "this rests on certificates alone" in page.within["answer"]


def test_classes_that_came_back(made, page, digits):
    many = int((digits.train.y > 0).sum())
    assert f"class 4 {N - many} {N - many} class 7 {many} {many}" in page.within["reconstructions"]
    assert "rightly" not in page.within["reconstructions"]  # of one output


def test_images_are_counted_by_what_the_network_says_of_them(digits, tmp_path):
    x, labels = digits.train.x.reshape(N, -1), (digits.train.y.ravel() > 0).astype(int)
    kind = {"hidden_layer_sizes": (W,), "alpha": 0.0, "batch_size": N, "random_state": 0, "solver": "sgd"}
    twin, model = (MLPRegressor(**kind, learning_rate_init=rate) for rate in (1e-30, 1e-2))
    for network in (twin, model):
        network.partial_fit(x, np.eye(2)[labels])
    weights = ({"coefs_": [*m.coefs_], "intercepts_": [*m.intercepts_]} for m in (twin, model))
    save(recon.audit(*weights, data={"x": x, "y": labels}, attack="exact", seconds=5.0, progress=False), tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    rows = {row["images"]: (row["given"], row["came back"]) for row in report["classes"]}
    back = np.array(report["train"]["distance"], float) < report["train"]["limit"]
    for when, network in (("before", twin), ("after", model)):
        right = network.predict(x).argmax(axis=1) == labels
        assert rows[f"classified rightly {when} training"] == (right.sum(), (right & back).sum())
        assert rows[f"classified wrongly {when} training"] == ((~right).sum(), (~right & back).sum())
    assert 0 < rows["classified rightly after training"][0] < N


def test_defences_that_were_measured_stand_in_the_place_of_advice(made, tmp_path):
    own = Defences("Measured here.", ("change", "came back"), (("ε of 8", "0 of 20"),))
    save(dataclasses.replace(made, defences=own), tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert page.within["defences"] == "What would stop this attack Measured here. change came back ε of 8 0 of 20"
    assert json.loads((tmp_path / "report.json").read_text())["defences"]["rows"] == [["ε of 8", "0 of 20"]]


def test_names_of_files_are_no_markup(rng, tmp_path):
    found = rng.uniform(size=(3, 5, 5, 1))
    wicked = dataclasses.replace(images(found), names=("<script>alert(1)</script>", "a|b", '"><img src=x>'))
    save(audit_of(found, train=wicked, skipped="The stage <script>alert(2)</script> was left out."), tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert not page.named("script")
    assert all(p["src"].startswith("data:image/png") for p in page.named("img"))
    assert "<script>alert(1)</script>" in page.within["reconstructions"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: `apt-get install chromium` to run this test")
def test_it_fits_a_phone_and_prints_whole(browser, folder):
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme, offline=True)
        page = context.new_page()
        page.goto((folder / "report.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        outside = """[...document.querySelectorAll('td, th, img, svg, p, li, code')].filter((e) => {
          const box = e.getBoundingClientRect();
          return box.width > 1 && (box.left < 0 || box.right > innerWidth + 1);
        }).length"""
        assert page.evaluate(outside) == 0
        ink, paper = (
            np.mean([float(v) for v in re.findall(r"[\d.]+", page.evaluate(f"getComputedStyle(document.body).{what}"))])
            for what in ("color", "backgroundColor")
        )
        assert (ink < paper) == (scheme == "light")
        page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = false; })")
        seen = "document.querySelector('#reconstructions td').checkVisibility()"
        assert not page.evaluate(seen)
        page.emulate_media(media="print")
        assert page.evaluate(seen)
        white = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert re.findall(r"\d+", white)[:3] == ["255"] * 3
        context.close()
