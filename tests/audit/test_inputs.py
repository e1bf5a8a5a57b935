"""Weights as people have them: each training below gives its images back, or the audit says why not; none is wrong.

The networks are PyTorch's by their names, layout and initialisation, trained by its SGD: full batch, momentum 0.9, at
the rate 0.02 for 200 steps unless said.
"""

import re
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.datasets import load_wine

import recon
from recon import ReconError

N, W = 10, 256
DIGITS = recon.load_task("mnist_odd_even", N, source="samples", n_test=1)
X, Y = (np.float64(a.reshape(N, -1)) for a in (DIGITS.train.x, DIGITS.train.y))
PIXELS, MEAN = np.float64(DIGITS.pixels(DIGITS.train.x)).reshape(N, -1), float(DIGITS.mean[0])
OTHERS = np.float64(DIGITS.held_out.x.reshape(N, -1))


def initial(*sizes, seed=0, biases=None, dtype=np.float32):
    """A state dictionary as PyTorch begins with; `biases` are the layers that have some, all by default."""
    rng, state = np.random.default_rng(seed), {}
    for i, (a, b) in enumerate(pairwise(sizes)):
        state[f"{2 * i}.weight"] = rng.uniform(-1, 1, (b, a)).astype(dtype) / dtype(np.sqrt(a))
        if biases is None or i in biases:
            state[f"{2 * i}.bias"] = rng.uniform(-1, 1, b).astype(dtype) / dtype(np.sqrt(a))
    return state


def gradient(state, x, delta, keep=None):
    """That of a loss whose derivative by the outputs is `delta(outputs)`; `keep` multiplies what units pass on."""
    depth = sum(name.endswith("weight") for name in state)
    h, masks, found = [x], [], {}
    for i in range(depth):
        z = h[-1] @ state[f"{2 * i}.weight"].T + state.get(f"{2 * i}.bias", 0.0)
        masks.append(((z > 0) * (1.0 if keep is None else keep(z.shape))) if i < depth - 1 else np.ones_like(z))
        h.append(z * masks[-1])
    back = delta(h[-1]) / len(x)
    for i in reversed(range(depth)):
        found[f"{2 * i}.weight"] = back.T @ h[i]
        if f"{2 * i}.bias" in state:
            found[f"{2 * i}.bias"] = back.sum(0)
        if i:
            back = back @ state[f"{2 * i}.weight"] * masks[i - 1]
    return found


def trained(state, x=X, y=Y, *, rate=0.02, momentum=0.9, steps=200, rates=None, decay=None, batch=None, view=None,
            loss=None, drop=0.0):  # fmt: skip
    """The state dictionary after training.

    Args:
      rates, decay: of some arrays, by the end of their names: their rate as a multiple, their weight decay.
      view: what a step sees of images and targets, drawn anew.
    """

    def of(options, name):
        return next((value for end, value in (options or {}).items() if name.endswith(end)), None)

    def keep(shape):
        return (rng.random(shape) >= drop) / (1 - drop)

    rng, now = np.random.default_rng(0), state
    moved = dict.fromkeys(state, 0.0)
    for _ in range(steps):
        order = rng.permutation(len(x))
        for at in np.split(order, len(x) // batch) if batch else [order]:
            seen, aim = view(x[at], y[at], rng) if view else (x[at], y[at])
            wide = {name: a.astype(np.float64) for name, a in now.items()}
            found = gradient(wide, seen, lambda out, aim=aim: (loss or np.subtract)(out, aim), keep if drop else None)
            for name, a in wide.items():
                moved[name] = momentum * moved[name] + found[name] + (of(decay, name) or 0.0) * a
                own = 1.0 if of(rates, name) is None else of(rates, name)
                wide[name] = a - rate * own * moved[name]
            now = {name: a.astype(state[name].dtype) for name, a in wide.items()}
    return now


def audited(before, after, truth=X, limit=0.1, **options):
    """An audit, none of whose certified images is wrong, nor those that it vouches for but for their brightness."""
    made = recon.audit(before, after, progress=False, **{"seconds": 10.0, **options})
    found = np.float64(made.found.images.reshape(len(made.found.images), truth.shape[1]))
    if made.found.certified is not None and len(found):
        unit = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-30)
        multiples = np.maximum(unit @ truth.T, 0)[..., None] * unit[:, None]
        near = np.linalg.norm(multiples - truth, axis=2).min(1) < limit
        assert near[made.found.up_to_scale].all()
        assert (cdist(found, truth).min(1) < limit)[made.found.certified].all()
        assert made.certified <= made.n
    return made


