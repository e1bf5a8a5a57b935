"""The command line as a user meets it: in a process of its own where that or its signals are the point."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import typer

from recon.benchmark import benchmarks
from recon.cli.commands import app
from recon.cli.options import Draw
from recon.records import Store, Stored, code_version, library_versions
from tests.conftest import ROOT, processor_time

ALONE = ["--source", "samples", "--jobs", "1"]  # cells are computed by the process that runs the command
ATTACK = ["attack", "--source", "samples", "--n", "6", "--width", "32"]


@pytest.fixture(autouse=True)
def pictures_of_packages_only(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))


@pytest.fixture
def checkout(tmp_path):
    """A folder with the project's benchmarks and no results."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "benchmarks").symlink_to(ROOT / "benchmarks")
    return tmp_path / "work"


@pytest.fixture
def recon(command, checkout):
    """Runs `recon` in the checkout, by this process."""
    return partial(command, cwd=checkout)


def test_help_is_quick_and_loads_nothing_heavy(checkout):
    script = "import sys; sys.argv = ['recon', '--help']\ntry:\n import recon.cli; recon.cli.main()\nfinally:\n"
    script += (
        " print([m for m in ('jax', 'tensorflow', 'neural_tangents', 'matplotlib', 'skimage') if m in sys.modules])"
    )
    with processor_time() as spent:
        done = subprocess.run([sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True)
    assert spent.seconds < 2
    assert done.stdout.strip().endswith("[]")
    assert "reproduce" in done.stdout


def test_commands_are_listed_in_the_order_in_which_one_needs_them():
    commands = [*typer.main.get_command(app).commands]
    assert commands[:6] == ["list", "attack", "audit", "doctor", "reproduce", "plot"]
    assert commands.index("report") < commands.index("check") < commands.index("cache")


def test_options_without_a_value_show_none():
    """`<bool>` beside a flag would ask for a word behind it."""
    commands = [typer.main.get_command(app)]
    while commands:
        command = commands.pop()
        commands += getattr(command, "commands", {}).values()
        flags = [p for p in command.params if getattr(p, "is_flag", False) and "completion" not in p.name]
        assert all(p.metavar == "" for p in flags), command.name


def test_commands_without_what_they_need_say_how_to_call_them(recon):
    done = recon("audit")
    assert "Example: recon audit --init init.safetensors --final" in " ".join(done.stdout.split())
    shown, listed = (recon("data", name, "--source", "samples").stdout for name in ("show", "ls"))
    assert shown == listed
    assert "mnist" in shown


def test_report_from_stored_records(recon, checkout):
    (checkout / "some").mkdir()
    (checkout / "some" / "fig1").symlink_to(ROOT / "results" / "fig1")
    done = recon("report", "--records", "some", "--out", "page")
    assert done.returncode == 0, done.stderr
    assert "<title>recon" in (checkout / "page" / "index.html").read_text(encoding="utf-8")
    assert "index.html (" in done.stdout
    assert not (checkout / "results").exists()
    done = recon("report")
    assert done.returncode == 1
    assert "--records" in done.stderr


def test_list_names_everything(recon):
    done = recon("list")
    assert done.returncode == 0
    for word in ("fig1", "mnist_odd_even", "cifar10_10way", "pictures", "ntk-fast"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["reproduce", "fig0"], "choose one of attacks"),
        (["reproduce", "fig1", "--preset", "huge"], "choose one of quick"),
        (["reproduce", "fig1", "--data-dir", "nowhere"], "make data"),
        (["reproduce", "fig1", "--preset", "full"], "choose N up to 10"),
        ([*ATTACK, "--task", "mnist_odd_evn"], "Unknown task 'mnist_odd_evn': did you mean mnist_odd_even?"),
        ([*ATTACK, "--source", "tdfs"], "did you mean tfds?"),
        (["distill", "--source", "samples", "--method", "kipp"], "did you mean kip?"),
        (["train", "--dynamics", "linearized"], "did you mean linearised?"),
        (["reproduce", "fig1", "--preset", "qick"], "did you mean quick?"),
        ([*ATTACK, "--task", "magic"], "Unknown task 'magic': choose one of"),
        ([*ATTACK, "--attack", "magic"], "Unknown attack 'magic': choose one of"),
        ([*ATTACK, "--activation", "swish"], "choose one of relu, leaky_relu, gelu"),
        ([*ATTACK, "--attack", "hybrid", "--activation", "tanh"], "not for those of tanh: use ntk-fast"),
        ([*ATTACK, "--attack", "hybird"], "did you mean hybrid?"),
        ([*ATTACK, "--attack", "exact", "--steps", "9"], "no setting steps: with --set"),
        ([*ATTACK, "--set", "magic=1"], "no setting magic: with --set NAME=VALUE it takes box_weight"),
        ([*ATTACK, "--set", "steps"], "write NAME=VALUE"),
        ([*ATTACK, "--set", "steps=few"], "--set steps=few: expected `int`"),
        ([*ATTACK, "--attack", "simudy", "--set", "distance=long"], "--set distance=long: invalid enum value"),
        ([*ATTACK, "--n", "7"], "multiple of 2"),
        ([*ATTACK, "--dynamics", "wild"], "Unknown dynamics"),
        ([*ATTACK, "--width", "0"], "at least 1"),
        ([*ATTACK, "--images", "nowhere"], "no folder"),
        (["plot", "fig1", "--records", "empty"], "recon reproduce fig1"),
        (["plot", "Fig1"], "did you mean fig1?"),
        (["reproduce", "fig1", "--store", "--out", "x"], "give one of the two"),
        (["baseline", "update", "fig1", "--why", "x", "--records", "empty"], "no record of quick"),
        (["baseline", "update", "fig1", "--why", "x", "--records", "empty", "--repeats", "3"], "one of the two"),
        (["data", "prepare", "imagenet"], "did you mean tiny_imagenet?"),
        (["reproduce", "fig1", "--out", "/proc/x"], "Cannot write /proc/x/fig1"),
        (["reproduce", "fig1", "--source", "samples", "--out", "file"], "the file file is in a folder's place"),
        ([*ATTACK, "--out", "file/x"], "the file file is in a folder's place"),
        (["report", "--records", "empty", "--out", "file"], "the file file is in a folder's place"),
        (["baseline", "update", "kernels", "--why", "x"], "--kernels FILE"),
        (["check", "fig1", "--out", "file"], "the file file is in a folder's place"),
        (["check", "fig1", "--json", "empty"], "it is a folder"),
        (["check", "fig1", "--markdown", "empty"], "Cannot write empty"),
        (["distill", "--source", "samples", "--out", "/proc/d.npz"], "Cannot write /proc/d.npz"),
        (["distill", "--source", "samples", "--n", "40", "--per-class", "100", "--method", "kip"], "lower --per-class"),
        (["distill", "--source", "samples", "--n", "4", "--per-class", "2"], "no fewer than the 4 to distil"),
        (["distill", "--source", "samples", "--pngs", "benchmarks"], "holds something already"),
        (["train", "--source", "samples", "--out", "file"], "the file file is in a folder's place"),
        (["cite", "fig0"], "choose one of attacks"),
        (["cite", "fig1", "--records", "empty"], "recon reproduce fig1"),
        (["export", "fig1", "--records", "empty"], "recon reproduce fig1"),
    ],
)
def test_mistakes_end_in_one_sentence(recon, checkout, args, message):
    (checkout / "file").touch()
    (checkout / "empty").mkdir()
    with processor_time() as spent:
        done = recon(*args)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert not (checkout / "results").exists()
    assert spent.seconds < 6  # two on an idle machine


