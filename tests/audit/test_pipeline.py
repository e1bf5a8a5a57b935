"""What a pipeline gets: exit codes, SARIF and JUnit."""

import json
import os
import signal
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

import recon
from recon.attacks.membership import Membership, Placed
from recon.auditing.defences import Otherwise
from recon.auditing.pipeline import (
    QUESTIONS,
    Checked,
    address,
    findings,
    junit,
    sarif,
    save_for_pipeline,
    unanswered,
)
from recon.auditing.report import save
from tests.audit.made import audit_of, images
from tests.audit.training import checkpoints

N = 20
# What SARIF 2.1.0 requires of the objects written, and what GitHub asks beyond it, by the keys that lead there.
REQUIRED = {
    (): {"version", "runs"},
    ("runs",): {"tool", "results"},
    ("runs", "tool"): {"driver"},
    ("runs", "tool", "driver"): {"name", "rules"},
    ("runs", "tool", "driver", "rules"): {"id", "shortDescription"},
    ("runs", "tool", "driver", "rules", "shortDescription"): {"text"},
    ("runs", "invocations"): {"executionSuccessful"},
    ("runs", "invocations", "toolExecutionNotifications"): {"message"},
    ("runs", "results"): {"message", "ruleId", "level", "locations"},
    ("runs", "results", "message"): {"text"},
    ("runs", "results", "locations", "physicalLocation"): {"artifactLocation", "region"},
    ("runs", "results", "locations", "physicalLocation", "artifactLocation"): {"uri"},
    ("runs", "results", "locations", "physicalLocation", "region"): {"startLine"},
}


def visited(value, path=()):
    """Look at all that is required; returns the places that there were."""
    if isinstance(value, list):
        return set().union(*(visited(item, path) for item in value))
    if not isinstance(value, dict):
        return set()
    assert REQUIRED.get(path, set()) <= value.keys(), path
    return {path}.union(*(visited(inner, (*path, key)) for key, inner in value.items()))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    digits = recon.load_task("mnist_odd_even", N, seed=0, source="samples", n_test=1)
    x, folder = digits.train.x.reshape(N, -1).astype(np.float64), tmp_path_factory.mktemp("files")
    initial, early, final = checkpoints(x, digits.train.y, (0, 2, 300))
    np.savez(folder / "init.npz", **initial)
    np.savez(folder / "early.npz", **early)
    np.savez(folder / "final.npz", **final)
    np.savez(folder / "train.npz", x=x)
    np.savez(folder / "other.npz", x=digits.held_out.x.reshape(N, -1))
    return folder


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_leaking_network_fails_a_pipeline(command, files, tmp_path, question):
    given = ["audit", "--init", "init.npz", "--final", "final.npz", "--data", "train.npz", "--heldout", "other.npz"]
    done = command(*given, "--out", tmp_path, "--fail-on", question, cwd=files)
    assert done.returncode == 3, done.stderr
    log = json.loads((tmp_path / "report.sarif").read_text())
    assert visited(log) >= REQUIRED.keys() - {("runs", "invocations", "toolExecutionNotifications")}
    results = {result["ruleId"]: result for result in log["runs"][0]["results"]}
    assert results.keys() == QUESTIONS.keys()
    assert [name for name, result in results.items() if result["level"] == "error"] == [question]
    for result in results.values():
        assert log["runs"][0]["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "final.npz"
    (suite,) = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")
    assert [test.get("name") for test in suite if test.find("failure") is not None] == [question]


def test_a_finding_that_was_not_asked_for_is_a_note(command, files, tmp_path):
    given = ["audit", "--init", "init.npz", "--final", "early.npz", "--out", tmp_path]  # images up to their brightness
    done = command(*given, "--fail-on", "certified", cwd=files)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads((tmp_path / "report.sarif").read_text())["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("leak", "note")
    (suite,) = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert suite.get("failures") == "0"
    assert [test.get("name") for test in suite if test.find("system-out") is not None] == ["leak"]


def test_files_of_a_pipeline_do_not_stay_beside_another_audit(rng, tmp_path):
    x = rng.normal(size=(5, 12)).astype(np.float32)
    save_for_pipeline([Checked(tmp_path / "w.npz", findings(audit_of(x)), 1.0)], "leak", tmp_path)
    assert {"report.sarif", "junit.xml"} <= {file.name for file in tmp_path.iterdir()}
    save(audit_of(x), tmp_path)
    assert not {"report.sarif", "junit.xml"} & {file.name for file in tmp_path.iterdir()}


def test_nothing_found_is_no_finding(command, files, tmp_path):
    rng = np.random.default_rng(1)
    with np.load(files / "init.npz") as weights:
        other = {name: a + rng.normal(scale=1e-2, size=a.shape).astype(np.float32) for name, a in weights.items()}
    np.savez(tmp_path / "other.npz", **other)
    given = ["audit", "--init", files / "init.npz", "--final", tmp_path / "other.npz", "--attack", "exact", "-m", 20]
    done = command(*given, "--out", tmp_path / "out", "--fail-on", "leak")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "report.sarif").read_text())["runs"][0]["results"] == []


