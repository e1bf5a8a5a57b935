"""Your own pictures: a folder of class folders, each folder a class."""

from recon.tasks.base import Task

TASK = Task(name="pictures", title="own pictures", dataset=None, groups={})