def test_attack_on_another_activation(recon, checkout):
    done = recon(*ATTACK, "--activation", "gelu", "--steps", "20", "--out", "out")
    assert done.returncode == 0, done.stderr
    (path,) = (checkout / "out" / "fig1").glob("*.json")
    assert "w32-gelu" in path.name
    assert json.loads(path.read_text())["cells"][0]["cell"]["network"]["activation"] == "gelu"


def test_attack_writes_a_record_and_pictures(recon, checkout):
    done = recon(*ATTACK, "--steps", "20", "--out", "out")
    assert done.returncode == 0, done.stderr
    files = {p.suffix for p in (checkout / "out" / "fig1").iterdir()}
    assert files == {".json", ".md", ".csv", ".tex", ".png", ".pdf", ".svg"}
    (path,) = (checkout / "out" / "fig1").glob("*.json")
    assert json.loads(path.read_text())["cells"][0]["cell"]["n_train"] == 6
    # The paper's claims are not about a network of one's own.
    assert json.loads(path.read_text())["claims"] == []
    assert "reproduced" not in done.stdout + path.with_suffix(".md").read_text()
    picture = path.with_suffix(".png").read_bytes()
    path.with_suffix(".png").unlink()
    redrawn = recon("plot", "fig1", "--records", "out")
    assert redrawn.returncode == 0, redrawn.stderr
    assert path.with_suffix(".png").read_bytes() == picture


