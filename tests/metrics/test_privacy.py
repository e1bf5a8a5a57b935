import itertools
import math

import numpy as np
import pytest
from dp_accounting import gaussian_mechanism
from scipy.stats import norm

from recon.metrics.privacy import epsilon, gaussian_epsilon, noise_multiplier, prior_success, reconstruction_bound


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 4.0, 30.0])
def test_gaussian_epsilon_solves_the_definition(mu):
    """δ(ε) = sup over events of P(E) − e^ε Q(E), by quadrature over where the density ratio exceeds e^ε."""
    eps = gaussian_epsilon(mu, 1e-5)
    z = np.linspace(eps / mu + mu / 2, eps / mu + mu / 2 + 12, 200_001)  # N(μ, 1) over N(0, 1) is e^ε from here on
    delta = np.trapezoid(norm.pdf(z, mu) - np.exp(eps + norm.logpdf(z)), z)
    assert delta == pytest.approx(1e-5, rel=1e-4)
    assert gaussian_mechanism.get_epsilon_gaussian(1 / mu, 1e-5) == pytest.approx(eps, rel=1e-6)


def test_no_privacy_spent_where_delta_alone_pays():
    assert gaussian_epsilon(1e-6) == 0.0


@pytest.mark.parametrize("steps", [1, 100])
@pytest.mark.parametrize("eps", [0.5, 1.0, 10.0, 1e3, 1e6])
def test_accountant_agrees_with_the_closed_form_of_full_batches(eps, steps):
    sigma = noise_multiplier(eps, steps)
    assert gaussian_epsilon(math.sqrt(steps) / sigma) == pytest.approx(eps, rel=2e-3)  # of four digits of σ
    # Rényi accounting is an upper bound; its conversion loses most where ε is small.
    assert eps * (1 - 1e-3) < epsilon(sigma, steps) < 1.25 * eps


def test_sampling_amplifies():
    everything, sampled = epsilon(1.0, 10), epsilon(1.0, 10, sampling_rate=0.1)
    assert 0 < sampled < everything / 2
    assert epsilon(0.0) == math.inf
    assert noise_multiplier(math.inf) == 0.0


def success_of_best_guess(candidates, sigma, rng, draws=200_000):
    """How often the likeliest of equally likely candidates is the true one, which no attacker exceeds."""
    truth = rng.integers(len(candidates), size=draws)
    seen = candidates[truth] + sigma * rng.normal(size=(draws, candidates.shape[1]))
    likelihood = seen @ candidates.T - 0.5 * np.sum(candidates**2, axis=1)
    return float(np.mean(likelihood.argmax(axis=1) == truth))


@pytest.mark.parametrize("mu", [0.2, 1.0, 2.5])
def test_bound_is_reached_by_two_opposite_gradients(rng, mu):
    found = success_of_best_guess(np.array([[1.0], [-1.0]]), 1 / mu, rng)
    assert found == pytest.approx(reconstruction_bound(0.5, mu), abs=4 * 0.5 / math.sqrt(200_000))


@pytest.mark.parametrize(("k", "mu"), list(itertools.product([3, 10], [0.3, 1.0, 2.0])))
def test_bound_is_above_the_best_guess_of_a_finite_prior(rng, k, mu):
    """Gradients of length 1 in all directions, T = 4 steps of a Gaussian seen as one: the mean of four."""
    candidates = np.eye(k) - 1 / k
    candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)  # a simplex: as far apart as k can be
    found = success_of_best_guess(candidates, math.sqrt(4) / (2 * mu), rng)
    bound = reconstruction_bound(1 / k, mu)
    assert 1 / k < found < bound + 4 * 0.5 / math.sqrt(200_000)
    assert found > 1 / k + 0.4 * (bound - 1 / k)  # a bound that says something


def test_bound_at_its_ends():
    assert reconstruction_bound(0.1, 0.0) == pytest.approx(0.1)
    assert reconstruction_bound(0.1, math.inf) == reconstruction_bound(1.0, 0.3) == 1.0


def test_prior_success_is_above_every_choice_of_guesses(rng):
    x = np.concatenate([rng.normal(size=(6, 2)) * 0.3, rng.normal(size=(6, 2)) + 4])
    distances = np.linalg.norm(x[:, None] - x, axis=2)
    for guesses in (1, 2, 3):
        bound = prior_success(distances, 0.4, guesses)
        grid = np.stack(np.meshgrid(*[np.linspace(-2, 7, 25)] * 2), axis=-1).reshape(-1, 2)
        near = np.linalg.norm(grid[:, None] - x, axis=2) <= 0.4
        near = np.unique(near, axis=0)
        best = max(np.any(near[list(c)], axis=0).mean() for c in itertools.combinations(range(len(near)), guesses))
        assert best <= bound
    assert prior_success(distances, 0.4, 12) == pytest.approx(1.0)
    assert prior_success(distances, 1e-9, 3) == pytest.approx(3 / 12)  # apart from each other, a guess hits one
