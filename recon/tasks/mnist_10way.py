"""MNIST, ten digits."""

from recon.tasks.base import Task

TASK = Task(
    name="mnist_10way", title="MNIST 10-way", dataset="mnist", groups={d: (d,) for d in "0123456789"}, recognisable=2.5
)