def test_a_task_that_is_said_is_the_task():
    """Own pictures are a task of their own unless another is named, be it the one that is the default without them."""
    folder = Path("pictures")
    assert (Draw().name, Draw(images=folder).name) == ("mnist_odd_even", "pictures")
    assert Draw(task="mnist_odd_even", images=folder).name == "mnist_odd_even"
    assert Draw(task="mnist_10way").name == "mnist_10way"


def test_a_run_is_kept_apart_from_the_stored_records(tiny, command):
    """A run changes nothing in results/ and says how it differs from what is there; plot, cite and export take it."""
    recon = partial(command, cwd=tiny)
    run = ["reproduce", "tiny", *ALONE]
    first = recon(*run)
    assert first.returncode == 0, first.stderr
    made, stored = (tiny / folder / "tiny" / "quick-samples.json" for folder in (".recon/results", "results"))
    assert made.exists()
    assert not (tiny / "results").exists()
    assert ".recon/results/tiny/quick-samples.{json," in first.stdout
    assert re.search(r"^Open it: \S+ \.recon/results/tiny/quick-samples\.png$", first.stdout, re.M)
    assert "No record results/tiny/quick-samples.json to compare it with." in first.stdout

    kept = recon(*run, "--store")
    assert kept.returncode == 0, kept.stderr
    assert stored.exists()
    assert "make pages" in kept.stdout
    again = recon(*run)
    assert re.search(
        r"^Beside results/tiny/quick-samples\.json \(.* code current\):\nmetrics: \d+ same", again.stdout, re.M
    )
    assert "verdicts: the same." in again.stdout

    # Were the stored record another, metrics and verdicts that changed would be named, and it would stay as it is.
    other = json.loads(stored.read_text())
    for cell in other["cells"][:2]:
        cell["attack"]["work"]["temporary_bytes"] /= 2
    other["cells"][1]["provenance"]["code_version"] = "older"
    stored.write_text(json.dumps(other))
    changed = recon(*run).stdout
    assert "1 of 3 cells stale" in changed
    assert re.search(r"temporary bytes .* worse", changed)
    assert "FLOPs" not in changed
    assert json.loads(stored.read_text()) == other

    for name, *options in (["plot"], ["cite"], ["export", "--format", "csv"]):
        for records, folder in (([], ".recon/results"), (["--records", "results"], "results")):
            done = recon(name, "tiny", *options, *records)
            assert done.returncode == 0, done.stderr
            assert f"Record: {folder}/tiny/quick-samples.json" in done.stderr
        missing = recon(name, "tiny", "--preset", "full")
        assert missing.returncode == 1
        assert "recon reproduce tiny" in missing.stderr or "choose one of quick samples" in missing.stderr