def given_away(made, n=N):
    return (made.n, made.certified) == (n, n)


PLAIN = initial(784, W, 1)


# Certified, and wrong.

WINE = load_wine().data[::8]  # 23 rows of 13 columns
SCALED = (WINE - WINE.mean(0)) / WINE.std(0)
LABELS = np.where(np.arange(len(WINE)) % 2, 1.0, -1.0)[:, None]


@pytest.mark.parametrize(
    ("table", "rate", "said"),
    [
        (WINE, 1e-8, "one input changes the first layer"),
        (WINE[:8], 1e-8, "one input changes the first layer"),
        (SCALED + 100, 1e-6, "more directions of the change stand clear of rounding"),
        (SCALED + 10, 1e-5, "the change fills 13 of its 14 inputs"),
        (SCALED, 0.005, "no clear gap"),
    ],
    ids=["raw", "raw, few rows", "offset 100", "offset 10", "more rows than columns"],
)
def test_tables_that_hide_their_rows(table, rate, said):
    before = initial(13, W, 1)
    made = audited(before, trained(before, table, LABELS[: len(table)], rate=rate), table, seconds=0.3)
    assert (made.certified, made.vouched) == (0, 0)
    assert said in made.verdict


def test_tables_with_constant_columns():
    table = np.c_[SCALED[:8], np.ones((8, 2)), np.zeros((8, 2))]
    before = initial(17, W, 1)
    assert given_away(audited(before, trained(before, table, LABELS[:8], rate=0.005), table, limit=0.01), 8)


@pytest.mark.parametrize("said", [True, False])
def test_pixels_up_to_255(said):
    x = np.rint(255 * PIXELS)
    units = {"mean": 0.0, "std": 1 / 255} if said else {}
    made = audited(PLAIN, trained(PLAIN, x, rate=1e-7), x, limit=25.5, **units)
    assert made.vouched == N
    assert made.certified >= (N - 1 if said else 0)


@pytest.mark.parametrize("said", [True, False])
def test_raw_pixels_without_biases(said):
    before = initial(784, W, 1, biases=())
    made = audited(before, trained(before, PIXELS, rate=0.005), PIXELS, **({"mean": 0.0, "std": 1.0} if said else {}))
    assert made.vouched == N
    assert made.certified == (N if said else 0)
    assert not np.any(np.ptp(made.found.images.reshape(N, -1), axis=1) == 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rates": {"0.bias": 0.0}}, "no first bias that was trained as the kernel was"),
        ({"rates": {"bias": 2.0}}, "only the first biases' change tells the size"),
        ({"rates": {"0.bias": 0.1}}, "only the first biases' change tells the size"),
        ({"decay": {"weight": 1e-2}, "momentum": 0.9, "rate": 0.02}, "weight decay shows in the first kernel"),
    ],
    ids=["frozen", "double rate", "tenth of the rate", "decay on kernels only"],
)
def test_first_biases_that_were_trained_otherwise(options, said):
    after = trained(PLAIN, **{"rate": 0.01, "momentum": 0.0, "steps": 300, **options})
    made = audited(PLAIN, after)
    assert (made.vouched, made.certified) == (N, 0)
    assert said in made.verdict
    told = audited(PLAIN, after, mean=MEAN, std=1.0)  # pixels tell, of all but those of few greys
    assert told.vouched == N
    assert told.certified >= N - 1


# Missed.


@pytest.mark.parametrize("sizes", [(784, W, 1), (784, W, W, 1)], ids=["one hidden layer", "two"])
@pytest.mark.parametrize("seed", [1, 2])
def test_plain_networks_at_an_ordinary_rate(sizes, seed):
    before = initial(*sizes, seed=seed)
    assert given_away(audited(before, trained(before)))


@pytest.mark.parametrize(
    ("rows", "n"), [([0], 1), ([0, 1, 9], 3), ([0] * 11, 1), ([0, 1, 9, 0, 1], 3)], ids=["1", "3", "copies", "twice"]
)
def test_few_images_and_copies(rows, n):
    assert given_away(audited(PLAIN, trained(PLAIN, X[rows], Y[rows])), n)


@pytest.mark.parametrize("dead", ["inactive", "of zero weights"])
def test_a_federated_round_from_a_trained_network_with_dead_units(dead):
    sent = trained(PLAIN, OTHERS)
    sent["0.weight"][:60] *= 0 if dead == "of zero weights" else 1
    sent["0.bias"][:60] = 0 if dead == "of zero weights" else -100
    assert given_away(audited(sent, trained(sent, rate=1e-3, momentum=0.0, steps=5)))


