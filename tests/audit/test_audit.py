"""The audit on networks that other code has trained: scikit-learn's, small ones."""

import dataclasses
import json
import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from sklearn.neural_network import MLPRegressor

import recon
from recon import ReconError, memory
from recon.auditing import run
from recon.auditing.data import compare, load_images
from recon.auditing.report import save
from recon.auditing.units import units
from recon.auditing.verdict import details
from recon.auditing.view import View, view_of
from recon.metrics import distances

N, W = 10, 128


@pytest.fixture(scope="module")
def digits():
    return recon.load_task("mnist_odd_even", N, seed=0, source="samples", n_test=1)


def fitted(x, y, epochs, **options):
    """A network of scikit-learn before and after training; a twin with a rate of next to nothing tells the former."""
    kind = {"hidden_layer_sizes": (W, W), "alpha": 0.0, "batch_size": len(x), "random_state": 0, **options}
    twin, model = MLPRegressor(**{**kind, "learning_rate_init": 1e-30}), MLPRegressor(**kind)
    twin.partial_fit(x, y.ravel())
    for _ in range(epochs):
        model.partial_fit(x, y.ravel())
    return twin, model


def arrays(model):
    return {"coefs_": [*model.coefs_], "intercepts_": [*model.intercepts_]}


@pytest.fixture(scope="module")
def sgd(digits):
    x = digits.train.x.reshape(N, -1)
    return fitted(x, digits.train.y, 100, solver="sgd", momentum=0.9, learning_rate_init=1e-2)


def errors(found, truth):
    """L2 from each image to the nearest reconstruction."""
    return distances(truth.reshape(len(truth), -1), found.reshape(len(found), -1)).min(axis=1)


