"""Audits of many checkpoints against the same initial weights: what training had given away, and from when on.

Each checkpoint has a folder of its own, with the report that an audit of it alone has, and a file that tells what was
found and of which bytes, options and code. That file is written last: a checkpoint has it or is audited again.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from recon import reading
from recon.auditing.pipeline import Checked, findings, unanswered
from recon.auditing.report import save
from recon.auditing.result import Audit
from recon.auditing.run import audit
from recon.auditing.verdict import leaks
from recon.errors import ReconError
from recon.plots import COLOURS, Figure, new_figure
from recon.plots import save as save_figure
from recon.progress import Report, reporter
from recon.publish import csv_table, markdown_table
from recon.records import json_bytes, write_bytes
from recon.records.code_version import code_version, library_versions
from recon.weights.files import PICKLES, read_arrays, told_activation
from recon.weights.formats import formats
from recon.weights.names import natural

DONE, TABLE = "audited.json", "checkpoints"
PARTS = ".safetensors.index.json"
FILES = ("data", "held_out")  # options that name files, whose bytes count
COLUMNS = ("checkpoint", "step", "images by the rank", "certified", "vouched for", "within the limit", "leaks",
           "seconds", "note")  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What was found in a checkpoint.

    Attributes:
      name: of its file or folder.
      key: of its bytes, the options and the code; empty where it was refused.
      rank, certified, vouched, seconds: as of `Audit`.
      within: training images given that came back; None where none were given.
      leaks: whether anything came back.
      findings, unanswered: as `recon.auditing.pipeline` has them.
      refused: why it could not be audited; empty where it was.
    """

    name: str
    key: str = ""
    rank: int | None = None
    certified: int | None = None
    vouched: int = 0
    within: int | None = None
    leaks: bool = False
    seconds: float = 0.0
    findings: dict[str, str] = field(default_factory=dict)
    unanswered: dict[str, str] = field(default_factory=dict)
    refused: str = ""


@dataclass(frozen=True)
class Course:
    """What was found along a run of training.

    Attributes:
      rows: by checkpoint, in the order of their names.
      kept: how many of them were audited before, by an earlier command.
      interrupted: it was stopped from the keyboard; the rows are those of checkpoints finished until then.
    """

    rows: tuple[Row, ...]
    kept: int = 0
    interrupted: bool = False

    def checked(self, folder: Path, fail_on: str | None) -> list[Checked]:
        """As `recon.auditing.pipeline` takes them, of checkpoints in a folder.

        Args:
          fail_on: name of the pipeline's question, if it has one.
        """
        refused = [row.refused or row.unanswered.get(fail_on or "", "") for row in self.rows]
        told = zip(self.rows, refused, strict=True)
        return [Checked(folder / row.name, row.findings, row.seconds, why) for row, why in told]


