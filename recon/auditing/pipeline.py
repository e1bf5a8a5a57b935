"""What a pipeline shows of audits: findings as SARIF, for code hosts, and as JUnit, for their reports of tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from recon.auditing.result import Audit
from recon.auditing.verdict import leaks, many
from recon.errors import printable
from recon.records import json_bytes, write_bytes

SARIF, JUNIT = "report.sarif", "junit.xml"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


@dataclass(frozen=True)
class Question:
    """What a pipeline may fail on.

    Attributes:
      title: what it means to be found.
      found: what an audit found of it, in words; nothing where it found nothing.
      silent: why an audit that found nothing cannot say that nothing is there, in a sentence; nothing where it can.
    """

    title: str
    found: Callable[[Audit], str]
    silent: Callable[[Audit], str]


@dataclass(frozen=True)
class Checked:
    """A file of weights that was audited, or could not be.

    Attributes:
      path: the file, or the folder that holds it.
      findings: what was found, in words by the name of its question.
      seconds: that the audit took.
      refused: why it could not be audited, or did not answer the pipeline's question; nothing where it did.
    """

    path: Path
    findings: dict[str, str]
    seconds: float
    refused: str = ""


def certified(audit: Audit) -> str:
    """How many images are certified."""
    k = audit.certified
    return f"The attack certifies {many(k, 'training image')} without a look at the training data." if k else ""


def leak(audit: Audit) -> str:
    """How many images came back in any way."""
    if not leaks(audit):
        return ""
    near = max((these.within for these in (audit.train, audit.held_out) if these is not None), default=0)
    return (
        f"{many(audit.vouched, 'training image')} certified, at their brightness or up to it; {near} of the images "
        "given within the limit of a reconstruction."
    )


def member(audit: Audit) -> str:
    """How many of the images given were trained on."""
    if audit.membership is None:
        return ""
    k, n = sum(answer in ("member", "multiple") for answer in audit.membership.answers), len(audit.membership.answers)
    return f"{k} of {n} images given were trained on, by the span of the first layer's change." if k else ""


def without_certificate(audit: Audit) -> str:
    """That no attack was made which certifies images."""
    if not audit.attacks:
        return f"No attack was made: {'; '.join(audit.found.doubts)}."
    if audit.certified is None and len(audit.attacks) == 1:  # of several the first, exact, certified none
        return f"The attack {audit.found.attack} certifies nothing: --attack auto does where anything can."
    return ""


def without_measure(audit: Audit) -> str:
    """That nothing would show a leak: neither certificates nor images to compare with."""
    why = without_certificate(audit)
    if not (why and audit.attacks):
        return why
    return "" if audit.train is not None else f"{why} Or give --data, to compare what it made with."


def without_answer(audit: Audit) -> str:
    """That it is not told of some images given whether they were trained on."""
    found = audit.membership
    if found is None:
        return (
            "No image given was tested: neither an adapter nor trained convolutions, but for those of one step "
            "(--linearised), tell which were trained on."
        )
    k, n = found.answers.count("no answer"), len(found.answers)
    why = found.why or "rounding hides how they differ from similar images"
    return f"It is not told of {k} of {n} images given whether they were trained on: {why}." if k else ""


QUESTIONS = {
    "certified": Question("The weights give away certified training images", certified, without_certificate),
    "leak": Question("The weights give away training images, certified or near to ones given", leak, without_measure),
    "member": Question("The weights tell that images given were trained on", member, without_answer),
}


def findings(audit: Audit) -> dict[str, str]:
    """What an audit found, in words by the name of its question; only what was found."""
    told = {name: question.found(audit) for name, question in QUESTIONS.items()}
    return {name: words for name, words in told.items() if words}


def unanswered(audit: Audit) -> dict[str, str]:
    """Why nothing found does not mean that nothing is there, in a sentence by the name of its question."""
    why = ""
    if audit.interrupted:
        why = "The audit was interrupted before it was done."
    elif audit.unrelated:
        why = "The two files look like two different networks: give the initial weights of this training."
    told = {name: why or question.silent(audit) for name, question in QUESTIONS.items() if not question.found(audit)}
    return {name: words for name, words in told.items() if words}


def sarif(checked: Sequence[Checked], fail_on: str) -> dict[str, Any]:
    """A log of SARIF 2.1.0 with a result for each finding: an error where the pipeline fails on it, else a note."""
    levels = {name: "error" if name == fail_on else "note" for name in QUESTIONS}
    rules = [
        {
            "id": name,
            "shortDescription": {"text": f"{question.title}."},
            "defaultConfiguration": {"level": levels[name]},
        }
        for name, question in QUESTIONS.items()
    ]
    results = [
        {
            "ruleId": name,
            "ruleIndex": [*QUESTIONS].index(name),
            "level": levels[name],
            "message": {"text": words},
            # GitHub shows no result without a line, which weights do not have.
            "locations": [
                {"physicalLocation": {"artifactLocation": {"uri": address(one.path)}, "region": {"startLine": 1}}}
            ],
        }
        for one in checked
        for name, words in one.findings.items()
    ]
    refused = [{"level": "error", "message": {"text": one.refused}} for one in checked if one.refused]
    invocation: dict[str, Any] = {"executionSuccessful": not refused}
    if refused:
        invocation["toolExecutionNotifications"] = refused
    driver = {"name": "recon", "version": version("recon"), "rules": rules}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "invocations": [invocation], "results": results}],
    }


def address(path: Path) -> str:
    """A file's URI: relative to the current folder, as code hosts take it, if it lies inside."""
    whole, here = path.absolute(), Path.cwd()
    return quote(whole.relative_to(here).as_posix()) if whole.is_relative_to(here) else whole.as_uri()


def junit(checked: Sequence[Checked], fail_on: str) -> bytes:
    """JUnit's XML with a test for each file and question; it fails where the pipeline does."""
    suites = ElementTree.Element("testsuites", name="recon audit")
    for one in checked:
        name = printable(str(one.path))
        failed = int(fail_on in one.findings and not one.refused)
        counts = {"tests": len(QUESTIONS), "failures": failed, "errors": int(bool(one.refused))}
        told = {"name": name, "time": f"{one.seconds:.3f}", **{key: str(count) for key, count in counts.items()}}
        suite = ElementTree.SubElement(suites, "testsuite", told)
        for question, words in ((question, one.findings.get(question, "")) for question in QUESTIONS):
            test = ElementTree.SubElement(suite, "testcase", classname=name, name=question)
            if question == fail_on and one.refused:
                ElementTree.SubElement(test, "error", message=printable(one.refused), type="refused")
            elif question == fail_on and words:
                ElementTree.SubElement(test, "failure", message=printable(words), type=question).text = printable(words)
            elif words:
                ElementTree.SubElement(test, "system-out").text = printable(words)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True))


def save_for_pipeline(checked: Sequence[Checked], fail_on: str, folder: Path) -> None:
    """Write `SARIF` and `JUNIT` into a folder.

    Args:
      fail_on: name of the question on which the pipeline fails.

    Raises:
      ReconError: the place cannot be written.
    """
    write_bytes(folder / SARIF, json_bytes(sarif(checked, fail_on)))
    write_bytes(folder / JUNIT, junit(checked, fail_on))