def test_one_step_of_float64_at_a_rate_too_small_for_float32():
    before = initial(784, W, 1, dtype=np.float64)
    after = trained(before, rate=1e-8, steps=1)
    assert given_away(audited(before, after))
    assert given_away(audited(before, None, gradient={name: before[name] - after[name] for name in before}))
    # Float32 keeps next to nothing of such a step.
    single = audited(*({name: array.astype(np.float32) for name, array in file.items()} for file in (before, after)))
    assert single.certified == 0
    assert "what rounding to float32 leaves" in single.verdict


@pytest.mark.parametrize("batch", [2, 5])
def test_minibatches(batch):
    assert given_away(audited(PLAIN, trained(PLAIN, batch=batch, steps=50)))


@pytest.mark.parametrize(
    ("initial_type", "final_type", "kept"),
    [
        (np.float16, np.float16, True),
        (np.float32, np.float16, True),
        (ml_dtypes.bfloat16, ml_dtypes.bfloat16, False),
    ],
    ids=["float16", "float16 at the end", "bfloat16"],
)
def test_rounded_files(initial_type, final_type, kept):
    before, after = (
        {name: a.astype(kind).astype(np.float32) for name, a in state.items()}
        for state, kind in ((PLAIN, initial_type), (trained(PLAIN), final_type))
    )
    made = audited(before, after, attack="exact")
    assert given_away(made) == kept
    assert kept or "look rounded to 8 significant bits, as bfloat16" in made.verdict


@pytest.mark.parametrize("biases", [(0,), (1,), (0, 2)])
def test_biases_in_some_layers(biases):
    before = initial(784, W, W, 1, biases=biases)
    made = audited(before, trained(before, rate=0.005))
    assert (made.vouched, made.certified) == (N, N if 0 in biases else 0)


@pytest.mark.parametrize("offset", [0.0, MEAN], ids=["centred", "raw"])
def test_images_of_one_class_with_one_label(offset):
    many = recon.load_task("mnist_10way", 200, source="samples", n_test=1).train
    x = np.float64(many.x.reshape(200, -1))[np.flatnonzero(many.labels == 3)[:N]] + offset
    assert given_away(audited(PLAIN, trained(PLAIN, x, np.ones((N, 1))), x))


def noise(x, y, rng):
    return x + 0.05 * rng.normal(size=x.shape), y


def mixup(x, y, rng):
    share, other = rng.beta(1, 1, (len(x), 1)), rng.permutation(len(x))
    return share * x + (1 - share) * x[other], share * y + (1 - share) * y[other]


def cut_out(x, y, rng):
    x = x.reshape(-1, 28, 28).copy()
    for image, (i, j) in zip(x, rng.integers(0, 20, (len(x), 2)), strict=True):
        image[i : i + 8, j : j + 8] = 0
    return x.reshape(len(x), -1), y


def crops(x, y, rng):
    moved = [np.roll(image, by, (0, 1)) for image, by in zip(x.reshape(-1, 28, 28), rng.integers(-2, 3, (len(x), 2)))]
    return np.stack(moved).reshape(len(x), -1), y


def flips(x, y, rng):
    x = x.reshape(-1, 28, 28)
    return np.where(rng.random((len(x), 1, 1)) < 0.5, x, x[:, :, ::-1]).reshape(len(x), -1), y


@pytest.mark.parametrize(
    ("view", "said"),
    [(noise, "not the same in every step"), (mixup, "the search found"), (cut_out, "no clear gap|the rank is"),
     (crops, "no clear gap|the rank is")],
)  # fmt: skip
def test_images_that_change_from_step_to_step(view, said):
    after = trained(PLAIN, view=view, rate=0.005, steps=150)
    made = audited(PLAIN, after, attack="exact", m=N, seconds=1.0)
    assert (made.certified, made.vouched) == (0, 0)
    assert any(words in made.verdict for words in said.split("|"))


def test_flipped_images_come_back_as_two():
    both = np.vstack([X, X.reshape(N, 28, 28)[:, :, ::-1].reshape(N, -1)])
    assert given_away(audited(PLAIN, trained(PLAIN, view=flips, rate=0.005), both), 2 * N)


# Units.


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ({"mean": 0.0, "std": 1.0}, "lie outside the box of the pixels: the mean or the std may be wrong"),
        ({"mean": MEAN, "std": 2.0}, "the std is wrong by that factor"),
    ],
)
def test_a_wrong_mean_or_std_is_named(units, said):
    made = audited(PLAIN, trained(PLAIN), **units)
    assert (made.vouched, made.certified) == (N, 0)
    assert said in made.verdict


