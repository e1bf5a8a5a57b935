"""Which of some images a network was trained on, by the span of the first layer's change."""

import jax
import numpy as np
import pytest

import recon
from recon import ReconError, membership
from recon.attacks.membership import COARSE, FEWEST, UNEVEN
from recon.cells.instances import Plain
from recon.cells.kinds import make
from recon.dynamics import Descent, Linearised
from tests.conftest import small_problem

N = 20


@pytest.fixture(scope="module")
def digits():
    return recon.load_task("mnist_odd_even", N, seed=3, source="samples", n_test=1)


def trained(digits, width=48, **setting):
    return Plain(width, **setting).instance(digits, seed=3)


def asked(instance, images, held_out=None, **options):
    """The test on a network; its own held-out images are the control if nothing else is said."""
    held_out = instance.held_out if held_out is None else held_out
    return membership(
        instance.before, instance.after, images, held_out, network=instance.network, state=instance.state, **options
    )


@pytest.fixture(scope="module")
def plain(digits):
    """Twenty images on 29 units: far too narrow for any search."""
    return trained(digits, width=29)


@pytest.mark.parametrize(
    "setting",
    [
        {"dynamics": Linearised()},
        {"activation": "tanh"},
        {"init_rule": "he", "depth": 1},
        {"dynamics": Descent(weight_decay=1e-3, loss=1e-3)},
        {"dynamics": Descent(optimiser="adam", learning_rate=1e-3, loss=1e-2), "with_state": True},
    ],
    ids=["linearised", "tanh", "one layer", "weight decay", "Adam's state"],
)
def test_training_images_are_members_and_others_not(digits, setting):
    instance = trained(digits, **setting)
    found = asked(instance, np.concatenate([instance.truth, instance.held_out[:5]]), instance.held_out[5:])
    assert found.answers == ("member",) * N + ("not",) * 5
    assert (found.rank, found.why) == (N, "")
    assert found.false_positives["value"] == 0 < found.false_positives["high"] < 0.25


def test_what_rounding_leaves_of_members_is_foretold(plain):
    """Within the threshold by its factors alone: the noise model is neither loose nor tight."""
    found = asked(plain, plain.truth).images
    part = found.distance / found.threshold
    assert 0.2 < part.min() < part.max() < 0.9
    assert np.median(part) * UNEVEN == pytest.approx(0.86, rel=0.1)  # a quantile that is hardly passed above it
    assert found.threshold.max() < 1e-4


def test_more_rounding_moves_members_and_thresholds_alike(plain):
    rng = np.random.default_rng(0)
    rough = jax.tree.map(lambda a: a + 1e-6 * rng.standard_normal(a.shape), plain.after)
    before, after = asked(plain, plain.truth), membership(plain.before, rough, plain.truth, plain.held_out)
    growth = after.images.distance.mean() / before.images.distance.mean()
    assert growth > 5
    assert after.images.threshold.mean() / before.images.threshold.mean() == pytest.approx(growth, rel=0.2)
    assert set(after.answers) == {"member"}


@pytest.mark.parametrize("change", ["noise", "a level", "near duplicate", "half another"])
def test_a_picture_that_differs_a_little_was_not_trained_on(plain, change):
    rng, x = np.random.default_rng(1), plain.truth
    other = {
        "noise": x + 1e-3 * rng.standard_normal(x.shape),
        "a level": x + rng.choice([-1, 0, 1], x.shape) / 255,
        "near duplicate": x + 0.01 * np.roll(x, 1, axis=2),
        "half another": (x + plain.held_out) / 2,
    }[change]
    assert set(asked(plain, other).answers) == {"not"}


def test_duplicates_are_members_and_so_are_affine_mixtures_of_members(plain):
    x = plain.truth
    mixtures = 2.5 * x - 1.5 * np.roll(x, 1, axis=0)
    assert set(asked(plain, np.concatenate([x[:3], x[:3], mixtures])).answers) == {"member"}
    assert set(asked(plain, 2.5 * x - np.roll(x, 1, axis=0)).answers) == {"multiple"}  # linear, not affine


@pytest.mark.parametrize("factor", [0.5, 0.99, 1.01])
def test_multiples_of_a_member_are_told_from_it(plain, factor):
    assert set(asked(plain, factor * plain.truth).answers) == {"multiple"}


