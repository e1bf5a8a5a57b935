"""The documentation: it builds, its links lead somewhere, its code runs, and the commands that it names exist."""

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from recon.attacks import attacks
from recon.benchmark import benchmarks
from recon.cli.commands import app
from recon.distillation import methods
from recon.registry import defined, homes
from recon.tasks import tasks
from tests.conftest import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))
PACKAGES = ("attacks", "tasks", "distillation", "cells")  # that the pages add a file to
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)
MAKEFILE = (ROOT / "Makefile").read_text()


def blocks(page):
    """(language, file name or "", content, line of the page) of each code block."""
    text = page.read_text(encoding="utf-8")
    found = [(f[1], f[2] or "", f[3], text.count("\n", 0, f.start(3))) for f in FENCE.finditer(text)]
    assert text.count("\n```") + text.startswith("```") == 2 * len(found), "a code block that the tests do not see"
    return found


def lines(text):
    """Commands, a line each, without comments; a line that ends in a backslash goes on."""
    return [shlex.split(line, comments=True) for line in text.replace("\\\n", "").splitlines() if line.strip()]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder to work in, with the project's figures and a record, in which files can be added to the package."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "results" / "fig1").mkdir(parents=True)
    shutil.copy(ROOT / "results" / "fig1" / "quick-samples.json", tmp_path / "results" / "fig1")
    for file in (ROOT / "benchmarks").glob("*.py"):
        (tmp_path / "benchmarks" / file.name).symlink_to(file)
    for name in PACKAGES:
        package = importlib.import_module(f"recon.{name}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "recon" / name)])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    homes.cache_clear()
    defined.cache_clear()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_runs(page, checkout):
    """Python in one namespace, files where their titles say, console commands in the same folder."""
    names = {"__name__": "documentation"}
    for language, title, content, line in blocks(page):
        if title:
            file = checkout / title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
            importlib.invalidate_caches()
            homes.cache_clear()
            defined.cache_clear()
        elif language == "python":
            exec(compile("\n" * line + content, str(page), "exec"), names)
        elif language == "console":
            for prompt, program, *args in lines(content):
                assert (prompt, program) == ("$", "recon")
                done = CliRunner().invoke(app, args)
                assert done.exit_code == 0, (args, done.output, done.exception)
        else:
            assert language == "sh", f"a block of {language} in {page.name}"


def commands_of(page):
    """(words, whether they are a whole line) of each recon and make command of a page, in blocks and in sentences."""
    found = []
    for language, _, content, _ in blocks(page):
        if language in ("sh", "console"):
            found += [(words[words[0] == "$" :], True) for words in lines(content)]
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for line in re.findall(r"^    ((?:make|recon) .*)$", text, re.M):
        found.append((shlex.split(line, comments=True), True))
    for words in re.findall(r"`((?:make|recon)\s[^`]*)`", text):
        found.append((shlex.split(words), False))
    return found


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda page: page.stem)
def test_commands_exist(page):
    made = re.findall(r'title="benchmarks/([a-z]+)_', page.read_text(encoding="utf-8"))
    known = {
        "figure": {*benchmarks(ROOT), "kernels", *made},
        "figures": {*benchmarks(ROOT), *made},
        "task": set(tasks()),
        "attack": set(attacks()),
        "method": set(methods()),
        "preset": {"quick", "full", "paper"},
        "source": {"auto", "tfds", "samples"},
    }
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M)) | {f"reproduce-{name}" for name in known["figures"]}
    variables = set(re.findall(r"\$\(([A-Z]+)\)", MAKEFILE))
    found = commands_of(page)
    assert found
    for (program, *words), whole in found:
        if program == "make":
            goals = [w for w in words if "=" not in w]
            assert set(goals) - {"TARGET"} <= targets, goals
            assert {w.split("=")[0] for w in words if "=" in w} <= variables, words
            continue
        assert program == "recon"
        command = typer.main.get_command(app)
        while hasattr(command, "commands") and words and not words[0].startswith("-"):
            assert words[0] in command.commands, (page.name, words)
            command = command.commands[words.pop(0)]
        if hasattr(command, "commands"):  # `recon --help`, or a group by itself
            own = {option for parameter in command.params for option in parameter.opts}
            assert set(words) <= own | {"--help"}, words
            continue
        if not whole:  # a sentence may name a command without its arguments
            needed = [p for p in command.params if p.required]
            words = words or [w for p in needed for w in ([*p.opts[:1], "X"] if p.opts[0].startswith("-") else ["X"])]
            if not words:  # nor takes some that it needs
                continue
        given = command.make_context(command.name, list(words)).params
        for name, names in known.items():
            values = given.get(name) or ()
            for value in [values] if isinstance(values, str) else values:
                # `auto` is the audit's choice among the attacks.
                assert value in names or (value == "auto" and command.name == "audit") or value.isupper(), (
                    page.name,
                    name,
                    value,
                )


