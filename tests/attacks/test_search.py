"""The exact attack's search: which ways there are, whose turn it is, what is accepted, doubted and inferred."""

import dataclasses
import time

import numpy as np
import pytest

from recon import ReconError
from recon.attacks import exact
from recon.attacks.first_layer import search
from recon.attacks.first_layer.flops import Count
from recon.attacks.first_layer.linear import normalised
from recon.attacks.first_layer.patterns import Patterns
from recon.attacks.first_layer.settings import Exact
from recon.attacks.first_layer.tangent import Tangent
from recon.attacks.first_layer.vectors import judged
from recon.attacks.first_layer.zeros import Zeros
from recon.dynamics import Linearised
from tests.attacks.test_exact import DIM, WIDTH, N, problem_of, trained

BOX = (np.array(-9, np.float32), np.array(9, np.float32))


@pytest.fixture(scope="module")
def linearised():
    return trained(Linearised())


def ways(problem):
    seen = exact.observed(problem)
    return [type(way) for kind in exact.SEARCHES if (way := kind.on(seen, problem)) is not None]


def test_each_search_says_where_it_is_possible(linearised):
    boxed = problem_of(linearised, box=BOX)
    assert ways(boxed) == ways(problem_of(linearised)) == [Tangent, Patterns]
    moved = dataclasses.replace(boxed, linearised=False)
    assert ways(moved) == [Tangent, Zeros, Patterns]
    assert ways(dataclasses.replace(boxed, state=boxed.change)) == [Zeros, Patterns]
    first = {"params0": {"Dense_0": boxed.params0["Dense_0"]}, "params1": {"Dense_0": boxed.params1["Dense_0"]}}
    assert ways(dataclasses.replace(boxed, **first)) == [Patterns]
    # Where gradients moved, only units that vanish tell of an image, and a layer above must tell of activations.
    for activation in ("gelu", "leaky_relu:0.2"):
        other = dataclasses.replace(boxed.network, activation=activation)
        assert ways(dataclasses.replace(boxed, network=other)) == [Tangent]
        assert ways(dataclasses.replace(moved, network=other)) == []


@pytest.mark.parametrize("options", [{}, {"loose": True}, {"tangent": False}], ids=str)
def test_loose_and_without_tangent_it_is_by_the_first_layers_patterns_alone(linearised, monkeypatch, options):
    used = []
    for kind in (Tangent, Patterns):
        real = kind.vectors

        def spied(self, state, count, real=real):
            used.append(type(self))
            return real(self, state, count)

        monkeypatch.setattr(kind, "vectors", spied)
    linearised.attack(box=BOX, **options)
    assert (set(used) == {Patterns}) if options else (used[0] is Tangent)


def test_loose_searches_as_ever_where_no_unit_vanishes():
    """As the audit's second try does: the first layer's patterns tell nothing of such networks."""
    instance = trained(Linearised(), activation="gelu", widths=(96, 96))
    assert instance.attack(loose=True).certified.all()
    with pytest.raises(ReconError, match="gelu networks"):
        instance.attack(tangent=False)


def test_a_crowded_layer_without_another_search_is_said_and_no_mistake(linearised):
    crowded = trained(Linearised(), widths=(28, 28))  # 12 images: too many for patterns
    assert ways(problem_of(crowded)) == [Tangent]
    found = crowded.attack(loose=True)
    assert (found.why, len(found.images)) == ("too few units", 0)


class Planned(Patterns):
    """A search that finds nothing, and counts how often it is asked."""

    turns = 0

    def vectors(self, state, count):
        object.__setattr__(self, "turns", self.turns + 1)
        state.starts += count
        return state.found


def state_of(instance, **settings):
    seen = exact.observed(problem_of(instance))
    return search.State(seen, Exact(**settings), (DIM,), np.random.default_rng(0), Count(), time.perf_counter())


def right(instance, state):
    c = np.c_[np.float64(instance.x), np.ones(N)] @ state.seen.u
    return judged(state.seen, normalised(c), normalised(np.linalg.inv(c).T * state.seen.s))


def test_the_search_that_found_most_of_late_has_the_turn_and_others_get_theirs(linearised):
    state = state_of(linearised)
    better, worse = Planned(), Planned()
    state.yields = {better: 0.9, worse: 0.5}
    turns = []
    for _ in range(6):
        search.search_once(state)
        turns.append((better.turns, worse.turns))
    assert turns[0] == (1, 0)
    assert turns[1] == (1, 1)  # nothing came of the first
    assert min(turns[-1]) >= 2  # and neither is forgotten
    assert state.batches == state.dry == 6


def test_what_a_dry_batch_leads_to(linearised):
    state = state_of(linearised, patience=3, starts=100)
    whole = right(linearised, state)
    state.found = state.top = whole.take(np.arange(N - 1))
    told = []
    for state.dry in range(4):
        told.append((state.one_to_infer, state.stuck, state.over))
    assert told == [
        (False, False, ""),
        (True, False, ""),
        (False, True, ""),
        (True, False, "nothing more found"),
    ]
    state.dry, state.starts = 1, 100
    assert state.over == "out of starts"
    state.top = whole.take(np.arange(N - 2))
    assert not state.one_to_infer
    # Less agreement is asked for with each dry batch, and the fewer are found.
    few, state.dry = state.least_agreement, 0
    assert state.least_agreement == pytest.approx(few + search.LENIENCE)
    state.found = whole.take(np.arange(2))
    expected = 1 - state.seen.slack - search.MISLABELLED * (N - 2) / WIDTH
    assert state.least_agreement == pytest.approx(expected)
    assert dataclasses.replace(state, settings=Exact(agreement=0.99)).least_agreement == 0.99 > expected


def test_the_last_image_follows_from_the_others(linearised):
    state = state_of(linearised)
    whole = right(linearised, state)
    state.top = whole.take(np.arange(N - 1))
    made = search.last(state)
    assert abs(made.q[0] @ whole.q[-1]) > 0.999
    assert abs(made.c[0] @ whole.c[-1]) > 0.999


def test_a_failed_joint_step_doubts_more_each_time(linearised):
    state = state_of(linearised)
    state.yields = {Patterns(): 0.0}
    wrong = right(linearised, state)
    q = np.random.default_rng(3).normal(size=wrong.q.shape)
    wrong = dataclasses.replace(wrong, q=normalised(q))
    left = []
    for state.inferred in (True, False, False):
        state.found = wrong
        assert not search.solve_together(state)
        left.append(len(state.found))
        assert state.top is state.found
    assert left[0] > left[1] >= left[2] >= N - N // search.MOST_DOUBTED
    assert state.dry == 1  # what was inferred in vain counts as a batch that found nothing
    assert not state.inferred
    state.found = right(linearised, state)
    assert search.solve_together(state)


@pytest.mark.parametrize("inferred", [False, True])
def test_an_inferred_last_image_is_looked_for_in_the_others(linearised, monkeypatch, inferred):
    real, asked = exact.search, []

    def planted(state, report):
        why = real(state, report)
        state.inferred = inferred
        return why

    def all_but_one(seen, found):
        asked.append(len(found))
        return np.arange(len(found)) > 0

    monkeypatch.setattr(exact, "search", planted)
    monkeypatch.setattr(exact, "leaked", all_but_one)
    found = linearised.attack()
    assert asked == [N] * inferred
    assert found.certified.sum() == (1 if inferred else N)