def test_an_image_trained_on_at_two_contrasts_leaves_no_size_to_tell():
    """Its two rows hold the biases' own direction, with which every multiple of any image lies in the span."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 40))
    trained_on = np.concatenate([x[:12], 0.5 * x[:1]])
    before = {"kernel": rng.normal(size=(40, 64)), "bias": rng.normal(size=64)}
    g = rng.normal(size=(13, 64))
    after = {"kernel": before["kernel"] + trained_on.T @ g, "bias": before["bias"] + g.sum(axis=0)}
    last = {"kernel": np.ones((64, 1)), "bias": np.zeros(1)}
    trees = [jax.tree.map(np.float32, {"Dense_0": layer, "Dense_1": last}) for layer in (before, after)]
    for factor in (1.0, 0.9):
        assert set(membership(*trees, factor * x[:12], x[12:]).answers) == {"multiple"}


def test_without_biases_that_were_trained_as_the_kernel_sizes_are_not_known(digits, plain):
    kinds = [trained(digits, bias=False)]
    kinds += [make(name, digits, (48, 48), False, 3) for name in ("biases at twice the rate", "frozen biases")]
    for instance in kinds:
        assert set(asked(instance, instance.truth).answers) == {"multiple"}
        assert set(asked(instance, instance.held_out[:10], instance.held_out[10:]).answers) == {"not"}
    assert set(asked(plain, plain.truth).answers) == {"member"}


def test_nothing_is_told_of_images_that_have_fewer_dimensions_than_there_were(digits):
    """Of 7 × 7 pixels, few ever lit, all images lie in the span of the trained ones."""
    small = recon.load_task("mnist_odd_even", 60, seed=3, source="samples", n_test=1)
    instance = Plain(128, block=4).instance(small, seed=3)
    found = asked(instance, instance.truth)
    assert set(found.answers) == {"no answer"}
    assert "as many images as inputs" in found.why
    assert found.held_out.inside.mean() > 0.5


@pytest.mark.parametrize("width", [10, 16, N - 1, N, N + 1, N + 3])
def test_nothing_is_told_of_as_many_images_as_units(digits, width):
    found = asked(trained(digits, width=width), digits.train.x)
    assert set(found.answers) == {"no answer"}
    assert found.why


def test_images_that_span_all_of_their_kind_are_known_by_the_control():
    """Pictures that are mixtures of a dozen others: with more of them than that, each lies in the others' span."""
    rng = np.random.default_rng(0)
    _, before, _, y = small_problem(n=20, dim=40, widths=(64, 64))
    x = (rng.normal(size=(40, 12)) @ rng.normal(size=(12, 40))).astype(np.float32)
    after = recon.train(recon.MLP((64, 64)), before, x[:20], y, Linearised()).final.params
    alone = membership(before, after, x[:20])
    found = membership(before, after, x[:20], x[20:])
    assert found.rank == alone.rank == 12
    assert set(found.answers) == set(alone.answers) == {"no answer"}
    assert found.why.startswith("20 of 20 held-out images lie in the span, too")
    assert found.false_positives["low"] > 0.8


def test_noise_that_differs_from_step_to_step_is_no_reason_to_deny(digits):
    for linearised in (True, False):
        instance = make("noise 0.01 a step", digits, (64, 64), linearised, 3)
        assert set(asked(instance, instance.truth).answers) == {"no answer"}


def test_nothing_is_told_where_the_rank_is_not(digits):
    adam = trained(digits, dynamics=Descent(optimiser="adam", learning_rate=1e-3, loss=1e-2))
    noisy = trained(digits, noise=1e-3)
    for instance in (adam, noisy):
        found = asked(instance, instance.truth)
        assert set(found.answers) == {"no answer"}
        assert "no clear gap" in found.why


def test_a_member_needs_a_control_and_a_stranger_does_not(plain):
    both = np.concatenate([plain.truth[:2], plain.held_out[:2]])
    alone = membership(plain.before, plain.after, both)
    assert alone.answers == ("no answer",) * 2 + ("not",) * 2
    assert (alone.held_out, alone.false_positives) == (None, None)
    assert "no held-out images" in alone.why
    few = asked(plain, both, plain.held_out[2 : 1 + FEWEST])
    assert few.answers == alone.answers
    assert "too few" in few.why
    # A control that was trained on is none.
    mixed = asked(plain, both, np.concatenate([plain.held_out[2:], plain.truth[5:6]]))
    assert mixed.answers == alone.answers
    assert mixed.why.startswith(f"1 of {N - 1} held-out images lie in the span, too")


