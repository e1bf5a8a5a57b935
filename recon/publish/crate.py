"""A folder of results described for machines: RO-Crate 1.2 (https://w3id.org/ro/crate/1.2), which is JSON-LD.

Records are files with their hash; pictures and tables are based on their record; a record was created by the suite at a
commit; the whole cites the paper. Nothing in it depends on when it is written.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from recon.publish.citation import digest, paper_of

NAME = "ro-crate-metadata.json"
SPECIFICATION = "https://w3id.org/ro/crate/1.2"
LICENCES = "https://spdx.org/licenses/"
# Of what is kept in git; PDF and SVG are drawn again from a record.
MEDIA_TYPES = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".md": "text/markdown",
    ".png": "image/png",
    ".tex": "application/x-tex",
}

Entity = dict[str, Any]
Records = Mapping[Path, Mapping[str, Any]]


def crate(results: Path, records: Records, cff: Mapping[str, Any]) -> Entity:
    """The metadata document of a folder of results.

    Args:
      results: the folder.
      records: the records of figures in it, by path.
      cff: the suite's citation metadata.
    """
    paper, licence, developers = paper_of(cff), LICENCES + cff["license"], {"@id": "#developers"}
    people = [_person(p) for p in paper["authors"]]
    article = {
        "@id": f"https://doi.org/{paper['doi']}",
        "@type": "ScholarlyArticle",
        "name": paper["title"],
        "author": _references(people),
        "datePublished": str(paper["year"]),
        "url": paper["url"],
    }
    context = [
        {"@id": licence, "@type": "CreativeWork", "name": cff["license"],
         "description": f"{cff['license']}, by its identifier in the SPDX licence list"},
        {**developers, "@type": "Organization", "name": cff["authors"][0]["name"]},
        article,
        *people,
    ]  # fmt: skip
    # The suite at every commit that a record was made at.
    software = {}
    for facts in (made["provenance"] for made in records.values()):
        software[_software_id(facts)] = {
            "@id": _software_id(facts),
            "@type": "SoftwareApplication",
            "name": cff["title"],
            "softwareVersion": facts["versions"]["recon"],
            "version": f"commit {facts['commit'] or 'unknown'}{' with changes' if facts['dirty'] else ''}",
            # The identifier of a commit that ISO/IEC 18670 gives it, wherever the repository is kept.
            **({"url": f"swh:1:rev:{facts['commit']}"} if facts["commit"] else {}),
            "license": {"@id": licence},
            "author": developers,
        }
    actions = [_action(path, made, results, developers) for path, made in records.items()]
    files = [_file(path, results, records) for path in sorted(results.rglob("*")) if _belongs(path, results)]
    folders = list(_folders(files, results, records))
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Results of {cff['title']}",
        "description": cff["abstract"].strip(),
        "datePublished": max(made["provenance"]["made_at"] for made in records.values())[:10],
        "license": {"@id": licence},
        "author": developers,
        "publisher": developers,
        "citation": {"@id": article["@id"]},
        "hasPart": _references([*folders, *(f for f in files if "/" not in f["@id"])]),
        "mentions": _references(actions),
    }
    about = {"@id": NAME, "@type": "CreativeWork", "conformsTo": {"@id": SPECIFICATION}, "about": {"@id": "./"}}
    graph = [about, root, *folders, *files, *context, *(software[name] for name in sorted(software)), *actions]
    return {"@context": f"{SPECIFICATION}/context", "@graph": graph}


def _action(path: Path, made: Mapping[str, Any], results: Path, developers: Entity) -> Entity:
    """What created a record: the suite at a commit, with its libraries' versions."""
    facts = made["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return {
        "@id": f"#made-{_id(path.with_suffix(''), results).replace('/', '-')}",
        "@type": "CreateAction",
        "name": made.get("command", f"recon reproduce {made['figure']} --preset {made['preset']}"),
        "description": f"Pictures: {made['source']}. {versions}.",
        "agent": developers,
        "instrument": {"@id": _software_id(facts)},
        "endTime": facts["made_at"],
        "result": {"@id": _id(path, results)},
    }


def _file(path: Path, results: Path, records: Records) -> Entity:
    made: Entity = {"@id": _id(path, results), "@type": "File", "encodingFormat": MEDIA_TYPES[path.suffix]}
    if path in records:
        record = records[path]
        return made | {
            "name": f"{record['title']} Record: preset {record['preset']}, pictures {record['source']}.",
            "contentSize": str(path.stat().st_size),
            "sha256": digest(path),
            "dateCreated": record["provenance"]["made_at"],
        }
    for source, record in records.items():
        if path.parent == source.parent and f"{path.stem}-".startswith(f"{source.stem}-"):
            kind = "Picture" if path.suffix == ".png" else "Table"
            based = {"isBasedOn": {"@id": _id(source, results)}}
            return made | {"name": f"{record['title']} {kind} {path.name}."} | based
    return made | {"name": path.name}


def _folders(files: Sequence[Entity], results: Path, records: Records) -> Iterator[Entity]:
    """A data set for each folder, named by its figure's title."""
    titles = {_id(path.parent, results): made["title"] for path, made in records.items()}
    for folder in dict.fromkeys(f["@id"].rpartition("/")[0] for f in files if "/" in f["@id"]):
        parts = [f for f in files if f["@id"].rpartition("/")[0] == folder]
        name = titles.get(folder, folder.capitalize())
        yield {"@id": f"{folder}/", "@type": "Dataset", "name": name, "hasPart": _references(parts)}


def _person(person: Mapping[str, str]) -> Entity:
    given, family = person["given-names"], person["family-names"]
    identity = quote(f"{given}-{family}".replace(" ", "-"))
    return {"@id": f"#{identity}", "@type": "Person", "name": f"{given} {family}", "familyName": family}


def _software_id(facts: Mapping[str, Any]) -> str:
    return f"#recon-{(facts['commit'] or 'unknown')[:12]}{'-with-changes' if facts['dirty'] else ''}"


def _references(entities: Sequence[Entity]) -> list[Entity]:
    return [{"@id": e["@id"]} for e in entities]


def _id(path: Path, results: Path) -> str:
    return quote(path.relative_to(results).as_posix())


def _belongs(path: Path, results: Path) -> bool:
    """Whether a file is a result: not hidden, not this document, nothing that LaTeX leaves beside its source."""
    inside = path.relative_to(results)
    left = inside.parts[0] == "tables" and path.suffix != ".tex"
    return path.is_file() and path.suffix in MEDIA_TYPES and path.name != NAME and inside.name[0] != "." and not left
