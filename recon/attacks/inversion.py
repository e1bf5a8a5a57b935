"""Images of given features: what goes into a network's convolutions, found from what comes out of them.

With kinks smoothed the distance of the features is descended from noise, in all images at once. Where that ends most
pixels are right, and a patch here or there is in another linear piece: its pixels are drawn anew, where the features
are farthest off, until all fit. Then Gauss and Newton's steps solve for the pixels exactly, as features are linear in
them once it is known which units are active.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float
from scipy import linalg, optimize, sparse
from scipy.sparse import linalg as sparse_linalg

from recon.arrays import Tensor
from recon.attacks.first_layer.certificate import box_width
from recon.attacks.first_layer.linear import TINY
from recon.loops import compiled
from recon.networks import Params
from recon.networks.conv import patches
from recon.networks.conv_dense import ConvDense
from recon.progress import Report

# Of the Adam of a descent: its rate (in widths of the box), falling to zero as a cosine, and sharpness of kinks (for
# features of rms 1), first, at the start of repairs, and last. Of 40 digits through two 3 × 3 convolutions all were
# then right but in a corner and a spot.
STEPS, REPAIR_STEPS, RATE = 1000, 200, 0.05
SHARPNESS, REPAIR_SHARPNESS, SHARPEST = 1.5, (15.0, 75.0), 150.0
NOISE = 0.1  # of the pixels that a descent starts from, in widths of the box
PATIENCE = 10  # rounds of repairs in which no image came nearer, after which there are no more
CANDIDATES = 64  # squares that are drawn for each repair, of which the one with the nearest features is descended from
NEWTON_STEPS, LSMR_STEPS = 20, 2000  # of a finish, and of LSMR in each
GAIN = 1e-3  # of the squared distance, that a step must be worth
WORTH = 1.5  # times the least squared distance so far, up to which the end of a descent is finished
# Largest distance of one feature, in standard deviations of the features' noise, up to which an image has the features
# asked for: of 40 digits those that were right had at most 27, those with a wrong spot 64 and more.
MATCHED = 40.0
# Largest entry of noise in its standard deviations: up to 8.5 of 1,568. A bound takes the noise for as large as that of
# the features that are off.
PEAK = 8.0
MARGIN = 3.0  # standard deviations of the noise that a bound allows for
SURPLUS = 8  # features that are not zero beyond the pixels inside the box
HELD = 1e-10  # of the largest eigenvalue of what pixels at an end can do, below which one is none


class Step(NamedTuple):
    """A convolution and the pooling after it, as matrices on flattened images in float64.

    Attributes:
      kernel: (outputs, inputs).
      bias: of each output.
      pool: means over squares, (pooled, outputs), or None.
      shape: (h, w, c) after it.
    """

    kernel: Any
    bias: Float[np.ndarray, " o"]
    pool: Any
    shape: tuple[int, ...]


def matrix(
    kernel: Float[np.ndarray, "side side c o"], shape: tuple[int, ...], stride: int, padded: bool
) -> tuple[Any, tuple[int, ...]]:
    """A convolution without bias as a sparse matrix, and the shape of its result.

    Args:
      shape: (h, w, c) of its input.
    """
    side, out = kernel.shape[0], kernel.shape[3]
    # Patches of the pixels' own numbers, from 1: what pads the edges is the pixel of number 0, which is dropped.
    pixels = np.arange(1.0, 1 + np.prod(shape), dtype=np.float32).reshape(1, *shape)  # exact up to 2²⁴
    index = np.asarray(patches(pixels, side, stride, padded), int)[0]
    a, b, size = index.shape
    full = a * b, out, size
    columns = np.broadcast_to(index.reshape(a * b, 1, size), full)
    values = np.broadcast_to(np.asarray(kernel, np.float64).reshape(size, out).T, full)
    starts = np.arange(0, a * b * out * size + 1, size)
    made = sparse.csr_matrix((values.ravel(), columns.ravel(), starts), shape=(a * b * out, 1 + int(np.prod(shape))))
    made = made[:, 1:]
    made.eliminate_zeros()
    return made, (a, b, out)


@dataclass(frozen=True, eq=False)
class Convolutions:
    """The convolutions of a network with their weights.

    Attributes:
      network: the architecture.
      params: weights.
      shape: of an image.
    """

    network: ConvDense
    params: Params
    shape: tuple[int, ...]

    @cached_property
    def steps(self) -> list[Step]:
        """Each convolution as a matrix."""
        made, shape = [], self.shape
        for i, (stride, padded, side) in enumerate(self.network.convolutions):
            layer, pool = self.params[f"Conv_{i}"], None
            kernel, shape = matrix(layer["kernel"], shape, stride, padded)
            bias = np.tile(np.asarray(layer.get("bias", np.zeros(shape[2])), np.float64), shape[0] * shape[1])
            if side > 1:
                means = np.broadcast_to(np.eye(shape[2]) / side**2, (side, side, shape[2], shape[2]))
                pool, shape = matrix(means, shape, side, padded=False)
            made.append(Step(kernel, bias, pool, shape))
        return made

    @property
    def grid(self) -> tuple[int, ...]:
        """Features' (rows, columns, channels)."""
        return self.steps[-1].shape

    @property
    def reach(self) -> int:
        """Side of the square of pixels that a feature depends on."""
        side, apart = 1, 1
        for stride, _, pool in self.network.convolutions:
            side += (self.network.size - 1) * apart
            apart *= stride
            side += (pool - 1) * apart
            apart *= pool
        return side

    def all_features(self, x: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "k f"]:
        """Features of many images, in float32."""
        made = _features(self.network, self.kernels, x.astype(np.float32).reshape(-1, *self.shape))
        return np.asarray(made, np.float64)

    @property
    def kernels(self) -> Params:
        """Weights of the convolutions alone."""
        return {name: layer for name, layer in self.params.items() if name.startswith("Conv_")}

    def features(self, x: Float[np.ndarray, " d"]) -> Float[np.ndarray, " f"]:
        """Features of one image."""
        return self.linear(x, derivative=False)[0]

    def linear(self, x: Float[np.ndarray, " d"], derivative: bool = True) -> tuple[Float[np.ndarray, " f"], Any]:
        """Features of one image, and their derivative as a sparse matrix (f, d): that of its own linear piece."""
        units, total = self.network.units, None
        h: Any = x
        for kernel, bias, pool, _ in self.steps:
            z = kernel @ h + bias
            h = units.value(z)
            taken = pool
            if pool is not None and self.network.down == "max":
                index = pool.indices.reshape(pool.shape[0], -1)
                rows = np.arange(len(index))
                best = index[rows, h[index].argmax(1)]
                taken = sparse.csr_matrix((np.ones(len(index)), (rows, best)), shape=pool.shape)
            if derivative:
                slope = sparse.diags(units.slope(z)) @ kernel
                slope = slope if taken is None else taken @ slope
                total = slope if total is None else slope @ total
            h = h if taken is None else taken @ h
        return h, total