def test_command_audits_a_strangers_weights(command, sgd, digits, tmp_path):
    for name, model in zip(("init", "final"), sgd, strict=True):
        np.savez(tmp_path / f"{name}.npz", *model.coefs_, *model.intercepts_)
    for name, images in (("train", digits.train.x), ("other", digits.held_out.x)):
        for i, pixels in enumerate(digits.pixels(images)):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(np.rint(255 * pixels[..., 0]).astype(np.uint8)).save(tmp_path / name / f"{i}.png")
    out = tmp_path / "out"
    (out / "images").mkdir(parents=True)
    (out / "images" / "reconstruction-099.png").write_bytes(b"of an earlier audit")
    done = command(
        "audit", "--init", tmp_path / "init.npz", "--final", tmp_path / "final.npz", "--network", f"mlp:{W}x{W}",
        "--data", tmp_path / "train", "--heldout", tmp_path / "other", "--mean", float(digits.mean[0]), "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"gets all {N} training images" in " ".join(done.stdout.split())
    report = json.loads((out / "report.json").read_text())
    assert (report["n"], report["certified"], report["leaks"]) == (N, N, True)
    assert (report["train"]["within"], report["held_out"]["within"]) == (N, 0)
    assert {"commit", "code_version", "made_at"} <= set(report["provenance"])
    # The arrays and the pictures are the training images.
    with np.load(out / "reconstructions.npz") as made:
        assert errors(made["images"], digits.train.x).max() < 0.01
        assert made["certified"].all()
    files = sorted((out / "images").iterdir())
    pictures = np.stack([np.asarray(Image.open(f)) for f in files]).astype(float)
    assert len(files) == N
    assert errors(pictures, 255 * digits.pixels(digits.train.x)).max() < 28  # a grey level a pixel
    # Each line of the report names the image that it is matched to.
    for row in report["reconstructions"]:
        truth = np.asarray(Image.open(tmp_path / "train" / row["image"]), float)
        assert np.abs(pictures[row["index"]] - truth).max() <= 1
    text = (out / "report.md").read_text()
    assert report["verdict"] in " ".join(text.split())
    assert "overview.png" in text
    assert (out / "overview.png").exists()


def test_without_data_the_certificate_decides(sgd, digits):
    before, after = map(arrays, sgd)
    made = recon.audit(before, after, progress=False)
    assert (made.n, made.certified, made.attacks) == (N, N, ("exact",))
    assert errors(made.found.images, digits.train.x).max() < 0.01
    assert "without a look at the training data" in made.verdict
    assert "held-out" not in made.verdict


def test_audit_says_which_pictures_were_used_where_no_search_finds_any(digits, tmp_path):
    x = digits.train.x.reshape(N, -1)
    # 21 units for ten images.
    before, after = map(arrays, fitted(x, digits.train.y, 100, solver="sgd", hidden_layer_sizes=(21, 21),
                                       learning_rate_init=1e-2))  # fmt: skip
    others = digits.held_out.x
    given = np.concatenate([x.reshape(others.shape), 0.98 * digits.train.x[:1], others[:2]])
    made = recon.audit(before, after, data=given, held_out=np.concatenate([others[2:], others[:2] + 0.1]),
                       attack="exact", progress=False)  # fmt: skip
    assert made.certified == 0
    assert made.membership.answers == ("member",) * N + ("multiple", "not", "not")
    words = "11 of 13 images given were trained on (1 of them at a size that is not confirmed) and 2 were not"
    assert words in made.verdict
    save(made, tmp_path)
    report, text = json.loads((tmp_path / "report.json").read_text()), (tmp_path / "report.md").read_text()
    assert [row["used"] for row in report["membership"]["images"]] == ["yes"] * N + ["up to its size", "no", "no"]
    assert report["membership"]["false_positives"]["value"] == 0
    section = text.split("## Was this picture used?")[1].split("## Reconstructions")[0]
    assert words in section
    for row in report["membership"]["images"]:
        assert re.search(rf"\| {row['image']} +\| {row['used']} +\| {row['distance']:.3g} ", section)


def test_without_a_control_or_data_no_picture_is_said_to_be_used(sgd, digits):
    alone = recon.audit(*map(arrays, sgd), data=digits.train.x, progress=False)
    assert "nothing is told of the 10 images given: no held-out images were given" in alone.verdict
    assert recon.audit(*map(arrays, sgd), progress=False).membership is None


def unbiased(x, y, seed=0, steps=200, rate=5e-3):
    """A network without biases before and after full-batch descent."""
    rng = np.random.default_rng(seed)
    sizes = (x.shape[1], W, W, 1)
    before = [rng.normal(0, np.sqrt(2 / a), (a, b)) for a, b in pairwise(sizes)]
    after = [kernel.copy() for kernel in before]
    for _ in range(steps):
        h = [x.astype(np.float64)]
        for i, kernel in enumerate(after):
            h.append(np.maximum(h[-1] @ kernel, 0) if i < 2 else h[-1] @ kernel)
        g = (h[-1] - y) / len(x)
        for i in (2, 1, 0):
            step, g = h[i].T @ g, (g @ after[i].T) * (h[i] > 0)
            after[i] -= rate * step
    return tuple({f"{i}.kernel": k.astype(np.float32) for i, k in enumerate(kernels)} for kernels in (before, after))


def test_without_biases_images_come_back_up_to_their_brightness(digits, tmp_path):
    x = digits.train.x.reshape(N, -1)
    before, after = unbiased(x, digits.train.y)
    made = recon.audit(before, after, data=x, held_out=digits.held_out.x, progress=False)
    assert (made.up_to_scale, made.n, made.certified, made.vouched) == (True, N, 0, N)
    assert made.attacks == ("exact",)
    assert (made.train.within, made.held_out.within, made.start.within) == (N, 0, 0)
    assert f"gets all {N} training images up to their brightness" in made.verdict
    assert "--mean and --std" in made.verdict
    assert "no proof of privacy" not in made.verdict
    save(made, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["leaks"]
    pictures = np.stack([np.asarray(Image.open(f)) for f in sorted((tmp_path / "images").iterdir())])
    assert pictures.max(axis=(1, 2)).min() > 200  # of unit length they would be dark
    # Without training images the attack knows it as well.
    assert "up to their brightness" in recon.audit(before, after, progress=False).verdict
    # The box of the pixels tells the size of images that touch it.
    boxed = recon.audit(before, after, data=x, mean=float(digits.mean[0]), progress=False)
    assert (boxed.up_to_scale, boxed.certified, boxed.train.within) == (False, N, N)


def test_change_that_no_images_made_is_not_certified(sgd):
    before, after = map(arrays, sgd)
    units = np.random.default_rng(0).permutation(W)
    first = before["coefs_"][0] + (after["coefs_"][0] - before["coefs_"][0])[:, units]
    shift = before["intercepts_"][0] + (after["intercepts_"][0] - before["intercepts_"][0])[units]
    null = {"coefs_": [first, *after["coefs_"][1:]], "intercepts_": [shift, *after["intercepts_"][1:]]}
    moved = {kind: [b - a for a, b in zip(before[kind], null[kind], strict=True)] for kind in null}
    for state in (None, moved):  # by itself, and as the audit searches when the first search fails
        made = recon.audit(before, null, optimizer_state=state, attack="exact", seconds=2.0, progress=False)
        assert (made.n, made.certified) == (N, 0)
    assert "certifies none" in made.verdict
    assert "no proof of privacy" in made.verdict


def test_state_dicts_of_pytorchs_layout_and_channels_first(digits, tmp_path):
    from safetensors.numpy import save_file

    # Colour pictures of 12 x 12 as (3, 12, 12), as PyTorch has them.
    x = np.float32(np.random.default_rng(0).integers(0, 256, size=(N, 3, 12, 12)) / 255)
    twin, model = fitted((x.reshape(N, -1) - 0.5) / 0.25, digits.train.y, 60, solver="sgd", learning_rate_init=3e-3)
    for name, m in (("init", twin), ("final", model)):
        state = {f"{2 * i}.weight": np.ascontiguousarray(k.T) for i, k in enumerate(m.coefs_)}
        save_file(state | {f"{2 * i}.bias": b for i, b in enumerate(m.intercepts_)}, tmp_path / f"{name}.safetensors")
    made = recon.audit(
        tmp_path / "init.safetensors", tmp_path / "final.safetensors", mean=0.5, std=(0.25, 0.25, 0.25),
        data=(x - 0.5) / 0.25, progress=False,
    )  # fmt: skip
    assert made.layout.transposed
    assert (made.view.shape, made.view.channels_first) == ((12, 12, 3), True)
    assert (made.certified, made.train.within) == (N, N)
    last = made.train.index
    np.testing.assert_allclose(
        made.view.shown(made.found.images, made.found.images)[last], x.transpose(0, 2, 3, 1), atol=1e-3
    )


def test_adams_first_moment_in_place_of_the_change(digits):
    x = digits.train.x.reshape(N, -1)
    twin, model = fitted(x, digits.train.y, 30, solver="adam", learning_rate_init=1e-4)
    state = {"mu": [*model._optimizer.ms], "nu": [*model._optimizer.vs]}
    made = recon.audit(
        arrays(twin), arrays(model), optimizer_state=state, data=x, held_out=digits.held_out.x, progress=False
    )
    assert made.from_state
    assert (made.n, made.train.within, made.held_out.within) == (N, N, 0)
    assert "and the optimiser's state" in made.verdict
    # Without it the rank tells nothing, and the verdict says so.
    made = recon.audit(arrays(twin), arrays(model), progress=False)
    assert made.n is None
    assert len(made.found.images) == 0
    assert "--optimizer-state" in made.verdict
    assert "no proof of privacy" in made.verdict


def test_frozen_extractor_before_a_trained_head(digits, rng):
    frozen = {"body.weight": rng.normal(0, 0.05, (200, 784)).astype(np.float32), "body.bias": np.zeros(200, np.float32)}
    shown = np.maximum(digits.train.x.reshape(N, -1) @ frozen["body.weight"].T, 0)
    twin, model = fitted(shown, digits.train.y, 60, solver="sgd", learning_rate_init=1e-2)
    before, after = (
        frozen
        | {f"head.{i}.weight": k.T for i, k in enumerate(m.coefs_)}
        | {f"head.{i}.bias": b for i, b in enumerate(m.intercepts_)}
        for m in (twin, model)
    )
    with pytest.raises(ReconError, match=r"did not change the first layer, body\.weight: say --features"):
        recon.audit(before, after, progress=False)
    made = recon.audit(before, after, features=True, data=shown, progress=False)
    assert (made.view.pictures, made.train.limit) == (False, 1e-3)
    assert (made.n, made.certified, made.train.within) == (N, N, N)
    truth = np.linalg.norm(shown, axis=1)
    assert (errors(made.found.images, shown) / truth).max() < 1e-3
    assert "the features of all" in made.verdict


def test_gradient_matching_where_the_rank_does_not_tell(digits):
    x = digits.train.x.reshape(N, -1)
    twin, model = fitted(x, digits.train.y, 5, solver="adam", learning_rate_init=1e-3)
    made = recon.audit(arrays(twin), arrays(model), data=x, m=7, seconds=0.5, progress=False)
    assert (made.n, made.certified, made.attacks) == (None, None, ("exact", "ntk-fast"))
    assert len(made.found.images) == 7
    assert "has no certificate." in made.verdict
    assert made.verdict.startswith("The attack ntk-fast made 7 images and has no certificate.")
    assert details(made)[0].startswith("ReLU units are assumed, which the files do not tell")
    assert re.search("What the numbers show: (the spectrum of the first layer's change|the rank is 1)", made.verdict)
    assert "After Adam, --optimizer-state may tell more." in made.verdict
    assert np.isinf(made.train.distance).sum() == N - 7


def test_rank_bounds_the_number_of_images_from_below():
    # More images than the pixels that are ever lit: 60 of 7 x 7.
    many = recon.load_task("mnist_odd_even", 60, seed=0, source="samples", n_test=1)
    x = many.train.x.reshape(60, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(60, 49)
    twin, model = fitted(x, many.train.y, 20, solver="sgd", learning_rate_init=1e-2)
    made = recon.audit(arrays(twin), arrays(model), attack="exact", data=x, seconds=1.0, progress=False)
    assert made.n < 50
    assert made.certified == 0
    assert f"at least {made.n} different training images (" in made.verdict
    assert f"The rank shows at least {made.n} different training images (of one that was augmented" in made.verdict


def test_what_cannot_be_audited_is_refused(command, sgd, tmp_path):
    before, after = map(arrays, sgd)
    narrow = {"coefs_": [before["coefs_"][0][:, :64], before["coefs_"][1][:64], before["coefs_"][2]],
              "intercepts_": [before["intercepts_"][0][:64], *before["intercepts_"][1:]]}  # fmt: skip
    broken = {**after, "coefs_": [after["coefs_"][0] * np.nan, *after["coefs_"][1:]]}

    def times(weights, factor):
        return {kind: [np.float32(factor) * a for a in weights[kind]] for kind in weights}

    near = {kind: [-3 * a.astype(np.float16) for a in after[kind]] for kind in after}
    cases = (
        ((before, before), {}, "are equal"),
        ((before, narrow), {}, f"of mlp:{W}x{W} from 784 to 1, the final weights of mlp:64x{W}"),
        ((before, broken), {}, "not finite"),
        ((times(before, 0), after), {}, r"initial weights of the first layer, coefs_/0, are all zero"),
        ((before, times(after, 0)), {}, r"final weights of the first layer, coefs_/0, are all zero"),
        ((times(before, 1e30), times(after, 1e30)), {}, r"initial weights are as large as .*e\+29"),
        ((before, after), {"network": "mlp:64x64"}, "hidden layers of 64 and 64"),
        ((before, after), {"network": "resnet18"}, "only plain MLPs"),
        ((before, after), {"attack": "magic"}, "Unknown attack"),
        ((before, after), {"image_shape": (28, 29)}, "not the 784 numbers"),
        ((before, after), {"mean": (0.1, 0.2)}, "one number, or one for each of 1 channels"),
        ((before, after), {"mean": 0.1, "std": 0.0}, "above zero"),
        ((before, after), {"data": np.zeros((3, 5))}, r"images of shape \(5,\), the network takes"),
        ((before, after), {"data": np.full((3, 784), np.nan)}, "no images of finite numbers"),
        ((before, after), {"seconds": -3.0}, "seconds is -3.0: give a number above zero"),
        ((before, after), {"limit": np.nan}, "limit is nan: give a number above zero"),
        ((before, after), {"m": 0}, "m is 0: give a whole number"),
        ((before, after), {"optimizer_state": before}, "state is the weights, initial or final"),
        ((before, after), {"optimizer_state": near}, "state is the weights, initial or final"),
        ((before, after), {"optimizer_state": after}, "is the weights themselves"),
        ((before, {**after, "more": np.ones((2, 2))}), {"features": True}, "do not hold the same arrays"),
    )
    for weights, options, message in cases:
        with pytest.raises(ReconError, match=message):
            recon.audit(*weights, **options, progress=False)
    (tmp_path / "weights.pt").write_bytes(b"\x80\x02.")
    done = command("audit", "--init", tmp_path / "weights.pt", "--final", tmp_path / "weights.pt")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "is a pickle" in done.stderr


def test_places_that_cannot_be_written_are_refused_first(command, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "images").write_bytes(b"mine")
    for place, way in (("file", "file"), ("file/a/b", "file"), ("here", "here/images")):
        # Before the weights are read.
        done = command("audit", "--init", "absent.npz", "--final", "absent.npz", "--out", tmp_path / place)
        assert done.returncode == 1
        assert f"the file {tmp_path / way} is in a folder's place" in done.stderr.replace("\n", " ")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["file", "here"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, value) for name in ("seconds", "limit") for value in (0, -3.0, np.nan, "9", [1])),
        *(("m", value) for value in (0, -1, 2.5, "3")),
        *(("key", value) for value in ("a", 1.5, None, -1, 2**70)),
    ],
)
def test_numbers_that_mean_nothing(name, wrong):
    fine = {"seconds": None, "limit": 0.1, "m": np.int64(3), "key": 0}
    run.check(**fine)
    with pytest.raises(ReconError, match=f"^{name} is .*: give a .*number"):
        run.check(**fine | {name: wrong})


