"""CIFAR-10, animals (−1) against vehicles (+1)."""

from recon.tasks.base import Task

TASK = Task(
    name="cifar10_animal_vehicle",
    title="CIFAR-10 animal/vehicle",
    dataset="cifar10",
    groups={
        "animal": ("bird", "cat", "deer", "dog", "frog", "horse"),
        "vehicle": ("airplane", "automobile", "ship", "truck"),
    },
    recognisable=6.0,
)