def audit_checkpoints(
    initial: Path, folder: Path, out: Path, *, progress: bool | Report = True, **options: Any
) -> Course:
    """Audit each checkpoint of a folder, but for those that are audited already; write a report of each and of all.

    Args:
      initial: file of the weights before training.
      folder: of the checkpoints, see `checkpoints_in`.
      out: folder for the reports; in it, each checkpoint has a folder of its name.
      progress: as `audit` takes it; of the whole.
      options: as `audit` takes them, plain values and files.

    Raises:
      ReconError: there is no checkpoint, a place cannot be written or is the checkpoints' own, or all were refused for
        the same reason, as where the initial weights cannot be read. One that cannot be audited is no error but a row
        that says why.
    """
    there = checkpoints_in(folder)
    if out.resolve() == folder.resolve() or any(out.resolve().is_relative_to(path.resolve()) for path in there):
        raise ReconError(f"The reports of {out} would lie among the checkpoints: give --out a folder of its own.")
    start = digest_of_weights(initial)
    digests = {path: own for path in there if (own := digest_of_weights(path)) != start}
    if not digests:
        raise ReconError(f"{folder} holds no checkpoint but the initial weights: add those of later steps.")
    common, found = depends_on(options), [*digests]
    keys = {path: digest_of([start, own, common]) for path, own in digests.items()}
    rows = {path: row for path in found if (row := finished(out / path.name, keys[path])) is not None}
    todo, kept, interrupted = [path for path in found if path not in rows], len(rows), False
    with reporter(f"{len(todo)} of {len(found)} checkpoints", progress) as report:
        for i, path in enumerate(todo):

            def part(fraction: float, text: str, i: int = i, name: str = path.name) -> None:
                report((i + fraction) / len(todo), f"{name}: {text}")

            part(0.0, "")
            try:
                made = audit(initial, path, **options, progress=part)
                interrupted = made.stopped
                if not interrupted:
                    rows[path] = keep(made, path.name, keys[path], out / path.name)
            except ReconError as error:
                rows[path] = Row(path.name, refused=str(error))
            except KeyboardInterrupt:
                interrupted = True
            if interrupted:
                break
    course = Course(tuple(rows[path] for path in found if path in rows), kept, interrupted)
    if course.rows and (same := course.rows[0].refused) and all(row.refused == same for row in course.rows):
        raise ReconError(same)  # it is no checkpoint's own: initial weights, images or options
    save_course(course, out)
    return course


def checkpoints_in(folder: Path) -> list[Path]:
    """Files of weights in a folder, and folders with one file or set of weights, in the natural order of their names.

    Pickles, which are not read, count too, so that none goes unseen; other files, such as of settings, do not.

    Raises:
      ReconError: none are there, or the folder is itself one checkpoint in parts.
    """
    try:
        inside = sorted((path for path in folder.iterdir() if path.name[0] != "."), key=lambda p: natural(p.name))
    except OSError as error:
        raise ReconError(f"{folder} cannot be read ({error.strerror}): give a folder of checkpoints.") from error
    if any(path.name.endswith(PARTS) for path in inside):
        raise ReconError(f"{folder} holds one set of weights in parts: give it as --final, or the folder around it.")
    found = [path for path in inside if is_checkpoint(path)]
    if not found:
        raise ReconError(f"{folder} holds no file of weights: give a folder of checkpoints, as .safetensors or .npz.")
    return found


def is_checkpoint(path: Path) -> bool:
    """Whether a path is weights by its name, or a folder of such files, which the reports of checkpoints are not."""
    if path.is_dir():
        return any(file.is_file() for name in ("*.safetensors", "_METADATA", "*/_METADATA") for file in path.glob(name))
    return path.suffix in (*PICKLES, *(suffix for known in formats().values() for suffix in known.suffixes))


def digest(path: Path) -> str:
    """Hash of a file's bytes, or of all files in a folder, with their names.

    Raises:
      ReconError: it cannot be read.
    """
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        files = sorted(file for file in path.rglob("*") if file.is_file())
        parts = [f"{file.relative_to(path).as_posix()} {digest(file)}" for file in files]
    except OSError as error:
        raise ReconError(f"{path} cannot be read ({error.strerror}): give a file, or a folder of files.") from error
    return digest_of(parts)


def digest_of_weights(path: Path) -> str:
    """Hash of all that an audit reads of weights: arrays and an activation may lie in files beside the one given.

    Raises:
      ReconError: the file cannot be opened.
    """
    told = [digest(path)]
    try:
        arrays, activation = read_arrays(path), told_activation(path)
    except ReconError:  # which the audit says, too
        return digest_of(told)
    for name, array in arrays.items():
        content = hashlib.sha256(array.tobytes()).hexdigest()
        told.append(f"{name} {array.dtype} {array.shape} {content}")
    return digest_of([*told, activation])


def depends_on(options: Mapping[str, Any]) -> list[Any]:
    """All that an audit's result depends on beside the weights: options, the bytes of their files, code, libraries."""
    files = {name: digest(Path(options[name])) for name in FILES if options.get(name) is not None}
    rest = {name: value for name, value in options.items() if name not in FILES}
    return [files, rest, code_version(), library_versions()]


