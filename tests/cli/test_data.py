"""`recon data`."""

import numpy as np
import pytest
from typer.testing import CliRunner

import recon.data
from recon.cli.commands import app
from recon.data import ImageSet
from recon.errors import ReconError


@pytest.mark.parametrize("there", ["tiny_imagenet", "mnist", ""])
def test_sets_that_are_there_are_shown_beside_those_that_are_not(monkeypatch, tmp_path, there):
    def load_images(name, split, **where):
        if name != there:
            raise ReconError(f"{name} is not prepared: prepare it.")
        return ImageSet(np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4, np.int64), ("a",), "its place")

    monkeypatch.setattr(recon.data, "load_images", load_images)
    done = CliRunner().invoke(app, ["data", "show", "--data-dir", str(tmp_path)], env={"COLUMNS": "200"})
    if not there:
        assert str(done.exception) == "mnist is not prepared: prepare it."
        return
    assert done.exit_code == 0
    assert "its place" in done.stdout
    assert "cifar10 is not prepared" in done.stdout
