"""CIFAR-10, ten classes."""

from recon.data.samples import CIFAR10_CLASSES
from recon.tasks.base import Task

TASK = Task(
    name="cifar10_10way",
    title="CIFAR-10 10-way",
    dataset="cifar10",
    groups={name: (name,) for name in CIFAR10_CLASSES},
    recognisable=6.0,
)
