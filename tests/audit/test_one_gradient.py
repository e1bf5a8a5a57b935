"""An audit of one gradient: files of it, what the report says, labels, and what does not fit."""

import jax
import numpy as np
import pytest

from recon import ReconError, audit
from recon.auditing import save
from recon.auditing.classes import by_class
from recon.auditing.verdict import missing
from tests.attacks.test_one_gradient import N, cross_entropy, drawn, gradient_of, outputs_of


@pytest.fixture(scope="module")
def batch():
    """A batch of which a saturated softmax hides one image."""
    params, x, _ = drawn(seed=2, scale=20.0)
    order = np.argsort(np.asarray(outputs_of(params, x)), axis=1)
    labels = order[:, 0]
    logits = np.sort(np.asarray(outputs_of(params, x)), axis=1)
    sure = int((logits[:, -1] - logits[:, -2]).argmax())
    labels[sure] = order[sure, -1]
    return params, x, labels, gradient_of(cross_entropy, params, x, labels)


def arrays(tree):
    return {f"{layer}/{name}": value for layer, parts in tree.items() for name, value in parts.items()}


@pytest.fixture(scope="module")
def made(batch):
    params, x, _, gradient = batch
    return audit(arrays(params), gradient=arrays(gradient), data={"x": x}, progress=False)


def test_what_is_in_the_gradient_comes_back_and_the_rest_is_counted(made, batch):
    assert made.from_gradient
    assert made.n == made.certified == made.train.within == N - 1
    assert made.found.absent == 1
    assert (
        missing(made) == "1 more image of the batch is not in the gradient, if it is the mean over the batch: "
        "its share of it is below rounding."
    )
    assert "An attacker who has the weights and one gradient gets all 7 training images" in made.verdict
    assert missing(made) in made.verdict


def test_the_report_names_the_threat_and_the_labels(made, batch, tmp_path):
    _, _, labels, _ = batch
    save(made, tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "one gradient: of a single batch" in report
    assert "*Label*" in report
    right = made.train.index >= 0
    np.testing.assert_array_equal(made.found.labels[made.train.index[right]], labels[right])


def test_images_are_counted_by_class_and_by_what_the_network_says(made, batch):
    params, x, labels, _ = batch
    index = made.train.index
    assert by_class(made)[-2:] == [
        {"images": "classified rightly at these weights", "came back": 0},
        {"images": "classified wrongly at these weights", "came back": N - 1},
    ]
    wrong = np.asarray(outputs_of(params, x)).argmax(axis=1) != labels
    assert wrong[index >= 0].all()
    counts = {row["images"]: row["came back"] for row in by_class(made)[:-2]}
    kinds, many = np.unique(labels[index >= 0], return_counts=True)
    assert counts == {f"class {kind}": count for kind, count in zip(kinds, many, strict=True)}


def test_a_gradient_stored_by_outputs_first_is_one(batch):
    params, _, _, gradient = batch
    torch_like = [
        {f"{2 * i}.{name}": part.T for i, layer in enumerate(tree.values())
         for name, part in (("weight", layer["kernel"]), ("bias", layer["bias"]))}
        for tree in (params, gradient)
    ]  # fmt: skip
    assert audit(torch_like[0], gradient=torch_like[1], progress=False).certified == N - 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Give the final weights or"),
        ({"gradient": "own", "final": "own"}, "Give the final weights or"),
        ({"gradient": "own", "optimizer_state": "own"}, "Give the final weights or"),
        ({"gradient": "own", "features": True}, "Give the final weights or"),
        ({"gradient": "weights"}, "The gradient is the weights themselves"),
    ],
)
def test_what_does_not_fit_is_refused(batch, options, message):
    params, _, _, gradient = batch
    known = {"own": gradient, "weights": jax.tree.map(lambda w: 2 * w, params)}
    given = {name: known.get(value, value) if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(ReconError, match=message):
        audit(params, progress=False, **given)


def test_the_command_line_takes_weights_and_a_gradient(batch, tmp_path, command):
    params, _, _, gradient = batch
    for name, tree in (("w", params), ("g", gradient)):
        np.savez(tmp_path / f"{name}.npz", **arrays(tree))
    done = command("audit", "--weights", "w.npz", "--gradient", "g.npz", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "one gradient gets all 7 training images" in " ".join(done.stdout.split())
    assert (tmp_path / "out" / "report.md").exists()
