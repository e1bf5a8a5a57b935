import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import recon
from recon import ReconError, distill, load_task, loops, memory
from recon.arrays import enable_x64
from recon.distillation import class_targets, infinite_accuracy, methods
from recon.distillation.base import Problem
from recon.distillation.chosen import choose
from recon.distillation.descent import KernelDistillation, check, rows
from recon.distillation.kip import METHOD as KIP
from recon.distillation.regression import regression_loss
from recon.distillation.rkip import METHOD as RKIP
from recon.dynamics import Linearised, train
from recon.tasks import targets


def arrays(classes=2, n=24, dim=10, seed=0, noise=0.5):
    """Images of classes around a centre each, and their targets."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    group = np.arange(n) % classes
    return (centres[group] + noise * rng.normal(size=(n, dim))).astype(np.float32), targets(group, classes)


# RKIP needs more images and steps than KIP before its sets classify; KIP fits its targets alone after as many.
@pytest.mark.parametrize(
    ("method", "classes", "each", "steps"), [("kip", 2, 2, 400), ("kip", 4, 2, 400), ("rkip", 2, 5, 2000)]
)
def test_distilled_sets_classify_like_all_images(method, classes, each, steps):
    x, y = arrays(classes)
    test_x, test_y = arrays(classes, n=200, seed=1)
    found = distill((x, y), each, method=method, steps=steps, progress=False)
    full, distilled, start = (
        infinite_accuracy(images, labels, test_x, test_y)
        for images, labels in ((x, y), (found.images, found.labels), (found.start, found.labels))
    )
    assert distilled > max(start, full - 0.05)


@pytest.mark.parametrize("method", ["kip", "rkip"])
def test_result_says_what_was_done(method):
    found = distill(arrays(4), 2, method=method, steps=300, progress=False)
    assert found.images.shape == (8, 10)
    np.testing.assert_array_equal(found.labels, targets(np.repeat(np.arange(4), 2), 4))
    np.testing.assert_array_equal(found.groups, np.repeat(np.arange(4), 2))
    assert found.loss == found.trace[:, 1].min() < 0.5 * found.trace[0, 1]
    assert found.trace[-1, 0] == 299
    assert found.why == "schedule done"
    assert set(found.seconds) == {"trace", "compile", "run"}
    assert found.work["flops"] == 300 * found.work["flops_per_step"] > 0
    assert found.settings["learning_rate"] == 0.01


def test_as_many_images_as_were_trained_on_take_rkip_close_to_zero():
    x, y = arrays(n=6)
    found = distill((x, y), 3, method="rkip", progress=False)
    assert found.loss < 0.03 * found.trace[0, 1]


def test_published_settings():
    for method in (KIP, RKIP):
        settings = KernelDistillation(optimiser="adam")
        assert settings.schedule == (50_000, 1e-3, "constant")
        assert (method.settings.ridge, method.settings.x_scale, method.settings.labels) == (1e-5, 0.2, "fixed")
        kernel = method.settings.kernel
        assert (kernel.depth, kernel.w_std, kernel.b_std) == (2, 1.0, 0.0)


@pytest.mark.parametrize("labels", ["fixed", "learned"])
@pytest.mark.parametrize("optimiser", ["adam", "fast"])
def test_loop_takes_the_steps_of_adam(optimiser, labels):
    x, y = arrays(n=8)
    steps = 6
    call = {"method": "kip", "optimiser": optimiser, "labels": labels, "steps": steps, "progress": False}
    found = distill((x, y), 1, key=4, **call)
    v = {"x": 0.2 * jax.random.normal(jax.random.key(4), (2, 10)), "y": jnp.array([[-1.0], [1.0]])}
    np.testing.assert_array_equal(found.start, v["x"])
    losses, kept = [], []
    adam = optax.scale_by_adam()
    state = adam.init(v)
    for i in range(steps):
        loss, slope = jax.value_and_grad(lambda v: regression_loss(KIP.settings.kernel, 1e-5, v["x"], v["y"], x, y))(v)
        losses.append(float(loss))
        kept.append(v)
        update, state = adam.update(slope, state)
        rate = 1e-3 if optimiser == "adam" else 1e-2 * 0.5 * (1 + np.cos(np.pi * i / steps))
        moving = ("x", "y") if labels == "learned" else ("x",)
        v = {k: v[k] - rate * update[k] if k in moving else v[k] for k in v}
    np.testing.assert_allclose(found.trace[:, 1], losses, rtol=1e-4)
    best = int(np.argmin(losses))
    assert found.step == best
    np.testing.assert_allclose(found.images, kept[best]["x"], atol=1e-5)
    np.testing.assert_allclose(found.labels, kept[best]["y"], atol=1e-5)


def test_stopping_point_by_held_out_images():
    data, held_out = arrays(n=12, noise=2.0), arrays(n=60, seed=3, noise=2.0)
    call = {"method": "kip", "steps": 300, "progress": False}
    found = distill(data, 2, held_out=held_out, select="held_out", look=5, **call)
    assert found.held_out.shape == (60, 2)
    np.testing.assert_array_equal(found.held_out[:, 0], np.arange(0, 300, 5))
    assert found.step == found.held_out[found.held_out[:, 1].argmin(), 0]
    with enable_x64():
        sets = [np.float64(a) for a in (found.images, found.labels, *held_out)]
        value = float(regression_loss(KIP.settings.kernel, 1e-5, *sets))
    assert value == pytest.approx(found.held_out[:, 1].min(), rel=1e-3)
    last = distill(data, 2, held_out=held_out, **call)
    assert last.step > found.step
    assert last.held_out.shape == (0, 2)
    assert value < float(regression_loss(KIP.settings.kernel, 1e-5, last.images, last.labels, *held_out))


def test_same_seed_same_result_and_one_compilation():
    data = arrays()
    loops._compiled.cache_clear()
    a = distill(data, 2, steps=30, key=0, progress=False)
    programs = loops._compiled.cache_info().misses
    b, c = (distill(data, 2, steps=30, key=k, progress=False) for k in (0, 1))
    np.testing.assert_array_equal(a.images, b.images)
    assert np.abs(a.images - c.images).max() > 0.1
    assert loops._compiled.cache_info().misses == programs


def test_stopping():
    data, calls = arrays(), []

    def interrupt(fraction, text):
        calls.append(fraction)
        if len(calls) == 3:
            raise KeyboardInterrupt

    stopped = distill(data, 2, method="kip", optimiser="adam", progress=interrupt)
    assert stopped.interrupted
    assert 0 < stopped.steps < 50_000
    assert stopped.loss == stopped.trace[:, 1].min()
    assert np.isfinite(stopped.images).all()
    budget = distill(data, 2, method="kip", optimiser="adam", seconds=0.3, progress=False)
    assert budget.why == "time budget"
    assert 0 < budget.steps < 50_000


def test_interrupted_before_the_first_look():
    def interrupt(fraction, text):
        raise KeyboardInterrupt

    stopped = distill(arrays(), 2, progress=interrupt)
    assert stopped.interrupted
    assert stopped.steps == 1
    np.testing.assert_array_equal(stopped.images, stopped.start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "Unknown method.*rkip"),
        ({"speed": 2}, "no setting speed"),
        ({"n_per_class": 0}, "at least 1"),
        ({"select": "held_out"}, "nothing held out"),
        ({"steps": 0}, "at least one step"),
        ({"look": 0}, "between two looks"),
        ({"ridge": -1.0}, "must not be negative"),
        ({"ridge": float("nan")}, "must not be negative"),
        ({"x_scale": 0.0}, "above zero"),
        ({"learning_rate": 0.0}, "above zero"),
        ({"held_out": (np.zeros((2, 9)), np.ones((2, 1)))}, "not shaped like"),
        ({"learning_rate": 1e30, "steps": 5}, "raise the ridge or lower the rate"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bad_options_are_refused(options, message):
    with pytest.raises(ReconError, match=message):
        distill(arrays(), **{"n_per_class": 1, "progress": False, **options})


@pytest.mark.parametrize("name", ["optimiser", "labels", "select"])
def test_unknown_choices_are_refused(name):
    settings = KernelDistillation()
    object.__setattr__(settings, name, "other")  # past the tests' type check
    x, y = arrays()
    with pytest.raises(ReconError, match=f"{name} is"):
        check(settings, Problem(x, y, y))


def test_bad_arrays_are_refused():
    x, y = arrays()
    broken = x.copy()
    broken[0, 0] = np.nan
    cases = [
        ((x, y[:-1]), "must be"),
        ((x, y[:, 0]), "must be"),
        ((x[:0], y[:0]), "must be"),
        ((broken, y), "not finite"),
        ((x, np.ones_like(y)), "not those of classes"),
        ((x, np.arange(24.0)[:, None]), "not those of classes"),
        ((x, np.repeat(y, 2, axis=1)), "not those of classes"),
    ]
    for data, message in cases:
        with pytest.raises(ReconError, match=message):
            distill(data, 1, progress=False)
    with pytest.raises(ReconError, match="singular"):
        distill((np.zeros_like(x), y), 1, method="rkip", progress=False)


def test_targets_of_classes_in_the_order_of_outputs():
    np.testing.assert_array_equal(class_targets(np.array([[1.0], [-1], [1]], np.float32)), [[-1], [1]])
    y = targets(np.array([2, 0, 1, 2]), 3)
    np.testing.assert_array_equal(class_targets(y), targets(np.arange(3), 3))


def test_traces_are_thinned():
    values = np.arange(10_000.0)
    values[5] = np.nan
    found = rows(values)
    assert len(found) <= 500
    assert found[0, 0] == 0
    assert found[-1, 0] == 9999
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    assert rows(np.full(3, np.nan)).shape == (0, 2)


def test_methods_are_found_by_file():
    assert {"kip", "mmd", "rkip", "rkip-finite"} == set(methods())


def test_a_task_is_distilled_in_its_own_space():
    data = load_task("mnist_odd_even", 100, seed=0, source="samples")
    found = distill(data, 5, steps=300, progress=False)
    assert found.images.shape == (10, 28, 28, 1)
    np.testing.assert_array_equal(found.mean, data.mean)
    assert found.classes == tuple(data.task.groups)
    test = data.test
    full = infinite_accuracy(data.train.x, data.train.y, test.x, test.y)
    assert infinite_accuracy(found.images, found.labels, test.x, test.y) > full - 0.05


@pytest.mark.parametrize("method", ["rkip", "mmd"])
def test_kernel_that_no_memory_holds_is_refused_before_it_is_made(method, monkeypatch):
    monkeypatch.setattr(memory, "room", lambda: 8 << 30)
    x, y = arrays(n=100_000, dim=4)
    said = r"^The kernel of 100000 images takes \d+ GB of memory, and 8.59 GB may be used: give fewer images, or use"
    with pytest.raises(ReconError, match=said):
        distill((x, y), 2, method=method, steps=3, progress=False)
    with pytest.raises(ReconError, match=said):
        choose("largest-alpha", x, y, 2)
    with pytest.raises(ReconError, match=r"^The kernel of 100000 images takes 160 GB"):
        train(recon.MLP((4,)), recon.MLP((4,)).init(jax.random.key(0), 4), x, y[:, :1], Linearised())


def test_step_that_no_memory_holds_is_refused(monkeypatch):
    x, y = arrays(n=500)
    distill((x, y), 3, method="kip", steps=3, progress=False)
    monkeypatch.setattr(memory, "room", lambda: 1000)
    with pytest.raises(ReconError, match=r"^A step of the distillation takes .* GB of memory, .* distil fewer images"):
        distill((x, y), 4, method="kip", steps=3, progress=False)
