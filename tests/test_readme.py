"""Numbers in prose come from stored records, and the files that a user is sent to exist."""

import re
import subprocess
import sys

from recon.benchmark import benchmarks
from tests.conftest import ROOT


def test_numbers_are_those_of_the_records():
    done = subprocess.run([sys.executable, ROOT / "scripts" / "readme.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_links_and_targets_exist():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    known = set(re.findall(r"^([a-z]+):", makefile, re.M)) | {f"reproduce-{n}" for n in benchmarks(ROOT)}
    assert set(re.findall(r"(?:^    |`)make ([a-z][\w-]+)", text, re.M)) <= known
