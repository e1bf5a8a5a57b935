"""The attack exactly as published: objective, surrogate, box, optimiser and schedule (authors' code; paper, eq. 7)."""

from functools import partial

from recon.attacks.base import Attack
from recon.attacks.gradient_matching import GradientMatching, run

ATTACK = Attack("ntk", "published objective, published schedule", GradientMatching(), partial(run, "ntk"))
