"""How to cite: the paper, the suite at its commit, and an exact record, from CITATION.cff and the record itself."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recon.errors import ReconError
from recon.publish.tables import latex_text
from recon.records.files import read_json
from recon.records.provenance import ROOT, commit

# Where a figure has several records, the fullest one of the original data comes first.
PRESETS = ("paper", "full", "quick")
SOURCES = ("tfds", "folder", "mixed", "samples")

Fields = dict[str, str]


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


def records_of(
    folder: Path, figure: str, preset: str | None = None, source: str | None = None
) -> list[tuple[Path, dict[str, Any]]]:
    """A figure's records in a folder of results with their paths, the fullest one of the original data first.

    Args:
      preset, source: only records of this preset, of this source of pictures (None: of any).

    Raises:
      ReconError: there is none.
    """
    read = [(path, read_json(path)) for path in sorted((folder / figure).glob("*.json"))]
    found = [(path, made) for path, made in read if {"preset", "source", "cells", "provenance"} <= made.keys()]
    if not found:
        raise ReconError(f"There is no record in {folder / figure}: make one with `recon reproduce {figure}`.")
    wanted = [w for w in found if preset in (None, w[1]["preset"]) and source in (None, w[1]["source"])]
    if not wanted:
        of = " ".join(word for word in (preset, source) if word is not None)
        there = ", ".join(f"{made['preset']} {made['source']}" for _, made in found)
        raise ReconError(f"{figure} has no record of {of}: choose one of {there}.")
    return sorted(wanted, key=lambda w: (_place(PRESETS, w[1]["preset"]), _place(SOURCES, w[1]["source"])))


def bibliography(path: Path, made: Mapping[str, Any], cff: Mapping[str, Any], root: Path = ROOT) -> str:
    """BibTeX of the paper, of the suite at the commit that is checked out, and of a record.

    Args:
      path, made: the record's file and content.
      cff: citation metadata of the suite, see `read_cff`.
      root: what the record's path is given relative to, if it lies inside.
    """
    paper = paper_of(cff)
    head, dirty = commit()
    at = f"commit {head}{' with changes' if dirty else ''}" if head else "of no commit"
    suite = {
        "title": latex_text(cff["title"]),
        "author": authors(cff["authors"]),
        "note": latex_text(f"Version {cff['version']}, {at}; licence {cff['license']}"),
    }
    key = f"{paper['authors'][0]['family-names'].lower()}{paper['year']}"
    return bibtex(
        {
            key: ("inproceedings", paper_fields(paper)),
            "recon": ("misc", suite),
            record_key(made): ("misc", record_fields(path, made, cff, root)),
        }
    )


def paper_fields(paper: Mapping[str, Any]) -> Fields:
    """BibTeX fields of a conference paper in the Citation File Format."""
    fields = {
        # Braces keep the capitals of names, which styles would make small.
        "title": f"{{{latex_text(paper['title'])}}}",
        "author": authors(paper["authors"]),
        "booktitle": latex_text(paper["collection-title"]),
        "year": str(paper["year"]),
        "url": paper["url"],
    }
    return fields | ({"doi": paper["doi"]} if "doi" in paper else {})


def record_fields(path: Path, made: Mapping[str, Any], cff: Mapping[str, Any], root: Path) -> Fields:
    """BibTeX fields of a record: its place, the hash of its bytes, and what made it."""
    facts = made["provenance"]
    place = path.resolve()
    place = place.relative_to(root.resolve()) if place.is_relative_to(root.resolve()) else path
    by = f"commit {facts['commit'] or 'unknown'}{' with changes' if facts['dirty'] else ''}"
    return {
        "title": f"{{{latex_text(made['title'])}}}",
        "author": authors(cff["authors"]),
        "year": facts["made_at"][:4],
        "howpublished": latex_text(f"Record {place} of recon {cff['version']}"),
        "note": latex_text(
            f"Preset {made['preset']}, pictures {made['source']}; made by {by} at {facts['made_at']}; "
            f"SHA-256 {digest(path)}"
        ),
    }


def record_key(made: Mapping[str, Any]) -> str:
    """A BibTeX key of a record, of letters, digits and hyphens."""
    return "-".join(("recon", made["figure"], *made["preset"].split(), made["source"]))


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


def bibtex(entries: Mapping[str, tuple[str, Fields]]) -> str:
    """BibTeX of entries by key, each with its type and its fields in LaTeX."""
    from bibtexparser.entrypoint import write_string
    from bibtexparser.library import Library
    from bibtexparser.model import Block, Entry, Field

    blocks: list[Block] = [
        Entry(kind, key, [Field(name, value) for name, value in fields.items()])
        for key, (kind, fields) in entries.items()
    ]
    return write_string(Library(blocks))


def _place(order: tuple[str, ...], word: str) -> int:
    return order.index(word) if word in order else len(order)
