"""The page of the stored records, built once, and read by the standard library's parser."""

from html.parser import HTMLParser

import pytest

from recon.benchmark import benchmarks
from recon.report import write
from tests.conftest import ROOT

VOID = {"meta", "link", "img", "input", "br", "hr"}
MODULES = {name: b.path for name, b in benchmarks(ROOT).items()}


class Page(HTMLParser):
    """Elements with their attributes, the text of each kind and below each id; all must be closed, in order."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.open, self.within = [], {}, [], {}
        self.feed(content)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), attrs  # no attribute twice
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs).get("id")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag, self.getpos()

    def handle_data(self, data):
        text = " ".join(data.split())
        self.texts.setdefault(self.open[-1][0] if self.open else "", []).append(text)
        for _, name in self.open if text else ():
            self.within[name] = f"{self.within.get(name, '')} {text}".strip()

    def named(self, tag):
        return [attrs for t, attrs in self.elements if t == tag]

    @property
    def ids(self):
        return [attrs["id"] for _, attrs in self.elements if "id" in attrs]

    @property
    def text(self):
        return " ".join(part for tag, parts in self.texts.items() if tag not in ("script", "style") for part in parts)


@pytest.fixture(scope="session")
def file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("report"), ROOT / "results", MODULES)


@pytest.fixture(scope="session")
def page(file):
    return Page(file.read_text(encoding="utf-8"))
