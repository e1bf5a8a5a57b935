"""MNIST, even (−1) against odd (+1) digits."""

from recon.tasks.base import Task

TASK = Task(
    name="mnist_odd_even",
    title="MNIST odd/even",
    dataset="mnist",
    groups={"even": ("0", "2", "4", "6", "8"), "odd": ("1", "3", "5", "7", "9")},
    recognisable=2.5,
)