def test_errors_and_questions_without_an_answer_are_told_from_findings(command, files, tmp_path):
    absent = command("audit", "--init", files / "init.npz", "--final", tmp_path / "absent.npz", "--fail-on", "leak")
    assert absent.returncode == 1
    given = ["audit", "--init", files / "init.npz", "--final", files / "final.npz", "--out", tmp_path]
    done = command(*given, "--data", files / "train.npz", "--fail-on", "member")
    assert done.returncode == 1
    assert "give both" in done.stderr


def test_the_initial_weights_of_another_network_are_no_success(command, files, tmp_path):
    with np.load(files / "init.npz") as weights:
        other = {name: np.random.default_rng(1).permutation(a.ravel()).reshape(a.shape) for name, a in weights.items()}
    np.savez(tmp_path / "other.npz", **other)
    given = ["audit", "--init", tmp_path / "other.npz", "--final", files / "final.npz", "--attack", "exact", "-m", 20]
    done = command(*given, "--out", tmp_path / "out", "--fail-on", "leak")
    assert done.returncode == 1
    assert "leak has no answer for" in done.stderr
    assert "look like two different networks" in done.stderr
    (suite,) = ElementTree.parse(tmp_path / "out" / "junit.xml").getroot()
    assert [test.get("name") for test in suite if test.find("error") is not None] == ["leak"]
    log = json.loads((tmp_path / "out" / "report.sarif").read_text())
    assert log["runs"][0]["invocations"][0]["executionSuccessful"] is False


def test_questions_without_an_answer(rng):
    x = rng.normal(size=(5, 12)).astype(np.float32)
    nothing = audit_of(x, certified=False)
    assert unanswered(nothing).keys() == {"member"}  # no image was given
    guesses = replace(nothing, found=replace(nothing.found, attack="ntk-fast", certified=None), attacks=("ntk-fast",))
    assert unanswered(guesses).keys() == {"certified", "leak", "member"}
    assert unanswered(replace(guesses, attacks=("exact", "ntk-fast"))).keys() == {"member"}
    near = audit_of(x, train=images(x + 1), certified=False)
    compared = replace(guesses, train=near.train)
    assert unanswered(compared).keys() == {"certified", "member"}
    assert unanswered(replace(compared, attacks=())).keys() == QUESTIONS.keys()  # as of an adapter
    assert unanswered(replace(nothing, interrupted=True)).keys() == QUESTIONS.keys()
    assert unanswered(replace(audit_of(x), unrelated=True)).keys() == {"member"}


@pytest.mark.parametrize(("distances", "answered"), [((0.5, 0.5), True), ((0.5, 0.02), False), ((0.02, 0.02), False),
                                                     ((0.02, 0.001), True)])  # fmt: skip
def test_images_of_which_it_is_not_told_are_no_answer(rng, distances, answered):
    threshold = np.full(2, 0.005)
    found = Membership(Placed(np.array(distances), threshold), Placed(np.ones(20), np.full(20, 0.005)),
                       np.ones(2, bool), 5, 1e3, clear=True, why="")  # fmt: skip
    made = audit_of(rng.normal(size=(5, 12)), certified=False, membership=found)
    assert ("member" not in unanswered(made)) == answered
    assert ("member" in findings(made)) == (distances[1] == 0.001)


def test_an_interrupt_while_defences_are_measured_is_no_success(command, files, tmp_path, monkeypatch):
    codes = []
    monkeypatch.setattr("recon.cli.audit.leave", codes.append)
    monkeypatch.setattr("recon.auditing.defences.changes_of", lambda case: [Otherwise("the same", case.rule)])
    monkeypatch.setattr("recon.auditing.defences.updated", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    given = ["audit", "--init", files / "init.npz", "--final", files / "early.npz", "--data", files / "train.npz"]
    command(*given, "--out", tmp_path, "--attack", "exact", "--defences", "--fail-on", "certified")
    assert codes == [130]
    assert "Interrupted before: the same." in json.loads((tmp_path / "report.json").read_text())["defences"]["words"]


def test_findings_are_those_of_the_audit(rng):
    x = rng.normal(size=(5, 12)).astype(np.float32)
    assert findings(audit_of(x, certified=False)) == {}
    assert set(findings(audit_of(x))) == {"certified", "leak"}
    near = audit_of(x, train=images(x), certified=False)  # nothing certified, and all there
    assert set(findings(near)) == {"leak"}
    assert "5 of the images given" in findings(near)["leak"]


def test_files_that_were_refused_are_errors(tmp_path):
    checked = [
        Checked(tmp_path / "a\x07b.npz", {}, 0.0, "It is a pickle.\x00"),
        Checked(tmp_path / "c", {"leak": "5"}, 1.5),
    ]
    log = sarif(checked, "leak")
    assert visited(log) >= {("runs", "invocations", "toolExecutionNotifications")}
    assert log["runs"][0]["invocations"][0]["executionSuccessful"] is False
    first, second = ElementTree.fromstring(junit(checked, "leak"))
    assert (first.get("errors"), first.get("failures")) == ("1", "0")
    assert (second.get("errors"), second.get("failures")) == ("0", "1")
    assert first.find("testcase/error").get("message") == "It is a pickle.?"


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert address(tmp_path / "run 1" / "w.npz") == "run%201/w.npz"
    assert address(tmp_path.parent / "w.npz").startswith("file:///")