def test_check_counts_stored_records_of_stale_code(tiny, command):
    recon = partial(command, cwd=tiny)
    assert recon("reproduce", "tiny", *ALONE, "--store").returncode == 0
    update = ["baseline", "update", "tiny", "--source", "samples", "--records", "results", "--why", "from the record"]
    shutil.rmtree(tiny / ".recon")
    assert recon(*update).returncode == 0
    assert not (tiny / ".recon").exists()  # computed nothing
    done = recon("check", "--records", "results")
    assert done.returncode == 0, done.stderr
    assert "Code of 1 stored records: 1 current, 0 stale, 0 unknown." in done.stdout
    assert "temporary bytes" not in done.stdout
    every = recon("check", "--records", "results", "--all").stdout
    assert "temporary bytes" in every
    assert "attack time" in every
    assert "attack time" not in recon("check", "--records", "results", "--all", "--no-times").stdout
    stored = tiny / "results" / "tiny" / "quick-samples.json"
    made = json.loads(stored.read_text())
    made["cells"][0]["provenance"]["code_version"] = "older"
    stored.write_text(json.dumps(made))
    done = recon("check", "--records", "results", "--json", "check.json")
    assert done.returncode == 0, done.stderr
    assert "1 stored records: 0 current, 1 stale, 0 unknown.\nstale: tiny/quick-samples.json\n" in done.stdout
    assert json.loads((tiny / "check.json").read_text())["code"] == {"tiny/quick-samples.json": "1 of 3 cells stale"}


def test_settings_of_an_attack_are_given_by_name(recon, checkout):
    attack = [*ATTACK, "--attack", "simudy", "--dynamics", "descent"]
    done = recon(*attack)
    assert done.returncode == 1
    assert "give its train_rate and train_steps (with --set NAME=VALUE)." in done.stderr
    assert "cells failed" not in done.stderr
    assert "goes on from there" not in done.stderr
    chosen = {"train_rate": 0.1, "train_steps": 3, "steps": 5, "distance": "squared", "seconds": None}
    given = [word for name, value in chosen.items() for word in ("--set", f"{name}={value or 'null'}")]
    done = recon(*attack, *given, "--out", "out")
    assert done.returncode == 0, done.stderr
    (path,) = (checkout / "out" / "fig1").glob("*.json")
    assert json.loads(path.read_text())["cells"][0]["cell"]["options"] == chosen


def test_cache_is_listed_verified_and_pruned(recon, checkout):
    store = Store(checkout / ".recon" / "cells")
    modules = ("recon.metrics",)
    made = {"code_version": code_version(modules), "modules": modules, "versions": library_versions(modules)}
    for key in ("one", "two"):
        store.save(key, Stored({"cell": {"kind": "attack", "n_train": 6}, "provenance": made}, {}))
    listed = recon("cache", "ls").stdout
    assert "2 current" in listed
    assert "n_train=6" in listed
    (store.root / "one" / "arrays.npz").write_bytes(b"damaged")
    done = recon("cache", "verify")
    assert done.returncode == 1
    assert "1 of 2 cells did not verify" in done.stderr
    assert "Traceback" not in done.stderr
    assert "1 folders" in recon("cache", "prune", "--dry-run").stdout
    assert len(list(store.root.iterdir())) == 2
    assert "1 removed" in recon("cache", "prune").stdout
    assert [p.name for p in store.root.iterdir()] == ["two"]