def test_what_is_no_image_is_refused_and_lists_and_dictionaries_are_taken(tmp_path, rng):
    x, view = rng.uniform(size=(3, 5, 5, 1)).astype(np.float32), View((5, 5, 1))
    for source in (x.tolist(), [*x], {"x": x, "y": np.arange(3)}, {"any": x.reshape(3, 25).tolist()}):
        np.testing.assert_allclose(load_images(source, view).x, x)
    for source in (3, np.float32(3), np.array(3.0), x.ravel(), [], ["a"], np.array([{}]), [[1.0, 2.0], [1.0]], None):
        with pytest.raises(ReconError, match=r"give an array of them, \(n, 5, 5, 1\)|make no array: give a folder"):
            load_images(source, view)
    with pytest.raises(ReconError, match=r"holds 2 arrays of images \(a, b\): name the one to take x"):
        load_images({"a": x, "b": x}, view)
    with pytest.raises(ReconError, match=r"is not there or cannot be read: give a folder of pictures or an \.npz"):
        load_images(tmp_path / "absent", view)
    for shape in ("28x28", (28.0, 28), 2.5, [], [[28, 28], "a"]):
        with pytest.raises(
            ReconError, match=r"no shape of an image: give numbers such as \(28, 28\)|not the 784 numbers"
        ):
            view_of(784, shape, None, None, False)
    for mean in ("a", [[0.1], [0.2, 0.3]], {}):
        with pytest.raises(ReconError, match="give a number, or one for each channel"):
            view_of(784, None, mean, None, False)


