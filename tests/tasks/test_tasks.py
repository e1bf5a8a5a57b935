import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recon.data import content_keys, prepared, tiny_imagenet_classes
from recon.errors import ReconError
from recon.tasks import base, load_task, targets, tasks

SAMPLES = {"source": "samples"}


def as_bytes(split, mean):
    return {x.tobytes() for x in np.rint((split.x + mean) * 255).astype(np.uint8)}


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40).map(lambda k: 2 * k), st.integers(0, 2**31))
def test_draws_are_balanced_disjoint_and_centred(n, seed):
    data = load_task("mnist_odd_even", n, seed=seed, **SAMPLES)
    for split in (data.train, data.held_out):
        assert len(split) == n
        assert split.y.sum() == 0
        np.testing.assert_array_equal(split.y[:, 0], np.where(split.labels % 2, 1, -1))
    groups = [as_bytes(s, data.mean) for s in (data.train, data.held_out, data.test)]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 2 * n + 1000
    assert abs(data.train.x.mean()) < 1e-5
    low, high = data.box
    assert (data.train.x >= low).all()
    assert (data.train.x <= high).all()
    assert high - low == pytest.approx(1)
    assert data.train.x.dtype == data.train.y.dtype == np.float32


def test_seed_chooses_and_repeats():
    a, b, c = (load_task("mnist_10way", 50, seed=s, **SAMPLES) for s in (1, 1, 2))
    assert a.train.fingerprint == b.train.fingerprint != c.train.fingerprint
    np.testing.assert_array_equal(a.train.x, b.train.x)
    assert np.bincount(a.train.labels).tolist() == [5] * 10
    np.testing.assert_allclose(a.train.y, np.eye(10)[a.train.labels] - 0.1, rtol=1e-6)


def test_choice_does_not_depend_on_stored_order(monkeypatch, rng):
    original = base.load_images

    def shuffled(*args, **kwargs):
        images = original(*args, **kwargs)
        return images.take(rng.permutation(len(images.images)))

    a = load_task("mnist_odd_even", 20, seed=3, n_test=50, **SAMPLES)
    monkeypatch.setattr(base, "load_images", shuffled)
    b = load_task("mnist_odd_even", 20, seed=3, n_test=50, **SAMPLES)
    for split in ("train", "held_out", "test"):
        assert getattr(a, split).fingerprint == getattr(b, split).fingerprint


def test_colour_means_are_by_channel():
    data = load_task("cifar10_animal_vehicle", 10, seed=0, **SAMPLES)
    assert data.mean.shape == (3,)
    np.testing.assert_allclose(data.train.x.mean((0, 1, 2)), 0, atol=1e-6)
    animals = {"bird", "cat", "deer", "dog", "frog", "horse"}
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert all((names[label] in animals) == (y < 0) for label, y in zip(data.train.labels, data.train.y[:, 0]))


@pytest.mark.parametrize(("name", "n", "pool"), [("tiny_imagenet_animal_object", 6, 18), ("tiny_imagenet_5way", 5, 11)])
def test_tiny_imagenet_groups(name, n, pool):
    data, classes = load_task(name, n, seed=0, **SAMPLES), tiny_imagenet_classes.CLASSES
    assert data.train.x.shape == data.held_out.x.shape == (n, 64, 64, 3)
    assert data.pool == pool
    members = [wnid for group in data.task.groups.values() for wnid in group]
    assert len(members) == len(set(members)) == {6: 176, 5: 35}[n]
    for split in (data.train, data.held_out):
        of = [next(g for g, wnids in data.task.groups.items() if classes[label] in wnids) for label in split.labels]
        assert of == list(np.repeat(list(data.task.groups), n // len(data.task.groups)))


def test_every_task_on_prepared_data(tfds_dir):
    for name, task in tasks().items():
        if task.dataset is None or prepared.find(task.dataset, tfds_dir) is None:
            continue
        data = load_task(name, 20, seed=0, data_dir=tfds_dir, n_test=100)
        assert data.source.startswith("TFDS")
        assert len(data.train) == len(data.held_out) == 20
        assert len(data.test) == 100
        assert data.outputs == (1 if len(task.groups) == 2 else len(task.groups))


@pytest.mark.parametrize(
    ("name", "n", "message"),
    [
        ("mnist_even_odd", 20, "Unknown task.*mnist_odd_even"),
        ("mnist_odd_even", 21, "multiple of 2"),
        ("mnist_odd_even", 0, "multiple of 2"),
        ("mnist_10way", 25, "multiple of 10"),
        ("mnist_odd_even", 5000, "choose N up to.*make data"),
        ("cifar10_animal_vehicle", 12, "choose N up to 10.*make data"),
        ("tiny_imagenet_animal_object", 8, "choose N up to 6"),
        ("tiny_imagenet_5way", 10, "choose N up to 5"),
    ],
)
def test_bad_requests(name, n, message):
    with pytest.raises(ReconError, match=message):
        load_task(name, n, **SAMPLES)


def test_own_pictures(tmp_path, rng):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (5, 5), np.uint8)).save(tmp_path / name / f"{i}.png")
    data = load_task("pictures", 6, images=tmp_path)
    assert data.outputs == 3
    assert len(data.test) == 0
    assert data.image_shape == (5, 5, 1)
    with pytest.raises(ReconError, match="needs classes"):
        load_task("mnist_odd_even", 6, images=tmp_path)
    with pytest.raises(ReconError, match="--images"):
        load_task("pictures", 6)


def test_duplicates_are_drawn_once(tmp_path, rng):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        picture = Image.fromarray(rng.integers(0, 256, (5, 5), np.uint8))
        for i in range(4):
            picture.save(tmp_path / name / f"{i}.png")
    with pytest.raises(ReconError, match="has 1"):
        load_task("pictures", 2, images=tmp_path)


def test_targets():
    assert targets(np.array([0, 1]), 2).tolist() == [[-1], [1]]
    np.testing.assert_allclose(targets(np.array([2]), 4), [[-0.25, -0.25, 0.75, -0.25]])


def test_content_keys_order_is_the_same_for_everyone(rng):
    images = rng.integers(0, 256, (8, 2, 2, 1), np.uint8)
    assert sorted(content_keys(images)) == sorted(content_keys(images[::-1]))