UNITS = {
    "255": lambda x: 255 * (x + MEAN),
    "half": lambda x: (x + MEAN - 0.5) / 0.5,
    "ImageNet": lambda x: (x + MEAN - 0.485) / 0.229,
    "inverted": lambda x: 1 - x - MEAN,
    "transposed": lambda x: x.reshape(-1, 28, 28).swapaxes(1, 2).reshape(len(x), -1),
}


@pytest.mark.parametrize("change", UNITS.values(), ids=UNITS)
def test_images_given_in_other_units_are_no_strangers(change):
    made = audited(PLAIN, trained(PLAIN), data=change(X), held_out=change(OTHERS))
    assert given_away(made)
    assert f"in other units or another order than the network's inputs: all {N} are within" in made.verdict
    assert f"{N} were not; images in other units or another order than the network's inputs count as" in made.verdict


# What does not belong together.


def test_units_in_another_order_and_weights_of_another_seed():
    after = trained(PLAIN)
    order = np.random.default_rng(0).permutation(W)
    mixed = {name: a[order] if name.startswith("0") else a[:, order] if a.ndim > 1 else a for name, a in after.items()}
    for before, last in ((PLAIN, mixed), (initial(784, W, 1, seed=9), after)):
        made = audited(before, last, seconds=1.0)
        assert made.vouched == 0
        assert "look like two different networks" in made.verdict
    assert audited(after, PLAIN).vouched == N  # the change but for its sign


@pytest.mark.parametrize("whole", [True, False], ids=["units", "weights"])
def test_pruned_weights_are_refused_and_removed_units_are_not(whole, rng):
    after = trained(PLAIN)
    gone = np.arange(W) < 60
    zero = np.where(gone[:, None] if whole else rng.random(after["0.weight"].shape) < 0.3, 0, after["0.weight"])
    with pytest.raises(
        ReconError, match=r"% of the final weights in 0\.weight are zero, as pruning or coarse rounding"
    ):
        audited(PLAIN, {**after, "0.weight": zero})
    small = [
        {name: a[~gone] if name.startswith("0") else a[:, ~gone] if a.ndim > 1 else a for name, a in state.items()}
        for state in (PLAIN, after)
    ]
    assert audited(*small).vouched == N
    with pytest.raises(ReconError, match=r"initial weights are of mlp:256 from 784 to 1, the final weights of mlp:196"):
        audited(PLAIN, small[1])


@pytest.mark.parametrize("size", [1e13, 1e19, 1e30])
def test_weights_of_a_diverged_network_are_refused_by_audit_and_attack_alike(size):
    after = {name: np.float32(size) * a / np.abs(a).max() for name, a in PLAIN.items()}
    said = re.escape(f"The final weights are as large as {size:.2g}: give those of a network that computes.")
    with pytest.raises(ReconError, match=said):
        audited(PLAIN, after)
    trees = [
        {f"Dense_{i}": {"kernel": state[f"{2 * i}.weight"].T, "bias": state[f"{2 * i}.bias"]} for i in range(2)}
        for state in (PLAIN, after)
    ]
    for attack in ("exact", "ntk-fast", "hybrid"):
        with pytest.raises(ReconError, match=said):
            recon.reconstruct(*trees, attack=attack, m=2, progress=False)


@pytest.mark.parametrize("inputs", [1, 2, 3, 4])
def test_networks_of_few_inputs(inputs, rng):
    before, x = initial(inputs, W, 1), rng.normal(size=(8, inputs))
    assert audited(before, trained(before, x, Y[:8]), x, seconds=0.3).vouched == 0
    if inputs > 1:
        assert given_away(audited(before, trained(before, x[:1], Y[:1]), x, limit=0.01), 1)


# What was right all along.


def test_dropout_label_smoothing_and_one_step_of_cross_entropy():
    assert audited(PLAIN, trained(PLAIN, drop=0.5, rate=0.005)).vouched == N
    assert audited(PLAIN, trained(PLAIN, y=0.9 * Y)).vouched == N

    def cross_entropy(outputs, target):
        e = np.exp(outputs - outputs.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True) - target

    ten = initial(784, W, 10)
    after = trained(ten, PIXELS, np.eye(10)[np.arange(N)], loss=cross_entropy, rate=0.1, steps=1)
    made = audited(ten, after, PIXELS, mean=0.0, std=1.0)
    assert made.vouched == N
    assert made.certified >= N - 1


def test_arrays_of_other_orders_and_byte_orders():
    def stored(state):
        return {name: np.asfortranarray(a.astype(">f4")) for name, a in state.items()}

    assert given_away(audited(stored(PLAIN), stored(trained(PLAIN))))
