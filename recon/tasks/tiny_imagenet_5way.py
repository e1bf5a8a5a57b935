"""Tiny-ImageNet, five kinds of things, 35 of its 200 classes by WordNet id.

Five, because of five kinds the photographs that stand in for the data set hold two or more, one to train on and one to
hold out.
"""

from recon.data.tiny_imagenet_classes import ANIMALS, OBJECTS
from recon.tasks.base import Task

KINDS = {
    "bird": "albatross, black stork, goose, king penguin",
    "dog": "Chihuahua, German shepherd, Labrador retriever, Yorkshire terrier, golden retriever, standard poodle",
    "insect": "bee, cockroach, dragonfly, fly, grasshopper, ladybug, mantis, monarch, sulphur butterfly, walking stick",
    "building": "barn, beacon, cliff dwelling, thatch, water tower",
    "vehicle": "beach wagon, convertible, freight car, go-kart, limousine, moving van, police van, school bus, sports "
    "car, tractor",
}
WNIDS = {name: wnid for wnid, name in (ANIMALS | OBJECTS).items()}
TASK = Task(
    name="tiny_imagenet_5way",
    title="Tiny-ImageNet 5-way",
    dataset="tiny_imagenet",
    groups={kind: tuple(WNIDS[name] for name in names.split(", ")) for kind, names in KINDS.items()},
)