def test_held_out_images_are_drawn_from_all_of_those_given(sgd, digits, tmp_path):
    before, after = map(arrays, sgd)
    others = recon.load_task("mnist_10way", 100, seed=1, source="samples", n_test=1).train
    order = np.argsort(others.labels, kind="stable")  # as a folder of class folders has them
    given = {"x": others.x[order].reshape(100, -1)}
    made, again = (recon.audit(before, after, data=digits.train.x, held_out=given, progress=False) for _ in range(2))
    names = made.held_out.images.names
    assert len(names) == N
    assert len({int(others.labels[order][int(i)]) for i in names}) > 4
    assert names == again.held_out.images.names
    np.testing.assert_array_equal(made.held_out.images.x.reshape(N, -1), given["x"][[int(i) for i in names]])
    few = recon.audit(before, after, data=digits.train.x, held_out=digits.held_out.x[:3], progress=False)
    assert "of which more would come nearer by chance" in few.verdict
    assert "by chance" not in made.verdict
    save(made, tmp_path)
    assert (tmp_path / "overview.png").exists()
    nothing = dataclasses.replace(made.found, images=made.found.images[:0], certified=np.zeros(0, bool),
                                  up_to_scale=np.zeros(0, bool), confidence=np.zeros(0))  # fmt: skip
    save(dataclasses.replace(made, found=nothing, train=None, held_out=None), tmp_path)
    assert not (tmp_path / "overview.png").exists()
    assert not list((tmp_path / "images").iterdir())


