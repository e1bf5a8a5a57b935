"""The explorer's summary and claim, on networks made by hand."""

import numpy as np
import pytest

from recon import benchmark as bench
from recon.claims import judge
from recon.plots import strips
from recon.records import Stored
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def explorer():
    return bench.find(ROOT, "explorer").module()


def network(rng, attack="ntk-fast", n=100, frames=25):
    """A cell of n flat grey images, the later the worse recovered, at every moment better than before."""
    train = np.linspace(0, 0.5, n, dtype=np.float32)[:, None, None, None] * np.ones((1, 4, 4, 1), np.float32)
    error = np.linspace(0.01, 0.4, n, dtype=np.float32)[:, None, None, None]
    way = np.stack([train + error * (frames - i) for i in range(frames)])
    distance = 4 * error.ravel()
    columns = {
        "distance": distance,
        "held_out": distance + 1,
        "start": distance + 2,
        "nearest_held_out": distance + 0.5,
    }
    columns |= {"label": [0] * n, "dual_norm": rng.random(n), "certified": None}
    rule, widths = {"rule": "Linearised"}, {"widths": [8]}
    record = {
        "cell": {"task": "made", "n_train": n, "attack": attack, "dynamics": rule, "network": widths},
        "data": {"title": "Made", "source": "hand", "recognisable": 0.8, "mean": [0.0]},
        "attack": {"steps": frames - 1, "why": "done", "seconds": {"run": 1.0}},
        "scores": {"train": {"mean": float(distance.mean())}},
        "frames": [
            {"step": i, "seconds": i / frames, "mean": float(np.mean(d)), "distance": d}
            for i, d in enumerate(np.linalg.norm((way - train).reshape(frames, n, -1), axis=2))
        ],
        "images": columns,
    }
    return Stored(record, {"train": train, "found": way[-1], "nearest": train[::-1], "frames": way})


def test_kept_pictures_are_those_of_the_images_they_are_said_to_be(explorer, rng):
    stored = network(rng)
    (panel,) = explorer.summarise([stored])["panels"]
    (attack,) = panel["attacks"]
    kept, shown = panel["kept"], panel["kept"][panel["shown"]]
    assert len(kept) == explorer.KEPT
    assert {0, 99} <= set(kept) & set(shown)
    assert shown.tolist() == sorted(shown)  # best first: the later the worse
    grey = stored.arrays["train"][:, 0, 0, 0] * 255
    np.testing.assert_allclose(strips.decode(panel["train"])[:, 0, 0], grey[kept], atol=0.51)
    np.testing.assert_allclose(strips.decode(attack["nearest"]).mean((1, 2, 3)), grey[::-1][kept], atol=4)
    assert len(attack["frames"]) == explorer.FRAMES
    assert [attack["frames"][i]["step"] for i in (0, -1)] == [0, 24]
    for frame in attack["frames"]:
        np.testing.assert_allclose(
            frame["distance"], stored.record["frames"][frame["step"]]["distance"][shown], rtol=1e-3
        )
        looks = np.clip(stored.arrays["frames"][frame["step"]][shown], 0, 1).mean((1, 2, 3)) * 255
        np.testing.assert_allclose(strips.decode(frame["pictures"]).mean((1, 2, 3)), looks, atol=4)


def test_one_stranger_nearer_than_the_training_image_is_what_a_draw_comes_to(explorer, rng):
    (claim,) = explorer.CLAIMS
    summary = explorer.summarise([network(rng), network(rng, "exact")])
    near = np.array(summary["panels"][0]["attacks"][0]["distance"])
    recognised = int((near < 0.8).sum())
    made = judge(claim, summary)
    assert f"ntk-fast {recognised} of {recognised}, exact {recognised} of {recognised}" in made["effect"]
    (found,) = made["estimates"]
    least = near[near < 0.8].max()  # the stranger of each lies 0.5 farther away
    assert found["value"] == pytest.approx(np.log2((least + 0.5) / least), abs=1e-3)
    assert (found["groups"], made["verdict"]) == (1, "inconclusive")
    columns = summary["panels"][0]["attacks"][1]
    columns["nearest_held_out"][-1] = 0.0  # of an image that is not recognisable: nothing is claimed of it
    assert judge(claim, summary)["estimates"] == [found]
    columns["nearest_held_out"][0] = near[0] / 2
    refuted = judge(claim, summary)
    assert refuted["estimates"][0]["value"] == pytest.approx(-1)
    assert f"exact {recognised - 1} of {recognised}" in refuted["effect"]
    # Of several draws the least of each counts.
    several = {"panels": [p | {"task": f"draw {i}"} for i in range(3) for p in summary["panels"]]}
    for i, panel in enumerate(several["panels"]):
        panel["attacks"] = [panel["attacks"][1] | {"nearest_held_out": (near / (2 + 0.1 * i)).tolist()}]
    assert judge(claim, several)["verdict"] == "not reproduced"
    for attack in summary["panels"][0]["attacks"]:
        attack["distance"] = [9.0] * 100
    assert judge(claim, summary)["estimates"][0]["value"] is None