@partial(jax.jit, static_argnums=0)
def _features(network: ConvDense, params: Params, x: Tensor) -> Tensor:
    return network.features(params, x)


class Box(NamedTuple):
    """Least and greatest value of each pixel, flattened; infinite where nothing is known."""

    low: Float[np.ndarray, " d"]
    high: Float[np.ndarray, " d"]

    @classmethod
    def of(cls, sides: tuple[Any, Any] | None, shape: tuple[int, ...]) -> "Box":
        """A problem's box for images of a shape."""
        low, high = (-np.inf, np.inf) if sides is None else sides
        return cls(*(np.broadcast_to(np.asarray(side, np.float64), shape).ravel() for side in (low, high)))

    @property
    def known(self) -> bool:
        """Whether it bounds anything."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    @property
    def width(self) -> float:
        """Of the box, the rms where it is not the same for all; 1 where nothing is known."""
        return box_width(self.low, self.high) if self.known else 1.0

    def noise(self, rng: np.random.Generator, count: int) -> Float[np.ndarray, "k d"]:
        """Images to start from."""
        return np.clip(NOISE * self.width * rng.standard_normal((count, len(self.low))), *self)

    def within(self, x: Float[np.ndarray, "k d"]) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
        """Its ends, where nothing is known those of the images x."""
        return np.where(np.isfinite(self.low), self.low, x.min()), np.where(np.isfinite(self.high), self.high, x.max())


def moved_by_noise(
    convolutions: Convolutions,
    x: Float[np.ndarray, " d"],
    h: Float[np.ndarray, " f"],
    noise: float,
    box: Box,
) -> float:
    """L2 distance to the image x* of the features h without their noise, at most; infinite where h tells of none.

    In x's own linear piece J(x − x*) = r + ε, with r = φ(x) − h and ε the noise. Pixels inside the box have to be told
    by J of full column rank, with more equations than pixels: else another piece might have an image with these
    features as well. Pixels at an end of the box move inwards only, d ≥ 0. A y at right angles to all that pixels
    inside can do, with yᵀJ_b ≥ 1 for each pixel b at an end, shows that Σ d_b ≤ yᵀ(r + ε): a certificate of Farkas.
    """
    now, slope = convolutions.linear(x)
    rest = now - h
    noise = max(noise, float(np.abs(rest).max()) / PEAK)
    at_low, at_high = x <= box.low, x >= box.high
    end = at_low | at_high
    inside = slope[:, ~end]
    count = inside.shape[1]
    if np.count_nonzero(np.diff(slope.indptr)) < count + SURPLUS:
        return np.inf
    edge = slope[:, end] @ sparse.diags(np.where(at_low, 1.0, -1.0)[end])
    gram = (inside.T @ inside).toarray()
    try:
        root = linalg.cholesky(gram, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return np.inf
    back = linalg.solve_triangular(root, np.eye(count), lower=True, check_finite=False)
    size = float(np.linalg.norm(back))  # its square is the trace of the inverse
    moved = MARGIN * noise * size + float(np.linalg.norm(back.T @ (back @ (inside.T @ rest))))
    if not end.any():
        return moved
    cross = (inside.T @ edge).toarray()
    drawn = back.T @ (back @ cross)  # how pixels inside make up for one at an end
    outer = (edge.T @ edge).toarray() - cross.T @ drawn
    weights = positive(outer)
    told = outer @ weights
    if told.min() <= 0:
        return np.inf
    y = (edge @ weights - inside @ (drawn @ weights)) / told.min()
    inwards = abs(float(y @ rest)) + MARGIN * noise * float(np.linalg.norm(y))
    return moved + inwards * (1 + float(np.linalg.norm(drawn, axis=0).max()))


def positive(gram: Float[np.ndarray, "b b"]) -> Float[np.ndarray, " b"]:
    """Weights with gram @ weights of one or more, of least length in that metric, if there are any."""
    values, vectors = linalg.eigh(gram)
    root = np.sqrt(np.maximum(values, HELD * max(values[-1], TINY)))
    # min ½ wᵀKw − 1ᵀw over w ≥ 0 as non-negative least squares, K = AᵀA and Aᵀb = 1.
    factor = root[:, None] * vectors.T
    try:
        weights: np.ndarray = optimize.nnls(factor, vectors.T.sum(1) / root)[0]
    except RuntimeError:  # out of iterations: none were found
        return np.zeros(len(gram))
    return weights


class Inverted(NamedTuple):
    """Images of features.

    Attributes:
      x: images, flattened.
      worst: largest distance of one feature from the one asked for, in standard deviations of the noise.
      interrupted: Ctrl-C: these are the best so far.
    """

    x: Float[np.ndarray, "k d"]
    worst: Float[np.ndarray, " k"]
    interrupted: bool = False

    @property
    def matched(self) -> Bool[np.ndarray, " k"]:
        """Which have the features asked for."""
        return self.worst < MATCHED


def inverted(
    convolutions: Convolutions,
    h: Float[np.ndarray, "k f"],
    noise: float,
    box: Box,
    repairs: int,
    rng: np.random.Generator,
    report: Report,
) -> Inverted:
    """Images with the features h, or as near to them as was found.

    Args:
      noise: standard deviation of what is wrong with a feature.
      repairs: rounds at most, after the descents from noise.
    """
    k = len(h)
    x = box.noise(rng, k)
    unit = 1 / (float(np.sqrt(np.mean(h * h))) + TINY) if k else 1.0
    rest, worst = np.full(k, np.inf), np.full(k, np.inf)
    idle, interrupted = 0, False
    try:
        for cycle in range(repairs + 1):
            left = np.flatnonzero(worst > MATCHED)
            if not len(left) or idle == PATIENCE:
                break
            idle += 1
            # As many tries for each as there is room for.
            which = left if not cycle else np.resize(left, k)
            if not cycle:
                start, sharpness, steps = x, SHARPNESS, STEPS
            else:
                start = redrawn(convolutions, x[which], h[which], box, rng)
                sharpness, steps = float(np.exp(rng.uniform(*np.log(REPAIR_SHARPNESS)))), REPAIR_STEPS
            ends = descended(convolutions, start, (sharpness * unit, SHARPEST * unit), h[which], box, steps)
            gone = np.sum((convolutions.all_features(ends) - h[which]) ** 2, axis=1)
            for i in left:
                mine = np.flatnonzero(which == i)
                best = mine[gone[mine].argmin()]
                if gone[best] > WORTH * rest[i]:
                    continue
                end = solved(convolutions, ends[best], h[i], box)
                away = np.abs(convolutions.features(end) - h[i])
                if away @ away < 0.99 * rest[i]:
                    idle = 0
                    x[i], rest[i], worst[i] = end, away @ away, away.max() / noise
            report((cycle + 1) / (repairs + 1), f"{int((worst < MATCHED).sum())} of {k} images have their features")
    except KeyboardInterrupt:
        interrupted = True
    return Inverted(x, worst, interrupted)


def redrawn(
    convolutions: Convolutions,
    x: Float[np.ndarray, "k d"],
    h: Float[np.ndarray, "k f"],
    box: Box,
    rng: np.random.Generator,
) -> Float[np.ndarray, "k d"]:
    """Images with a square of pixels drawn anew where their features are far from h: of many draws the nearest."""
    rows, columns, _ = shape = convolutions.shape
    a, b, c = convolutions.grid
    low, high = (side.reshape(shape) for side in box.within(x))
    reach = convolutions.reach
    far = np.sum(((convolutions.all_features(x) - h) ** 2).reshape(len(x), a * b, c), axis=2)
    made = []
    for image, target, share in zip(x.reshape(-1, *shape), h, far / far.sum(1, keepdims=True), strict=True):
        place = np.divmod(rng.choice(a * b, p=share), b)
        middle = (np.array(place) + 0.5) * (rows / a, columns / b) + rng.uniform(-reach / 2, reach / 2, 2)
        side = rng.integers(2, max(3, reach))
        top, left = np.clip(middle - side / 2, 0, np.array((rows, columns)) - 1).astype(int)
        square = np.s_[top : top + side, left : left + side]
        many = np.repeat(image[None], CANDIDATES, axis=0)
        level, spread = rng.random((2, CANDIDATES, 1, 1, 1))
        drawn = level + spread**2 * rng.uniform(-1, 1, many[:, *square].shape)
        many[:, *square] = low[square] + (high - low)[square] * np.clip(drawn, 0, 1)
        many = many.reshape(CANDIDATES, -1)
        made.append(many[np.sum((convolutions.all_features(many) - target) ** 2, axis=1).argmin()])
    return np.array(made)


def descent(
    network: ConvDense,
    start: Tensor,
    sharpness: Tensor,
    params: Params,
    h: Tensor,
    box: tuple[Tensor, Tensor],
    rate: Tensor,
    steps: Tensor,
) -> Tensor:
    """Adam on the squared distance of features, kinks growing sharp, pixels held in their box."""
    adam = optax.adam(1.0, eps=1e-12)
    first, last = sharpness

    def loss(x: Tensor, sharpness: Tensor) -> Tensor:
        return jnp.sum((network.features(params, x, network.units.smoothed(sharpness), sharpness) - h) ** 2)

    def step(i: Tensor, state: Any) -> Any:
        x, moments = state
        done = i / steps
        move, moments = adam.update(jax.grad(loss)(x, first * (last / first) ** done), moments)
        return jnp.clip(x + rate * (1 + jnp.cos(jnp.pi * done)) / 2 * move, *box), moments

    x: Tensor = jax.lax.fori_loop(0, steps, step, (start, adam.init(start)))[0]
    return x


def descended(
    convolutions: Convolutions,
    start: Float[np.ndarray, "k d"],
    sharpness: tuple[float, float],
    h: Float[np.ndarray, "k f"],
    box: Box,
    steps: int,
) -> Float[np.ndarray, "k d"]:
    """Where descents end, in float32."""
    k, shape = len(start), convolutions.shape
    images, targets = (a.astype(np.float32) for a in (start.reshape(k, *shape), h))
    sides = tuple(side.reshape(shape).astype(np.float32) for side in box)
    arguments = (
        images,
        np.array(sharpness, np.float32),
        convolutions.kernels,
        targets,
        sides,
        np.float32(RATE * box.width),
        steps,
    )
    program = compiled(
        descent, convolutions.network, *arguments, what="A step of the inversion of features", fix="fewer images"
    )
    return np.asarray(program.run(*arguments), np.float64).reshape(k, -1)


def solved(
    convolutions: Convolutions, x: Float[np.ndarray, " d"], h: Float[np.ndarray, " f"], box: Box
) -> Float[np.ndarray, " d"]:
    """Gauss and Newton's steps from one image, pixels held in their box."""
    now, slope = convolutions.linear(x)
    for _ in range(NEWTON_STEPS):
        rest = h - now
        pull = slope.T @ rest
        free = ~(((x <= box.low) & (pull < 0)) | ((x >= box.high) & (pull > 0)))
        move = np.zeros(len(x))
        move[free] = sparse_linalg.lsmr(slope[:, free], rest, atol=1e-10, btol=1e-10, maxiter=LSMR_STEPS)[0]
        for part in (1.0, 0.5, 0.25, 0.1):
            there = np.clip(x + part * move, *box)
            new = convolutions.features(there)
            if np.sum((h - new) ** 2) < (1 - GAIN) * (rest @ rest):
                break
        else:
            return x
        x = there
        now, slope = convolutions.linear(x)
    return x
