"""How to cite: the paper, the suite at its commit, and an exact record, from CITATION.cff and the record itself."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recon.errors import ReconError
from recon.publish.tables import latex_text
from recon.records.provenance import ROOT, commit


def read_cff(path: Path = ROOT / "CITATION.cff") -> dict[str, Any]:
    """The suite's citation metadata in the Citation File Format (https://citation-file-format.github.io).

    Raises:
      ReconError: the file is not there, as in a package installed without its checkout.
    """
    import yaml

    try:
        found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReconError(f"There is no {path}: run recon in a checkout of the project.") from error
    return found


def paper_of(cff: Mapping[str, Any]) -> dict[str, Any]:
    """The paper that the suite reproduces: the first reference in its citation metadata."""
    paper: dict[str, Any] = cff["references"][0]
    return paper


def bibliography(path: Path, made: Mapping[str, Any], cff: Mapping[str, Any], root: Path = ROOT) -> str:
    """BibTeX of the paper, of the suite at the commit that is checked out, and of a record.

    Args:
      path, made: the record's file and content: its place, the hash of its bytes and what made it are said.
      cff: citation metadata of the suite, see `read_cff`.
      root: what the record's path is given relative to, if it lies inside.
    """
    paper, facts, suite_by = paper_of(cff), made["provenance"], authors(cff["authors"])
    head, dirty = commit()
    at = f"commit {head}{' with changes' if dirty else ''}" if head else "of no commit"
    place = path.resolve()
    place = place.relative_to(root.resolve()) if place.is_relative_to(root.resolve()) else path
    by = f"commit {facts['commit'] or 'unknown'}{' with changes' if facts['dirty'] else ''}"
    about_paper = {
        # Braces keep the capitals of names, which styles would make small.
        "title": f"{{{latex_text(paper['title'])}}}",
        "author": authors(paper["authors"]),
        "booktitle": latex_text(paper["collection-title"]),
        "year": str(paper["year"]),
        "url": paper["url"],
        "doi": paper["doi"],
    }
    about_suite = {
        "title": latex_text(cff["title"]),
        "author": suite_by,
        "note": latex_text(f"Version {cff['version']}, {at}; licence {cff['license']}"),
    }
    about_record = {
        "title": f"{{{latex_text(made['title'])}}}",
        "author": suite_by,
        "year": facts["made_at"][:4],
        "howpublished": latex_text(f"Record {place} of recon {cff['version']}"),
        "note": latex_text(
            f"Preset {made['preset']}, pictures {made['source']}; made by {by} at {facts['made_at']}; "
            f"SHA-256 {digest(path)}"
        ),
    }
    return bibtex(
        {
            f"{paper['authors'][0]['family-names'].lower()}{paper['year']}": ("inproceedings", about_paper),
            "recon": ("misc", about_suite),
            "-".join(("recon", made["figure"], *made["preset"].split(), made["source"])): ("misc", about_record),
        }
    )


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as `sha256sum` prints it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def authors(people: Iterable[Mapping[str, str]]) -> str:
    """People, and in braces bodies, as BibTeX has them."""
    return " and ".join(
        latex_text(f"{p['family-names']}, {p['given-names']}")
        if "family-names" in p
        else f"{{{latex_text(p['name'])}}}"
        for p in people
    )


def bibtex(entries: Mapping[str, tuple[str, Mapping[str, str]]]) -> str:
    """BibTeX of entries by key, each with its type and its fields in LaTeX."""
    from bibtexparser.entrypoint import write_string
    from bibtexparser.library import Library
    from bibtexparser.model import Block, Entry, Field

    blocks: list[Block] = [
        Entry(kind, key, [Field(name, value) for name, value in fields.items()])
        for key, (kind, fields) in entries.items()
    ]
    return write_string(Library(blocks))
