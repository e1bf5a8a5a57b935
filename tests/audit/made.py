"""Audits made up of given reconstructions, without an attack."""

import dataclasses

import jax
import numpy as np

import recon
from recon.attacks import Reconstruction
from recon.auditing.data import Images, compare
from recon.auditing.result import Audit
from recon.auditing.verdict import verdict
from recon.auditing.view import View
from recon.weights import arranged


def images(x, pixels=False):
    """Images with numbers for names."""
    return Images(np.asarray(x, np.float32), tuple(map(str, range(len(x)))), pixels)


def audit_of(found, view=None, train=None, held_out=None, certified=True, **changes):
    """The audit that found such images; `train` and `held_out` are `Images` to compare them with."""
    found = np.asarray(found, np.float32)
    n = len(found)
    attack = Reconstruction("exact", found, found[:1], np.zeros((0, 2)), 0, "complete",
                            certified=np.full(n, certified), confidence=np.full(n, float(certified)),
                            n_estimated=n)  # fmt: skip
    network = recon.MLP((8 * max(n, 1),))
    params = jax.tree.map(np.asarray, network.init(jax.random.key(0), int(np.prod(found.shape[1:]))))
    arrays = {f"{layer}/{part}": a for layer, parts in params.items() for part, a in parts.items()}
    made = Audit(network, arranged(arrays), view or View(found.shape[1:]), attack, ("exact",), **changes)
    limit = 1e-3 if made.features else 0.1
    sides = {"train": train, "held_out": held_out}
    made = dataclasses.replace(made, **{
        side: None if x is None else compare(x, found, limit, made.features, made.up_to_scale)
        for side, x in sides.items()
    })  # fmt: skip
    return dataclasses.replace(made, verdict=verdict(made))
