import csv
import io
import re
import shutil
import subprocess

import pytest

from recon.publish import csv_table, latex_document, latex_table, markdown_table
from recon.publish.tables import latex_text
from tests.conftest import ROOT

COLUMNS = ["set", "accuracy, %"]
ROWS = [["random, |α|", "70.0 ± 1.5"], ["k_means", '9 "ish"']]


def test_csv_gives_the_table_back():
    assert list(csv.reader(io.StringIO(csv_table(COLUMNS, ROWS)))) == [COLUMNS, *ROWS]


def test_markdown_escapes_bars_and_keeps_numbers():
    text = markdown_table(COLUMNS, ROWS)
    assert "random, \\|α\\|" in text
    assert "70.0 ± 1.5" in text


def test_latex_is_plain_ascii_with_rules_of_booktabs():
    text = latex_table(COLUMNS, ROWS)
    assert text.isascii()
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"accuracy, \%", r"k\_means", r"70.0 $\pm$ 1.5"):
        assert part in text
    assert len(re.findall(r"\\\\$", text, re.M)) == 1 + len(ROWS)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex: install texlive-latex-recommended")
def test_document_of_all_stored_tables_compiles(tmp_path):
    source = ROOT / "results" / "tables" / "all.tex"
    tables = re.findall(r"^\\storedtable\{([^}]+)\}", source.read_text(), re.M)
    stored = {p.relative_to(ROOT / "results").with_suffix("").as_posix() for p in ROOT.glob("results/*/*-*.tex")}
    assert set(tables) == stored
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-output-directory", tmp_path]
    # From the checkout and from its own folder, as people and editors do.
    for folder in (ROOT, source.parent):
        done = subprocess.run([*command, source.relative_to(folder)], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:]
        log = (tmp_path / "all.log").read_text(errors="replace")
        assert f"({len(tables)} pages" in log
        assert not re.search(r"Missing character|Overfull|too large for page", log)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex: install texlive-latex-recommended")
def test_every_sign_of_the_figures_compiles(tmp_path):
    text = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "benchmarks").glob("*.py"))
    signs = sorted({c for c in text if not c.isascii()})
    assert len(signs) > 20
    ascii_signs = list("#$%&_{}~^\\|<>\"'")
    cells = [[sign, f"|{sign}| x_1"] for sign in signs + ascii_signs]
    caption = " ".join(signs + ascii_signs)
    (tmp_path / "signs.tex").write_text(latex_table(["sign", "50 %"], cells), encoding="ascii")
    (tmp_path / "all.tex").write_text(latex_document({"signs": caption}), encoding="ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "all.log").read_text(errors="replace")
    assert "?" not in latex_text("".join(signs))
