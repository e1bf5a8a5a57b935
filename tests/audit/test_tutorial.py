"""The tutorial: its blocks run in order in an empty folder, its links lead somewhere, the options it names exist."""

import re
import shlex
import subprocess
import sys

from typer.main import get_command

from recon.cli.commands import app
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "audit.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = [
    (b[1], b[2], TEXT.count("\n", 0, b.start(2))) for b in re.finditer(r"^```(\w+)\n(.*?)^```$", TEXT, re.M | re.S)
]


def test_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "tutorial"}
    assert {language for language, _, _ in BLOCKS} == {"python", "console"}
    for language, content, line in BLOCKS:
        if language == "python":
            exec(compile("\n" * line + content, str(PAGE), "exec"), names)  # errors at the page's lines
            continue
        for prompt, program, *args in map(shlex.split, content.splitlines()):
            assert (prompt, program) == ("$", "recon")
            done = subprocess.run([sys.executable, "-m", "recon", *args], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert {"report.md", "report.json", "reconstructions.npz", "overview.png", "images"} == {
                file.name for file in (tmp_path / "audit").iterdir()
            }


def test_what_it_names_exists():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT):
        assert (PAGE.parent / target).exists(), target
    known = {option for parameter in get_command(app).commands["audit"].params for option in parameter.opts}
    assert set(re.findall(r"`(--[a-z-]+)`", TEXT)) <= known
    assert set(re.findall(r"`make ([a-z][\w-]+)`", TEXT)) <= set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    )
