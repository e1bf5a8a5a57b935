"""Tiny-ImageNet, animals (−1) against objects (+1): 59 and 117 of its 200 classes, by WordNet id.

Left out are the 24 that are neither: food and fruit, geological formations, a comic book.
"""

from recon.data.tiny_imagenet_classes import ANIMALS, OBJECTS
from recon.tasks.base import Task

TASK = Task(
    name="tiny_imagenet_animal_object",
    title="Tiny-ImageNet animal/object",
    dataset="tiny_imagenet",
    groups={"animal": tuple(ANIMALS), "object": tuple(OBJECTS)},
)