def digest_of(value: Any) -> str:
    """Hash of plain values."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def finished(folder: Path, key: str) -> Row | None:
    """What was found in a checkpoint, if it was audited with this key."""
    try:
        row = reading.json(folder / DONE, Row)
    except (OSError, ValueError):
        return None
    return row if row.key == key else None


def keep(made: Audit, name: str, key: str, folder: Path) -> Row:
    """Write a checkpoint's report, and what was found in it."""
    (folder / DONE).unlink(missing_ok=True)  # that of other options, which they may be again
    save(made, folder)
    row = Row(
        name=name,
        key=key,
        rank=made.n,
        certified=made.certified,
        vouched=made.vouched,
        within=None if made.train is None else made.train.within,
        leaks=leaks(made),
        seconds=made.seconds,
        findings=findings(made),
        unanswered=unanswered(made),
    )
    write_bytes(folder / DONE, json_bytes(asdict(row)))
    return row


def steps(rows: Sequence[Row]) -> list[int]:
    """The step of each checkpoint: the last number of its name, if all have one of their own; else its place."""
    numbers = [re.findall(r"\d+", Path(row.name).stem) for row in rows]
    told = [int(found[-1]) for found in numbers if found]
    return told if len(set(told)) == len(rows) else [*range(1, len(rows) + 1)]


def save_course(course: Course, folder: Path) -> None:
    """Write the table as Markdown and CSV, and the plot.

    Raises:
      ReconError: the place cannot be written.
    """
    if not course.rows:
        return
    table = lines(course.rows)
    linked = [(f"[{name}](<{name}/report.md>)" if not row.refused else name, *rest)
              for (name, *rest), row in zip(table, course.rows, strict=True)]  # fmt: skip
    words = f"# Audits over training\n\n{markdown_table(COLUMNS, linked)}\n\n![Leakage over training]({TABLE}.png)\n"
    write_bytes(folder / f"{TABLE}.md", words.encode())
    write_bytes(folder / f"{TABLE}.csv", csv_table(COLUMNS, table).encode())
    save_figure(drawn(course.rows), folder / TABLE)


def lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The table's, see `COLUMNS`."""
    made = []
    for row, step in zip(rows, steps(rows), strict=True):
        counts = (row.rank, row.certified, row.vouched, row.within)
        told = ["" if row.refused or count is None else str(count) for count in counts]
        answer, seconds = ("", "") if row.refused else ("yes" if row.leaks else "no", f"{row.seconds:.1f}")
        made.append((row.name, str(step), *told, answer, seconds, row.refused))
    return made


def drawn(rows: Sequence[Row]) -> Figure:
    """Images that come back over the checkpoints, and the time that the audits took."""
    figure = new_figure(5.5, 3.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    at = [(step, row) for step, row in zip(steps(rows), rows, strict=True) if not row.refused]
    x = [step for step, _ in at]
    nan = float("nan")

    def line(values: Sequence[float | None], label: str, **look: Any) -> None:
        if any(value is not None for value in values):
            above.plot(x, [nan if value is None else value for value in values], label=label, **look)

    line([row.rank for _, row in at], "shown by the rank", color=COLOURS["held_out"], ls="--", marker="o", ms=3)
    line([row.within for _, row in at], "within the limit of one given", color=COLOURS["start"], marker="s", ms=4)
    line([row.vouched for _, row in at], "certified, or up to their brightness", color=COLOURS["standard"], marker="o",
         ms=5)  # fmt: skip
    line([row.certified for _, row in at], "certified", color=COLOURS["linearised"], marker="o", ms=3)
    above.set(ylabel="training images", ylim=(0, None))
    if at:
        above.legend()
    below.plot(x, [row.seconds for _, row in at], color="black", marker="o", ms=3)
    below.set(xlabel="checkpoint", ylabel="seconds", ylim=(0, None))
    return figure
