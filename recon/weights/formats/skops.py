"""skops' .skops: scikit-learn's objects as a tree in JSON beside their arrays. No class that it names is imported."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from recon import reading
from recon.errors import ReconError
from recon.reading import JSON_LIMIT, LIMIT
from recon.weights.formats.base import LINEAR, TABLE, Arrays, Format, leaves, members, refuse_packed

SCHEMA = "schema.json"
# Attributes of scikit-learn's networks and of their optimisers that are read, and what the latter are called here.
WEIGHTS = ("coefs_", "intercepts_")
MOMENTS = {"ms": "mu", "vs": "nu", "velocities": "trace"}
WORDS = {"logistic": "sigmoid", "identity": LINEAR}  # activations, where scikit-learn calls them otherwise
Tree = Any


def plain(node: Tree) -> Tree:
    """A tree of skops' nodes without them: mappings, lists, values in JSON; of an array its member's name, a `Path`."""
    if not isinstance(node, Mapping):
        return None
    content = node.get("content")
    if node.get("type") == "numpy" and isinstance(node.get("file"), str):
        return Path(node["file"])
    if node.get("is_json") and isinstance(content, str):
        return content
    if isinstance(content, list):
        return [plain(one) for one in content]
    if not isinstance(content, Mapping):
        return None
    if "__loader__" in content:
        return plain(content)  # an object, by its attributes
    return {key: plain(value) for key, value in content.items()}


def networks(tree: Tree, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects in a tree that have a network's weights, such as a pipeline's last step, with their places."""
    if isinstance(tree, Mapping) and set(WEIGHTS) <= tree.keys():
        yield where, tree
    elif isinstance(tree, Mapping | list):
        for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from networks(value, f"{where}{key}/")


def found(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """The networks of a file.

    Raises:
      ReconError: there is none.
    """
    with reading.archive(path, LIMIT, TABLE) as archive:
        tree = plain(msgspec.json.decode(reading.member(archive, SCHEMA, JSON_LIMIT)))
    own = list(networks(tree))
    if not own:
        raise ReconError(f"{path} holds no trained network: save an MLPClassifier or MLPRegressor that was fitted.")
    return own


def read(path: Path) -> Arrays:
    """The networks' weights and their optimisers' moments."""
    refuse_packed(path)
    own = found(path)
    names: dict[str, str] = {}
    for where, network in own:
        top = where if len(own) > 1 else ""
        optimiser = network.get("_optimizer")
        parts = {word: network[word] for word in WEIGHTS}
        parts |= {f"opt_state/{MOMENTS[k]}": v for k, v in (optimiser or {}).items() if k in MOMENTS}
        names |= {f"{top}{name}": leaf.name for name, leaf in leaves(parts) if isinstance(leaf, Path)}
    arrays = reading.arrays(path, LIMIT, TABLE, set(names.values()))
    return {name: arrays[file.removesuffix(".npy")] for name, file in names.items()}


def activation(path: Path) -> str | None:
    """As the network's own parameter tells."""
    told = {str(json.loads(network.get("activation", "null"))) for _, network in found(path)}
    return " and ".join(sorted(WORDS.get(word, word) for word in told))


def holds(path: Path, head: bytes) -> bool:
    """A zip with a member of that name."""
    return SCHEMA in members(path, head)


FORMAT = Format("skops", (".skops",), holds, read, activation)