def test_images_from_folders_files_and_arrays(tmp_path, rng):
    pixels = rng.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    for i, p in enumerate(pixels):
        (tmp_path / "pictures" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(p).save(tmp_path / "pictures" / str(i % 2) / f"{i}.png")
    view = View((6, 5, 3), True, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    wanted = (pixels / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.2, 0.1]
    folder = load_images(tmp_path / "pictures", view)
    assert folder.names == ("0/0.png", "0/2.png", "1/1.png", "1/3.png")
    np.testing.assert_allclose(folder.x, wanted[[0, 2, 1, 3]], atol=1e-5)
    # As the network takes them: channels first, shaped or flat.
    first = wanted.transpose(0, 3, 1, 2)
    for given in (pixels, wanted, first, first.reshape(4, -1)):
        np.savez(tmp_path / "x.npz", y=np.arange(4), x=given)
        np.testing.assert_allclose(load_images(tmp_path / "x.npz", view).x, wanted, atol=1e-5)
    np.testing.assert_allclose(view.shown(folder.x, folder.x), pixels[[0, 2, 1, 3]] / 255, atol=1e-5)
    low, high = view.box
    np.testing.assert_allclose([low[1], high[1]], [-0.4 / 0.2, 0.6 / 0.2])
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "two.npz", a=pixels, b=pixels)
    cases = (
        (tmp_path / "empty", view, "holds no picture"),
        (tmp_path / "two.npz", view, "name the one to take x"),
        (tmp_path / "pictures", View((90,)), r"give an \.npz"),
        (tmp_path / "pictures", View((5, 6, 3)), "the network takes"),
    )
    for source, seen, message in cases:
        with pytest.raises(ReconError, match=message):
            load_images(source, seen)


def test_views():
    assert view_of(784, None, None, None, True).shape == (28, 28, 1)
    assert not view_of(784, None, None, None, True).channels_first
    assert view_of(3072, None, None, None, True) == View((32, 32, 3), True)
    assert view_of(3072, None, None, None, False) == View((32, 32, 3), False)
    assert view_of(90, (3, 6, 5), 0.5, None, False) == View((6, 5, 3), True, (0.5,), None)
    assert view_of(30, (6, 5), None, None, False) == View((6, 5, 1))
    assert view_of(31, None, None, None, False) == View((31,))
    assert view_of(784, None, None, None, False, features=True) == View((784,))
    # Nobody said what was done to the pixels: stretched like the surest ones, or as they are where they are pixels.
    x = np.float32([[-1.0, 3.0]])
    np.testing.assert_allclose(View((2,)).shown(x, x), [[0, 1]])
    np.testing.assert_allclose(View((2,)).shown(x / 4 + 0.25, x / 4 + 0.25), [[0, 1]])
    np.testing.assert_allclose(View((2,)).shown(x / 8 + 0.25, x / 8 + 0.25), x / 8 + 0.25)


def test_verdict_on_what_stopped_early_or_was_not_found(sgd):
    before, after = map(arrays, sgd)
    made = recon.audit(before, after, attack="exact", data=np.ones((N, 784)), seconds=1e-6, progress=False)
    assert made.out_of_time
    assert "Stopped after 1e-06 seconds; more may come with a larger --seconds." in made.verdict
    assert "ReLU units are assumed" in made.verdict
    made = recon.audit(before, after, attack="exact", seconds=60.0, progress=False)
    assert not made.out_of_time
    assert not any(words in made.verdict for words in ("Stopped", "ReLU"))
    made = recon.audit(before, after, attack="ntk-fast", m=2, seconds=1e-6, progress=False)
    assert "larger --seconds" in made.verdict


def test_training_images_in_other_units_are_seen_to_be(sgd, digits):
    before, after = map(arrays, sgd)
    found = recon.audit(before, after, data=digits.train.x, progress=False)
    pixels = np.rint(255 * digits.pixels(digits.train.x)).astype(np.uint8)
    more = np.rint(255 * digits.pixels(digits.held_out.x)).astype(np.uint8)
    mean = float(digits.mean[0])

    def said(x, **view):
        """The sentence on given images; the same reconstructions, seen by another view."""
        view = view_of(784, None, view.get("mean"), view.get("std"), False)
        train = compare(load_images(x, view), found.found.images, 0.1, False)
        return units(dataclasses.replace(found, view=view, train=train))

    told = f"are within the limit of a reconstruction with --mean {mean:.4g} --std 1."
    assert units(found) == said(pixels, mean=mean) == ""
    assert f"all {N} {told}" in said(pixels)
    assert f"all {N} {told}" in said(pixels, mean=0.5, std=0.25)
    assert f" {N} {told}" in said(np.concatenate([more, pixels]))
    assert f"with the factor 0.003922 and the offset {-mean:.4g}." in said(255 * (digits.train.x + mean))
    image = np.random.default_rng(0).normal(0, 0.1, digits.train.x.shape[1:]).astype(np.float32)
    assert f"all {N} are within the limit of a reconstruction plus one and the same image" in said(
        digits.train.x + image
    )
    # Other images are none of this, nor a change of units for each image by itself.
    assert said(more) == said(pixels[:2]) == ""
    each = np.linspace(0.5, 1, N, dtype=np.float32).reshape(N, 1, 1, 1)
    assert said(digits.train.x * each) == ""
    other = recon.audit(before, after, data=pixels, progress=False)
    assert "0 are within" in other.verdict
    assert f"in other units or another order than the network's inputs: all {N} {told}" in other.verdict


def test_ctrl_c_reports_what_was_found(sgd, monkeypatch):
    before, after = map(arrays, sgd)
    real = run.reconstruct

    def stopped(*args, **options):
        found = real(*args, **options)
        none = np.zeros(len(found.images), bool)
        return dataclasses.replace(found, why="interrupted", certified=none, up_to_scale=none)

    monkeypatch.setattr(run, "reconstruct", stopped)
    made = recon.audit(before, after, progress=False)
    assert made.attacks == ("exact",)
    assert "Interrupted" in made.verdict


def test_ctrl_c_in_a_later_stage_is_said_and_reports_what_was_found(sgd, monkeypatch):
    before, after = map(arrays, sgd)
    real, stages = run.reconstruct, []

    def stopped(*args, **options):
        stages.append(options["attack"])
        if len(stages) == 3:
            raise KeyboardInterrupt  # while the stage compiles
        own = {name: value for name, value in options.items() if name != "gradient_seconds"}
        found = real(*args, **own | {"attack": "exact"})
        why = "interrupted" if len(stages) == 2 and ran == 2 else "out of starts"
        sure = np.arange(len(found.images)) < 4 - len(stages)
        return dataclasses.replace(found, why=why, certified=sure, up_to_scale=sure)

    monkeypatch.setattr(run, "reconstruct", stopped)
    for ran in (2, 3):
        stages.clear()
        made = recon.audit(before, after, progress=False)
        assert len(stages) == ran
        assert (made.attacks, made.certified, made.found.interrupted) == (("exact",) * 2, 3, False)
        assert made.interrupted
        assert "Interrupted: it is what was found until then." in made.verdict


def test_first_layer_that_memory_does_not_hold_is_refused_before_it_is_tried(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemAvailable:    3000000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    wide = {"W1": np.ones((50_000, 512), np.float32), "b1": np.zeros(512, np.float32)}
    weights = wide | {"W2": np.ones((512, 1), np.float32), "b2": np.zeros(1, np.float32)}
    said = (
        r"^The audit of a first layer of 512 units and 50000 inputs takes 2\.05 GB of memory, and 1\.54 GB may be used"
    )
    with memory.peak_memory() as peak, pytest.raises(memory.TooLarge, match=said):
        recon.audit(weights, weights | {"W1": 2 * wide["W1"]}, progress=False)
    assert peak.bytes is None or peak.bytes < 6 * wide["W1"].nbytes


def test_stage_that_memory_does_not_hold_is_left_out_and_said(sgd, digits, monkeypatch):
    before, after = map(arrays, sgd)
    monkeypatch.setattr(memory, "room", lambda: 400_000)  # bytes: enough for a batch of the exact search
    monkeypatch.setattr(run, "TRIES", 1)
    real = run.reconstruct

    def short(*args, **options):
        found = real(*args, **options)
        sure = np.arange(len(found.images)) < 3
        return dataclasses.replace(found, why="out of starts", certified=sure, up_to_scale=sure)

    said = "left out. A step of the attack takes .* GB of memory, and 0.0004 GB may be used: reconstruct fewer images"
    monkeypatch.setattr(run, "reconstruct", short)
    made = recon.audit(before, after, progress=False)
    assert (made.attacks, made.certified) == (("exact",), 3)
    assert re.search(f"The stage hybrid was {said}", made.verdict)
    # Where the rank tells nothing, and by name.
    unclear = lambda *args, **options: dataclasses.replace(real(*args, **options), n_estimated=None)  # noqa: E731
    monkeypatch.setattr(run, "reconstruct", unclear)
    made = recon.audit(before, after, m=20, progress=False)
    assert re.search(f"The stage ntk-fast was {said}", made.verdict)
    assert "-m runs" not in made.verdict
    with pytest.raises(ReconError, match=r"^A step of the attack takes"):
        recon.audit(before, after, attack="ntk-fast", m=20, progress=False)


def test_search_that_doubts_an_image_is_tried_again(sgd, monkeypatch):
    before, after = map(arrays, sgd)
    real, tries = run.reconstruct, []

    def doubtful(*args, **options):
        found = real(*args, **options)
        tries.append((options["attack"], options["key"], options.get("loose", False)))
        sure = np.arange(N) > 0
        return found if len(tries) > 2 else dataclasses.replace(found, certified=sure, up_to_scale=sure)

    monkeypatch.setattr(run, "reconstruct", doubtful)
    made = recon.audit(before, after, key=5, progress=False)
    # Patterns alone, more loosely, then as at first.
    assert tries == [("exact", 5, False), ("exact", 6, True), ("exact", 7, False)]
    assert made.certified == N


def test_search_that_leaves_images_out_is_followed_by_the_hybrid(sgd, monkeypatch):
    before, after = map(arrays, sgd)
    real, certified = run.reconstruct, {"exact": 3, "hybrid": 4}

    def short(*args, **options):
        own = {name: value for name, value in options.items() if name != "gradient_seconds"}
        found = real(*args, **own | {"attack": "exact"})
        sure = np.arange(len(found.images)) < certified[options["attack"]]
        return dataclasses.replace(
            found, attack=options["attack"], why="out of starts", certified=sure, up_to_scale=sure
        )

    monkeypatch.setattr(run, "reconstruct", short)
    made = recon.audit(before, after, progress=False)
    ran = ("exact",) * run.TRIES + ("hybrid",)
    assert (made.attacks, made.found.attack, made.certified) == (ran, "hybrid", 4)
    assert f"gets 4 of at least {N} training images" in made.verdict
    certified["hybrid"] = 2
    made = recon.audit(before, after, progress=False)
    assert (made.attacks, made.found.attack, made.certified) == (ran, "exact", 3)