def test_a_threshold_that_lets_look_alikes_pass_makes_no_member(plain):
    rng = np.random.default_rng(0)
    scale = max(float(np.abs(a).max()) for a in plain.after["Dense_0"].values())
    rough = jax.tree.map(lambda a: a + 1e-4 * scale * rng.standard_normal(a.shape), plain.after)
    found = membership(plain.before, rough, plain.truth, plain.held_out)
    coarse = found.images.threshold > COARSE
    assert coarse.any()
    assert "member" not in np.array(found.answers)[coarse]


def test_factors_on_weights_count(digits):
    """In the NTK parametrisation biases act with a factor, which their change shows twice."""
    network = recon.MLP((48, 48), parametrisation="ntk", w_std=1.4, b_std=0.3)
    before = jax.tree.map(np.asarray, network.init(jax.random.key(0), 784))
    x = digits.train.x.reshape(N, -1)
    after = recon.train(network, before, x, digits.train.y, recon.GradientFlow()).final.params
    held_out = digits.held_out.x
    assert set(membership(before, after, x, held_out, network=network).answers) == {"member"}
    assert set(membership(before, after, x, held_out).answers) == {"multiple"}  # with other factors, other sizes


def test_what_does_not_fit_is_refused(plain):
    x = plain.truth
    with pytest.raises(ReconError, match="did not change"):
        membership(plain.before, plain.before, x)
    for images in (x[:, 1:], x[:0], np.full_like(x, np.nan), x[0].ravel()):
        with pytest.raises(ReconError, match="784 numbers each"):
            membership(plain.before, plain.after, images)
    with pytest.raises(ReconError, match="not of one shape"):
        membership(plain.before, {"Dense_0": {"kernel": np.ones((784, 16))}}, x)
    broken = jax.tree.map(lambda a: a * np.nan, plain.after)
    with pytest.raises(ReconError, match="not finite"):
        membership(plain.before, broken, x)


def test_just_off_the_span_nothing_is_told(plain):
    """Nearer than other images, farther than rounding: noise in training, or a pixel that is wrong."""
    x, other = plain.truth, plain.held_out
    found, apart = asked(plain, x).images, asked(plain, other).images.distance
    size = np.linalg.norm(x.reshape(N, -1), axis=1) / np.linalg.norm(other.reshape(N, -1), axis=1)
    for multiple, answer in ((3.0, "no answer"), (30.0, "not")):
        part = (multiple * found.threshold * size / apart)[:, None, None, None]
        assert set(asked(plain, (x + part * other).astype(np.float32)).answers) == {answer}


def test_a_gap_that_noise_has_nearly_closed_is_not_relied_on(plain):
    rng = np.random.default_rng(0)
    rough = jax.tree.map(lambda a: a + 1e-5 * rng.standard_normal(a.shape), plain.after)
    found = membership(plain.before, rough, np.concatenate([plain.truth, plain.held_out[:5]]), plain.held_out[5:])
    assert (found.rank, 4 < found.gap < 100) == (N, True)
    assert set(found.answers) == {"no answer"}


def test_images_that_left_a_faint_trace_are_not_denied():
    """Ten images with weights of 1e-4 in the change: its largest gap is between them and the others."""
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(30, 40)), np.repeat([1.0, 1e-4], 10)
    before = rng.normal(size=(40, 64))
    after = before + x[:20].T @ (weight[:, None] * rng.normal(size=(20, 64)))
    trees = [{"Dense_0": {"kernel": a}, "Dense_1": {"kernel": np.ones((64, 1))}} for a in (before, after)]
    found = membership(*trees, x[:20], x[20:])
    assert found.gap > 1000
    assert set(found.answers) == {"no answer"}
    assert "more than rounding" in found.why


def test_units_that_never_moved_are_not_counted():
    """In the NTK parametrisation with strong biases a third of the units is never active."""
    digits = recon.load_task("mnist_odd_even", N, seed=41_040, source="samples", n_test=1)
    instance = make("NTK parametrisation, b 1", digits, (64, 64), False, 41_040)
    change = instance.after["Dense_0"]["kernel"] - instance.before["Dense_0"]["kernel"]
    assert np.count_nonzero(~change.any(axis=0)) > 10
    assert set(asked(instance, instance.truth).answers) == {"member"}