def test_check_tells_regressions_and_missing_baselines_apart(tiny, command):
    recon = partial(command, cwd=tiny)
    done = recon("check", "tiny", "--source", "samples")
    assert done.returncode == 2
    assert "recon baseline update tiny --preset quick" in done.stderr
    assert not (tiny / ".recon").exists()
    done = recon("baseline", "update", "tiny", "--why", " ")
    assert done.returncode == 1
    assert "--why" in done.stderr
    assert not (tiny / ".recon").exists()
    update = ["baseline", "update", "tiny", *ALONE, "--repeats", "2", "--why", "first"]
    done = recon(*update)
    assert done.returncode == 0, done.stderr
    # The two gradient attacks differ in their seed alone; the exact one lacks a second seed.
    assert len(list((tiny / ".recon" / "cells").iterdir())) == 4

    done = recon("check", *ALONE, "--json", "check.json", "--markdown", "check.md")
    assert done.returncode == 0, done.stderr
    (rows,) = (f["rows"] for f in json.loads((tiny / "check.json").read_text())["figures"].values())
    # The exact recovery takes too few milliseconds for its time to gate.
    assert {r["metric"] for r in rows if r["status"] != "same"} <= {"attack time / reference"}
    assert {"mean L2", "certified", "FLOPs a step"} <= {r["metric"] for r in rows if r["allowed"] is not None}
    assert "no regression" in (tiny / "check.md").read_text()

    # A better baseline makes the same run a regression.
    (file,) = (tiny / "results" / "baselines").iterdir()
    stored = json.loads(file.read_text())
    better = next(g for name, g in stored["groups"].items() if "ntk-fast" in name)["metrics"]["temporary bytes"]
    better["value"] /= 2
    file.write_text(json.dumps(stored))
    records = ["--records", ".recon/check", "--markdown", "check.md"]
    done = recon("check", "tiny", *records)
    assert done.returncode == 1
    assert "1 metric got worse" in done.stderr
    assert "temporary bytes" in done.stdout
    assert "1 regressions" in (tiny / "check.md").read_text()

    # A figure without a record is named, the others are compared, and all is written.
    (tiny / "benchmarks" / "other_figure.py").write_text((tiny / "benchmarks" / "tiny_figure.py").read_text())
    (tiny / "results" / "baselines" / "other-quick-samples.json").write_text(json.dumps(stored))
    better["value"] *= 2
    file.write_text(json.dumps(stored))
    done = recon("check", "--records", ".recon/check", "--json", "check.json", "--markdown", "check.md")
    assert done.returncode == 2, done.stderr
    assert "No record: make one with `recon reproduce other --preset quick`" in done.stderr
    made = json.loads((tiny / "check.json").read_text())
    assert list(made["figures"]) == ["tiny, quick, samples"]
    assert made["without_record"] == ["other"]
    assert "other: no record" in (tiny / "check.md").read_text()
    assert "no folder" in recon("check", "--records", "nowhere").stderr


def test_an_interrupted_run_keeps_finished_cells_and_goes_on(command, tiny):
    """One that is killed: see tests/test_kill.py."""
    (file,) = (tiny / "benchmarks").iterdir()
    file.write_text(file.read_text().replace("(0, 1)", "range(7)"))
    run = ["reproduce", "tiny", "--source", "samples"]
    process = subprocess.Popen([sys.executable, "-m", "recon", *run], cwd=tiny)
    cells = tiny / ".recon" / "cells"
    while not (finished := stored(cells)):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert not (tiny / ".recon" / "results").exists()
    assert len(stored(cells)) < 8
    done = command(*run, "--jobs", "1", cwd=tiny)
    assert done.returncode == 0, done.stderr
    after = stored(cells)
    assert len(after) == 8
    assert finished.items() <= after.items()
    made = json.loads((tiny / ".recon" / "results" / "tiny" / "quick-samples.json").read_text())
    assert len(made["cells"]) == 8


def stored(cells):
    """Time of making of each stored cell."""
    found = {}
    for path in cells.glob("*/record.json"):
        if not path.parent.name.startswith("."):
            found[path.parent.name] = path.stat().st_mtime_ns
    return found


def test_make_help_and_list_find_the_same_figures():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name, benchmark in benchmarks(ROOT).items():
        assert re.search(rf"^  reproduce-{name} +{re.escape(benchmark.title)}$", done.stdout, re.M)
    users, maintainers = done.stdout.split("\nFor maintainers:\n")
    assert "  report  " in users
    assert "  lock  " in maintainers
    targets = set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), re.M))
    assert targets == {line.split()[0] for line in re.findall(r"^  [a-z-]+  .*$", done.stdout, re.M)} - {
        f"reproduce-{name}" for name in benchmarks(ROOT)
    }


def test_nobody_is_sent_to_another_project_of_the_name():
    for file in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "recon").rglob("*.py")]:
        assert "recon[ray]" not in file.read_text(encoding="utf-8"), file
