"""Audits over training: resumed after a kill, told apart by bytes, options and code, shown as a table and a plot."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import recon
from recon import ReconError
from recon.auditing.checkpoints import (
    DONE,
    Course,
    Row,
    audit_checkpoints,
    checkpoints_in,
    digest,
    digest_of_weights,
    finished,
    keep,
    steps,
)
from recon.auditing.pipeline import unanswered
from tests.audit.made import audit_of
from tests.audit.training import checkpoints
from tests.weights import written

N = 20
STEPS = (0, 2, 300)


@pytest.fixture(scope="module")
def digits():
    return recon.load_task("mnist_odd_even", N, seed=0, source="samples", n_test=1)


@pytest.fixture(scope="module")
def made(digits, tmp_path_factory):
    """A folder with initial weights and a run of training as training scripts leave it."""
    folder = tmp_path_factory.mktemp("made")
    x = digits.train.x.reshape(N, -1).astype(np.float64)
    (folder / "run").mkdir()
    for step, weights in zip(STEPS, checkpoints(x, digits.train.y, STEPS), strict=True):
        np.savez(folder / "run" / f"step-{step}.npz", **weights)
    shutil.copy(folder / "run" / "step-0.npz", folder / "init.npz")
    (folder / "run" / "settings.json").write_text("{}")
    np.savez(folder / "train.npz", x=x)
    np.savez(folder / "other.npz", x=digits.held_out.x.reshape(N, -1))
    return folder


def words(folder, out):
    given = {"init": "init.npz", "checkpoints": "run", "data": "train.npz", "heldout": "other.npz"}
    return ["audit", *(w for k, v in given.items() for w in (f"--{k}", str(folder / v))), "--out", str(out)]


def times(out):
    """When each checkpoint was finished."""
    return {file.parent.name: file.stat().st_mtime_ns for file in out.glob(f"*/{DONE}")}


def rows_of(out):
    return [*csv.DictReader((out / "checkpoints.csv").read_text().splitlines())]


def test_each_checkpoint_is_audited_once(command, made, tmp_path):
    folder, out = shutil.copytree(made, tmp_path / "made"), tmp_path / "out"
    done = command(*words(folder, out))
    assert done.returncode == 0, done.stderr
    rows = rows_of(out)
    assert [(row["checkpoint"], row["step"]) for row in rows] == [(f"step-{s}.npz", str(s)) for s in STEPS[1:]]
    assert all(row["images by the rank"] == str(N) for row in rows)
    assert [int(row["certified"]) for row in rows] == [0, N]  # outputs confirm brightness at the end alone
    assert all(row["vouched for"] == str(N) for row in rows)
    # What the table says is what the reports say, and what NumPy finds in the arrays.
    x = np.load(folder / "train.npz")["x"]
    for row in rows:
        own = out / row["checkpoint"]
        report = json.loads((own / "report.json").read_text())
        assert (str(report["certified"]), str(report["train"]["within"])) == (row["certified"], row["within the limit"])
        with np.load(own / "reconstructions.npz") as found:
            images = found["images"][found["certified"]].reshape(-1, x.shape[1])
            near = np.linalg.norm(images[:, None] - x, axis=-1).min(1)
        assert len(images) == int(row["certified"])
        assert (near < 0.1).all()
    assert "step-300.npz/report.md" in (out / "checkpoints.md").read_text()
    with Image.open(out / "checkpoints.png") as picture:
        assert picture.width > 500
    first = times(out)
    again = command(*words(folder, out))
    assert "2 of these were audited before" in again.stdout
    assert times(out) == first
    # Other bytes: that checkpoint alone. Other options: that, too.
    with np.load(folder / "run" / "step-2.npz") as weights:
        changed = dict(weights)
    changed["fc2.bias"] = changed["fc2.bias"] + np.float32(1e-4)
    np.savez(folder / "run" / "step-2.npz", **changed)
    command(*words(folder, out))
    second = times(out)
    assert {name for name in second if second[name] != first[name]} == {"step-2.npz"}
    (folder / "run" / "step-300.npz").unlink()
    command(*words(folder, out), "--limit", "0.2")
    assert times(out)["step-2.npz"] != second["step-2.npz"]


def test_a_kill_loses_the_checkpoint_in_work_alone(command, made, tmp_path):
    out = tmp_path / "out"
    run = [sys.executable, "-m", "recon", *words(made, out)]
    process = subprocess.Popen(run, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    while not times(out) and time.monotonic() - began < 120:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = times(out)
    assert len(kept) == 1
    done = command(*words(made, out))
    assert done.returncode == 0, done.stderr
    assert "1 of these were audited before" in done.stdout
    assert times(out).items() >= kept.items()
    assert len(times(out)) == len(rows_of(out)) == 2


def test_an_interrupt_keeps_what_is_done(made, tmp_path):
    out = tmp_path / "out"
    run = [sys.executable, "-m", "recon", *words(made, out)]
    process = subprocess.Popen(run, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not times(out) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "finished checkpoints are kept" in told
    assert len(rows_of(out)) == 1


def test_an_interrupt_while_defences_are_measured_leaves_no_row(made, tmp_path, monkeypatch):
    monkeypatch.setattr("recon.auditing.defences.updated", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    (tmp_path / "run").mkdir()
    shutil.copy(made / "run" / "step-300.npz", tmp_path / "run")
    course = audit_checkpoints(made / "init.npz", tmp_path / "run", tmp_path / "out", progress=False, defences=True)
    assert course.interrupted
    assert course.rows == ()
    assert not times(tmp_path / "out")


def test_what_cannot_be_audited_is_a_row_that_says_why(command, made, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(made / "run" / "step-300.npz", tmp_path / "run" / "step-300.npz")
    (tmp_path / "run" / "step-9.pt").write_bytes(b"\x80\x02pickled")
    (tmp_path / "run" / "step-20.npz").write_bytes(b"PK and nothing else")
    out = tmp_path / "out"
    given = ["audit", "--init", made / "init.npz", "--checkpoints", tmp_path / "run", "--out", out]
    done = command(*given, "--fail-on", "certified")
    assert done.returncode == 3
    rows = rows_of(out)
    assert [row["step"] for row in rows] == ["9", "20", "300"]
    assert "is a pickle" in rows[0]["note"]
    assert "holds no weights" in rows[1]["note"]
    assert command(*given).returncode == 1  # a checkpoint that nobody looked into is no good news
    (tmp_path / "run" / "step-300.npz").unlink()
    assert command(*given, "--fail-on", "certified").returncode == 1


def test_which_paths_are_checkpoints(tmp_path):
    with pytest.raises(ReconError, match="give a folder of checkpoints"):
        checkpoints_in(tmp_path / "absent")
    with pytest.raises(ReconError, match="holds no file of weights"):
        checkpoints_in(tmp_path)
    for name in ("model-10.safetensors", "model-9.safetensors", "log.txt", ".model-3.safetensors.tmp"):
        (tmp_path / name).touch()
    for name in ("checkpoint-100/model.safetensors", "checkpoint-20/model.safetensors", "logs/events.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    names = [path.name for path in checkpoints_in(tmp_path)]
    assert names == ["checkpoint-20", "checkpoint-100", "model-9.safetensors", "model-10.safetensors"]
    (tmp_path / "model.safetensors.index.json").touch()
    with pytest.raises(ReconError, match="one set of weights in parts"):
        checkpoints_in(tmp_path)


@pytest.mark.parametrize("place", [".", "checkpoint-1", "checkpoint-1/audit"])
def test_reports_do_not_lie_among_the_checkpoints(tmp_path, place):
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / "model.safetensors").touch()
    with pytest.raises(ReconError, match="give --out a folder of its own"):
        audit_checkpoints(tmp_path / "init.npz", tmp_path, tmp_path / place)


def test_reports_beside_the_checkpoints_are_none(tmp_path):
    for name in ("step-1.safetensors", "audit/step-1.safetensors/audited.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in checkpoints_in(tmp_path)] == ["step-1.safetensors"]


def test_bytes_beside_the_file_given_count(tmp_path, rng):
    kernels = [rng.normal(size=shape).astype(np.float32) for shape in ((6, 4), (4, 1))]
    index, part, graph = (tmp_path / name for name in ("m.safetensors.index.json", "m-1.safetensors", "m.onnx"))
    index.write_text(json.dumps({"weight_map": {"fc0.weight": part.name, "fc1.weight": part.name}}))

    def digests(factor):
        """Of the files given, and of what an audit reads of them."""
        layers = [factor * kernel for kernel in kernels]
        save_file({f"fc{i}.weight": np.ascontiguousarray(kernel.T) for i, kernel in enumerate(layers)}, part)
        written.onnx(graph, [(kernel, None) for kernel in layers], outside=True)
        return [digest(path) for path in (index, graph)], [digest_of_weights(path) for path in (index, graph)]

    (files, before), (same, after) = digests(np.float32(1)), digests(np.float32(2))
    assert files == same
    assert all(a != b for a, b in zip(before, after, strict=True))
    (tmp_path / "config.json").write_text('{"hidden_act": "gelu"}')  # read beside the index
    assert digest_of_weights(index) != after[0]
    assert digest_of_weights(graph) == after[1]


@pytest.mark.parametrize(("names", "expected"), [
    (("epoch2-step20.npz", "epoch2-step40.npz"), [20, 40]),
    (("a.npz", "b.npz"), [1, 2]),
    (("run-1.npz", "last.npz"), [1, 2]),
    (("w1_v2.npz", "w2_v2.npz"), [1, 2]),
])  # fmt: skip
def test_steps_of_names(names, expected):
    assert steps([Row(name) for name in names]) == expected


def test_a_question_without_an_answer_is_kept_for_a_pipeline(rng, tmp_path):
    nothing = audit_of(rng.normal(size=(5, 12)), certified=False)
    row = keep(nothing, "step-1.npz", "key", tmp_path)
    assert finished(tmp_path, "key") == row
    refused = {name: Course((row,)).checked(tmp_path, name)[0].refused for name in ("member", "certified")}
    assert refused == {"member": unanswered(nothing)["member"], "certified": ""}


def test_options_that_do_not_fit(command, made, tmp_path):
    done = command("audit", "--init", made / "init.npz", "--checkpoints", made / "run", "--final", made / "init.npz",
                   "--out", tmp_path)  # fmt: skip
    assert done.returncode == 1
    assert "--checkpoints takes the place of --final" in " ".join(done.stderr.split())


def test_a_fault_of_all_is_an_error_and_no_table(command, made, tmp_path):
    (tmp_path / "init.pt").write_bytes(b"\x80\x02pickled")
    out = tmp_path / "out"
    done = command("audit", "--init", tmp_path / "init.pt", "--checkpoints", made / "run", "--out", out)
    assert done.returncode == 1
    assert "init.pt is a pickle" in " ".join(done.stderr.split())
    assert not out.exists()
