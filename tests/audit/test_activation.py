"""Which activation a network has: told, or found by what explains the change of the weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recon
from recon.attacks.base import Problem
from recon.attacks.first_layer.activation import NEAR, at_point, trial
from recon.auditing import save
from recon.auditing.activation import asked, tell
from recon.networks import named

N, W = 8, 192


@pytest.fixture(scope="module")
def digits():
    return recon.load_task("mnist_odd_even", N, seed=3, source="samples", n_test=1)


def trained(activation, digits, steps=1, eta=0.02, widths=(W,)):
    """Weights before and after steps of plain descent; the activations are JAX's own, not this package's."""
    own = {"gelu": lambda z: jax.nn.gelu(z, approximate=False), "leaky_relu": lambda z: jax.nn.leaky_relu(z, 0.01)}
    units = own.get(activation) or getattr(jax.nn, activation)
    x, y = digits.train.x.reshape(N, -1), digits.train.y.reshape(N, -1)
    first = recon.MLP(widths, init_rule="uniform").init(jax.random.key(1), x.shape[1])

    def outputs(params):
        h = x
        for i in range(len(widths)):
            h = units(h @ params[f"Dense_{i}"]["kernel"] + params[f"Dense_{i}"]["bias"])
        last = params[f"Dense_{len(widths)}"]
        return h @ last["kernel"] + last["bias"]

    step = jax.jit(jax.grad(lambda p: jnp.sum((outputs(p) - y) ** 2)))
    last = first
    for _ in range(steps):
        last = jax.tree.map(lambda a, g: a - eta * g, last, step(last))
    return [jax.tree.map(np.asarray, tree) for tree in (first, last)]


def problem(pair):
    return Problem(recon.MLP((W,)), *pair, (784,), None, False, 1)


@pytest.mark.parametrize(("activation", "others"), [("gelu", ("relu", "tanh")), ("leaky_relu", ("relu",))])
def test_the_right_activation_alone_explains_one_step(activation, others, digits):
    pair = trained(activation, digits)
    for name in (activation, *others):
        found = trial(problem(pair), name, key=0)
        assert found.right is (name == activation)
        assert found.activation == named(name).name


def test_gradients_of_a_few_steps_are_taken_on_the_way(digits):
    """Those of five equal steps were at 0, 0.2, ..., 0.8 of the way: at 0.4 on average."""
    found = trial(problem(trained("gelu", digits, steps=5, eta=1e-3)), "gelu", key=0)
    assert found.right
    assert abs(found.along - 0.4) < 0.02
    whole = problem(trained("gelu", digits))
    half = at_point(whole, 0.5)
    assert half.linearised
    for name in whole.params0:
        np.testing.assert_allclose(half.change[name]["kernel"], whole.change[name]["kernel"], atol=1e-6)
        middle = (whole.params0[name]["kernel"] + whole.params1[name]["kernel"]) / 2
        np.testing.assert_allclose(half.params0[name]["kernel"], middle, atol=1e-6)


def test_auto_finds_the_activation_and_says_how(digits, tmp_path):
    made = recon.audit(*trained("gelu", digits), data=digits.train.x, progress=False)
    assert made.network.activation == "gelu"
    assert made.vouched == made.train.within == N
    assert dict(made.activation.vouched) == {"relu": 0, "gelu": N}
    assert [one.activation for one in made.activation.trials if one.near] == ["gelu"]
    assert "The hidden units are gelu: of the activations tried" in made.verdict
    save(made, tmp_path)
    assert "gelu, as the change tells" in (tmp_path / "report.md").read_text()
    assert '"known": "as the change tells"' in (tmp_path / "report.json").read_text()


@pytest.mark.parametrize("wrong", ["relu", "tanh"])
def test_a_wrong_activation_vouches_for_nothing(wrong, digits, monkeypatch):
    monkeypatch.setattr("recon.auditing.run.add_stage", lambda ran, *_, **__: ran)  # no gradient attack
    monkeypatch.setattr("recon.auditing.run.TRIES", 1)
    made = recon.audit(*trained("gelu", digits), activation=wrong, progress=False)
    assert made.network.activation == wrong
    assert made.vouched == 0
    assert "as told" in made.verdict


def test_told_after_few_steps_it_is_attacked_on_the_way(digits):
    pair = trained("gelu", digits, steps=5, eta=2e-4)
    made = recon.audit(*pair, activation="gelu", data=digits.train.x, progress=False)
    assert made.vouched == made.train.within == N


def test_one_gradient_of_smooth_units_comes_back(digits):
    before, after = trained("silu", digits, eta=1.0, widths=(W, 64))
    made = recon.audit(before, gradient=jax.tree.map(np.subtract, before, after), data=digits.train.x, progress=False)
    assert made.network.activation == "silu"
    assert made.train.within == N


def test_relu_is_tried_first_and_alone_where_it_is_right(digits):
    made = recon.audit(*trained("relu", digits), progress=False)
    assert (made.network.activation, made.vouched, made.activation.trials) == ("relu", N, ())


def test_no_activation_explains_full_training(digits):
    pair = trained("tanh", digits, steps=300, eta=2e-3)
    common = {"network": recon.MLP((W,)), "gradient": None, "box": None, "state": None, "linearised": False}
    names = ("relu", "gelu", "tanh", "sigmoid")
    trials = tell(*pair, names, 0, None, {**common, "image_shape": (784,)})
    assert len(trials) == len(names)
    assert min(one.residual for one in trials) > NEAR


def test_in_the_ntk_parametrisation_too(digits):
    network = recon.MLP((W,), activation="gelu", parametrisation="ntk", w_std=1.4, b_std=0.3)
    before = jax.tree.map(np.asarray, network.init(jax.random.key(0), 784))
    x, y = digits.train.x.reshape(N, -1), digits.train.y.reshape(N, -1)
    slope = jax.grad(lambda p: jnp.sum((network.apply(p, x) - y) ** 2))(before)
    after = jax.tree.map(lambda a, g: np.asarray(a - 0.1 * g), before, slope)
    told = recon.audit(before, after, network=network, data=digits.train.x, progress=False)
    assert told.network == network
    assert told.vouched == told.train.within == N
    untold = dataclasses.replace(network, activation="relu")
    assert recon.audit(before, after, network=untold, activation="gelu", progress=False).vouched == N


def test_activations_that_are_none_are_refused():
    with pytest.raises(recon.ReconError, match="activation"):
        asked("swish", None)
    assert asked("leaky_relu", None) == "leaky_relu:0.01"
    assert asked("auto", recon.MLP((8,), activation="tanh")) == "tanh"
    assert asked("auto", (8, 8)) == "auto"


def test_what_a_file_tells_of_the_units_counts(tmp_path, digits):
    first = trained("gelu", digits)[0]
    recon.save_weights(tmp_path / "model.safetensors", first)
    told = tmp_path / "config.json"
    told.write_text('{"hidden_act": "gelu_new"}')
    assert asked("auto", None, tmp_path) == "gelu"
    told.write_text('{"hidden_act": "relu6"}')
    with pytest.raises(recon.ReconError, match=r"hidden units are 'relu6'.* say --activation"):
        asked("auto", None, tmp_path)
    assert asked("relu", None, tmp_path) == "relu"


def test_where_no_search_applies_the_rest_is_answered_all_the_same(digits):
    """A sum of gradients over steps, of smooth units: what was used is known by the span."""
    before, after = trained("tanh", digits)
    state = jax.tree.map(np.subtract, before, after)
    options = {"data": digits.train.x, "held_out": digits.held_out.x, "progress": False}
    made = recon.audit(before, after, optimizer_state=state, activation="tanh", attack="auto", seconds=5.0, **options)
    assert made.membership.images.inside.all()
    assert not made.membership.held_out.inside.any()
    assert made.stages[0].why == "no attack applies"
    assert not made.vouched
