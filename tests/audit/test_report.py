"""The files of an audit."""

import dataclasses
import json
import threading

import numpy as np
import pytest

from recon import ReconError
from recon.auditing import report, save
from recon.auditing.sections import sections
from tests.audit.made import audit_of


def made(n):
    """An audit that found n grey pictures."""
    return audit_of(np.full((n, 5, 5, 1), 0.5))


def test_a_later_audit_removes_an_earlier_ones_files_and_no_others(tmp_path):
    mine = ["overview.png", "images/reconstruction-mine.png", "images/reconstruction-01.png", "images/x.png"]
    (tmp_path / "images").mkdir()
    for name in mine:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "images" / "reconstruction-099.png").write_bytes(b"of an audit")
    save(made(0), tmp_path)
    assert all((tmp_path / name).read_bytes() == b"mine" for name in mine)
    assert not (tmp_path / "images" / "reconstruction-099.png").exists()
    (tmp_path / "images" / "reconstruction-1000.png").write_bytes(b"of an audit")
    save(made(3), tmp_path)
    save(made(2), tmp_path)
    numbered = {f.name for f in (tmp_path / "images").iterdir()}
    assert numbered - {name.removeprefix("images/") for name in mine} == {f"reconstruction-00{i}.png" for i in range(2)}
    save(made(0), tmp_path)
    assert not (tmp_path / "overview.png").exists()  # an audit's by then


@pytest.mark.parametrize("stops", ["npz_bytes", "png"])
def test_no_report_stands_beside_arrays_of_another_audit(tmp_path, monkeypatch, stops):
    save(made(3), tmp_path)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, stops, stop)
    with pytest.raises(KeyboardInterrupt):
        save(made(2), tmp_path)
    assert not (tmp_path / "report.json").exists()
    assert not (tmp_path / "report.md").exists()


def test_audits_that_write_to_one_folder_at_once_take_turns(tmp_path, monkeypatch):
    real, inside, most = report.png, [], []

    def slow(pixels):
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.02)
        inside.pop()
        return real(pixels)

    monkeypatch.setattr(report, "png", slow)
    threads = [threading.Thread(target=save, args=(made(n), tmp_path)) for n in (2, 4, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    with np.load(tmp_path / "reconstructions.npz") as arrays:
        n = len(arrays["images"])
    assert json.loads((tmp_path / "report.json").read_text())["n"] == n
    assert len(list((tmp_path / "images").iterdir())) == n


def test_what_cannot_be_replaced_is_refused(tmp_path):
    (tmp_path / "report.json").mkdir()
    with pytest.raises(ReconError, match=r"^Cannot replace the audit in .*: choose another place\.$"):
        save(made(1), tmp_path)


def test_report_reads_as_sentences(rng):
    three = audit_of(rng.normal(size=(3, 5, 5, 1)))
    again = dataclasses.replace(three, attacks=("exact", "exact", "hybrid"))
    text = report.markdown(sections(again, report.record(again)), "")
    assert "24 hidden units, 1 output; relu" in text
    assert "exact (2 times), then hybrid; the result is that of exact, which ended with: complete" in text