@pytest.mark.parametrize(("start", "at"), [("README.md", "docs/"), ("docs/index.md", "")])
def test_every_page_is_linked_from_the_start(start, at):
    text = (ROOT / start).read_text(encoding="utf-8")
    for page in PAGES:
        if ROOT / start != page:
            assert f"]({at}{page.name})" in text, page.name


def test_every_command_has_its_exit_codes():
    text = (ROOT / "docs" / "baselines.md").read_text(encoding="utf-8")
    table = text[text.index("## Exit codes") :]
    listed = re.findall(r"^\| `recon ([a-z ]+)` \|", table, re.M)

    def leaves(command, path=()):
        for name, inner in getattr(command, "commands", {}).items():
            if not inner.hidden:
                yield from leaves(inner, (*path, name)) if hasattr(inner, "commands") else [" ".join((*path, name))]

    assert sorted(listed) == sorted(leaves(typer.main.get_command(app)))


def test_every_solver_is_described():
    text = (ROOT / "docs" / "solvers.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z-]+)` \|", text, re.M)) == set(attacks())
    assert set(re.findall(r"^## `([a-z-]+)`$", text, re.M)) == set(attacks())
    for name in attacks():
        assert f"{name.replace('-', '_')}.py)" in text


class Html(HTMLParser):
    """Anchors and links of a page; of what a browser loads by itself, `loaded`."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded, self.formulas = set(), [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.formulas += tag == "math"
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if address := given.get("href") or given.get("src"):
            (self.links if tag == "a" else self.loaded).append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_no_link_is_broken(site):
    pages = {p.name: Html(p.read_text(encoding="utf-8")) for p in site.glob("*.html")}
    assert pages.keys() >= {f"{p.stem}.html" for p in PAGES}
    reached = defaultdict(set)
    for name, page in pages.items():
        if name == "404.html":  # its links begin at the root of a server
            continue
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                assert address in page.links, f"{name} loads {address}"
                continue
            path = unquote(parts.path) or name
            if path.startswith("../"):  # from site/ as from docs/, a file of the repository
                assert not parts.fragment, (name, address)
                assert (ROOT / path[3:]).exists(), (name, address)
                continue
            path = "index.html" if path == "." else path
            assert (site / path).is_file(), (name, address)
            if parts.fragment:
                assert parts.fragment in pages[path].ids, (name, address)
            reached[path].add(name)
    assert all(len(reached[f"{p.stem}.html"]) > 1 for p in PAGES)
    assert pages["attack.html"].formulas > 10


def test_nothing_comes_from_a_network(site):
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_a_broken_link_or_formula_fails_the_build(tmp_path):
    """What the site's tests rely on."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "README.md").write_text("# Results\n")
    config = (ROOT / "mkdocs.yml").read_text()
    (tmp_path / "mkdocs.yml").write_text(config[: config.index("nav:")])
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]

    def builds(text):
        (tmp_path / "docs" / "index.md").write_text(f"# Page\n\n{text}\n")
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).returncode == 0

    assert builds("[a](../results/README.md) [b](#page) $\\alpha$")
    for broken in ("[a](../results/NOTHING.md)", "[a](nothing.md)", "[a](#nothing)", "$\\nosuchcommand x$"):
        assert not builds(broken), broken
