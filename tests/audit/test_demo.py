"""The demonstration: an audit that needs no files, and the command that repeats it."""

import json
import shlex

import numpy as np
from PIL import Image


def test_the_demonstration_can_be_audited_again(command, tmp_path, optimised):
    done = command("audit", "--demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first = json.loads((tmp_path / ".recon/audit/report.json").read_text())
    assert (first["n"], first["certified"]) == (20, 20)
    assert (first["train"]["within"], first["held_out"]["within"]) == (20, 0)
    # The pictures are the ones that came back: digits of 8 bits, dark at the edge.
    pictures = [np.asarray(Image.open(file)) for file in sorted((tmp_path / ".recon/audit/demo/train").iterdir())]
    with np.load(tmp_path / ".recon/audit/reconstructions.npz") as made:
        images = 255 * (made["images"][..., 0] + first["view"]["mean"][0])
    assert len(pictures) == 20
    assert all(np.abs(images - picture).max(axis=(1, 2)).min() < 1 for picture in pictures)
    (again,) = [line for line in done.stdout.splitlines() if line.startswith("recon audit --init")]
    done = command(*shlex.split(again)[1:], "--out", "again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    second = json.loads((tmp_path / "again" / "report.json").read_text())
    assert (second["n"], second["certified"]) == (20, 20)


def test_the_demonstration_takes_no_files(command, tmp_path):
    done = command("audit", "--demo", "--init", tmp_path / "init.npz", "--out", tmp_path)
    assert done.returncode == 1
    assert "leave out the files, or --demo" in " ".join(done.stderr.split())
    nothing = command("audit", "--out", tmp_path, "--seed", "1")
    assert nothing.returncode == 1
    assert "--demo for a first look" in " ".join(nothing.stderr.split())
