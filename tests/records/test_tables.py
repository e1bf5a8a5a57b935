import csv
import io
import re

from recon.records import csv_table, latex_table, markdown_table

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
