"""Measure the bars of the exact solver into `results/exact-bars.json`: `make bars-exact`, about an hour on a core.

A row (`exact_rows.py`) is a kind of instance, a trained network and its images, over seeds; it has a bar that its runs
must meet, or none. A finished run is stored at once; the same command goes on where it stopped and computes again what
older code made. The groups `certificate` and `null` are the certificate's pool; the group `narrow` asks for no recall,
as few units for an image leave much that nobody can be sure of.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from exact_rows import Instance, Row, all_rows
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy.stats import binomtest

from recon.attacks import Reconstruction, reconstruct
from recon.errors import ReconError
from recon.metrics import distances, greedy
from recon.progress import Report, reporter, silent
from recon.records import json_bytes, provenance, read_json, write_bytes

WITHIN = 0.1  # L2 distance of an image that counts as recovered
RELATIVE = 1e-3  # relative distance of a feature vector that does
POOL = ("certificate", "null")  # groups
NARROW = "narrow"  # group
POOL_IMAGES, PRECISION, RECALL = 1000, 0.99, 0.95  # at least
COLUMNS = {"found": "d", "within": "d", "certified": "d", "max": ".1e", "held_out": ".1f", "seconds": ".1f"}
Made = Mapping[str, Sequence[Mapping[str, Any]]]  # runs by the name of their row


def judged(instance: Instance, found: Reconstruction) -> dict[str, Any]:
    """Counts and distances of what an attack found; an image counts once, greedily matched."""
    limit = RELATIVE if instance.relative else WITHIN

    def apart(these: np.ndarray, those: np.ndarray) -> np.ndarray:
        size = np.linalg.norm(these.reshape(len(these), -1), axis=1) if instance.relative else np.ones(len(these))
        return distances(these, those) / size[:, None]

    def nearest(these: np.ndarray, those: np.ndarray) -> float | None:
        return float(apart(these, those).min(1).mean()) if len(those) else None

    matched = greedy(apart(instance.truth, found.images))
    # Images that were not found have index −1.
    sure = None if found.certified is None else np.append(found.certified, False)[matched.index]
    near = matched.distance < limit
    out = matched.distance[np.isfinite(matched.distance)]
    return {
        "unit": "relative" if instance.relative else "L2",
        "limit": limit,
        "found": len(found.images),
        "certified": None if found.certified is None else int(found.certified.sum()),
        "within": int(near.sum()),
        "certified_within": None if sure is None else int((near & sure).sum()),
        "mean": float(out.mean()) if len(out) else None,
        "median": float(np.median(out)) if len(out) else None,
        "max": float(out.max()) if len(out) else None,
        "held_out": nearest(instance.held_out, found.images),
        "start": nearest(instance.truth, found.start),
    }


def measure(row: Row, seed: int, report: Report = silent) -> dict[str, Any]:
    """Train, attack, judge.

    Raises:
      KeyboardInterrupt: Ctrl-C; a partial run is none.
    """
    stamp = {"seed": seed, "code_version": row.version, "n": row.n, "width": row.width, "ratio": row.width / row.n}
    try:
        report(0.0, "training")
        instance = row.make(seed, row.n, row.width)
        found = reconstruct(
            instance.before, instance.after, attack=row.attack, image_shape=instance.truth.shape[1:], box=instance.box,
            m=2 * row.n, linearised=instance.linearised, state=instance.state, key=seed, progress=report, **row.options,
        )  # fmt: skip
        if found.interrupted:
            raise KeyboardInterrupt
        stamp |= {
            **instance.facts,
            **judged(instance, found),
            "state": instance.state is not None,
            "n_estimated": found.n_estimated,
            "why": found.why,
            "starts": found.work.get("starts"),
            "seconds": found.seconds["run"],
        }
    except ReconError as error:
        stamp["error"] = str(error)
    return {**stamp, "made_at": datetime.now(UTC).isoformat(timespec="seconds")}


def complete(row: Row, runs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every seed has a run of the present code."""
    return {run["seed"] for run in runs if run["code_version"] == row.version} == set(row.seeds)


def share(part: int, whole: int) -> dict[str, Any]:
    """A proportion."""
    return {"part": part, "of": whole, "value": part / whole if whole else None}


def tallied(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Images of some runs, how many came back, how many are certified, and the certificate's precision.

    The images of one network share its errors, so the interval (Clopper-Pearson, 95 %) is over networks: those of which
    the certificate is right in whole, of those of which it certifies anything.
    """
    total = {k: sum(run[k] for run in runs) for k in ("n", "within", "certified", "certified_within")}
    certifying = [run for run in runs if run["certified"]]
    right = sum(run["certified"] == run["certified_within"] for run in certifying)
    interval = binomtest(right, len(certifying)).proportion_ci(0.95, method="exact") if certifying else None
    bounds = {"low": interval and float(interval.low), "high": interval and float(interval.high)}
    return {
        "images": total["n"],
        "recoverable": total["within"],
        "certified": total["certified"],
        "certified_within": total["certified_within"],
        "precision": share(total["certified_within"], total["certified"]),
        "networks": share(right, len(certifying)) | bounds,
    }


def certificate(rows: Sequence[Row], made: Made) -> dict[str, Any]:
    """Precision and recall of the certificate over the pool, and what it certified on null instances."""
    runs = {g: [run for row in rows if row.group == g for run in made.get(row.name, ())] for g in POOL}
    pool, nulls = ([run for run in runs[g] if "error" not in run] for g in POOL)
    total = tallied(pool)
    recall = share(total["certified_within"], total["recoverable"])
    false = sum(run["certified"] for run in nulls)
    done = all(complete(row, made.get(row.name, ())) for row in rows if row.group in POOL)
    high = (total["precision"]["value"] or 0) >= PRECISION and (recall["value"] or 0) >= RECALL
    failed = sum("error" in run for g in POOL for run in runs[g])
    met = total["images"] >= POOL_IMAGES and high and false == 0 and not failed
    return {
        "bar": f"≥ {POOL_IMAGES} images, precision ≥ {PRECISION}, recall of the recoverable ≥ {RECALL}, null: none",
        "met": met if done else None,
        **total,
        "recall": recall,
        "null": {"runs": len(nulls), "images": sum(run["n"] for run in nulls), "certified": false},
        "failed_runs": failed,
    }


def narrow(rows: Sequence[Row], made: Made) -> dict[str, Any]:
    """Precision of the certificate where the first layer has few units for each image."""
    chosen = [row for row in rows if row.group == NARROW]
    every = [run for row in chosen for run in made.get(row.name, ())]
    runs = [run for run in every if "error" not in run]
    total = tallied(runs)
    done = bool(chosen) and all(complete(row, made.get(row.name, ())) for row in chosen)
    met = (
        total["certified"] >= POOL_IMAGES
        and (total["precision"]["value"] or 0) >= PRECISION
        and len(runs) == len(every)
    )
    return {
        "bar": f"≥ {POOL_IMAGES} images certified, precision ≥ {PRECISION}",
        "met": met if done else None,
        **total,
        "units_per_image": [min(ratios), max(ratios)] if (ratios := [row.width / row.n for row in chosen]) else None,
    }


def record(rows: Sequence[Row], made: Made) -> dict[str, Any]:
    """Everything measured so far, with verdicts: null without a bar, or while runs of the present code are missing."""
    return {
        "provenance": provenance(),
        "certificate": certificate(rows, made),
        "narrow": narrow(rows, made),
        "rows": [
            {
                "group": row.group,
                "name": row.name,
                "attack": row.attack,
                "options": row.options,
                "bar": None if row.bar is None else row.bar.text,
                "met": row.bar.met(runs) if row.bar is not None and complete(row, runs) else None,
                "runs": runs,
            }
            for row in rows
            if (runs := made.get(row.name))
        ],
    }


def stored(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Runs by the name of their row, from an earlier record if there is one."""
    return {row["name"]: row["runs"] for row in read_json(path)["rows"]} if path.exists() else {}


def run(
    chosen: Sequence[Row],
    out: Path,
    *,
    rows: Sequence[Row] | None = None,
    seeds: int | None = None,
    force: bool = False,
    progress: bool | Report = True,
) -> dict[str, Any]:
    """Measure what the record at `out` lacks of the chosen rows and store it run by run; returns the record.

    Args:
      rows: all the rows that a record may hold (default: the chosen ones).
      seeds: at most so many seeds of each row.
      force: measure even what is there.
    """
    rows, made = chosen if rows is None else rows, stored(out)
    todo = [
        (row, seed)
        for row in chosen
        for seed in row.seeds[:seeds]
        if force or not any(r["seed"] == seed and r["code_version"] == row.version for r in made.get(row.name, ()))
    ]
    total, done = sum(row.n * row.width for row, _ in todo), 0  # large instances take longer
    with reporter("exact bars", progress) as report:
        for row, seed in todo:
            before, part, title = done / total, row.n * row.width / total, f"{row.name}, seed {seed}"
            new = measure(row, seed, lambda f, text: report(before + part * f, f"{title}: {text}"))  # noqa: B023
            others = [r for r in made.get(row.name, ()) if r["seed"] in row.seeds and r["seed"] != seed]
            made[row.name] = sorted([*others, new], key=lambda r: r["seed"])
            write_bytes(out, json_bytes(record(rows, made)))
            done += row.n * row.width
    return record(rows, made)


def shown(made: Mapping[str, Any], console: Console) -> None:
    """Print the rows with their bars, and the certificate's summary."""
    columns = ("instance", *COLUMNS, "why", "bar", "met")
    table = Table(*columns, title="Exact recovery", title_style="bold", header_style="bold", box=SIMPLE_HEAD)
    words = {True: "[green]met[/]", False: "[red]not met[/]", None: ""}
    for row in made["rows"]:
        numbers = (", ".join(number(run.get(key), form) for run in row["runs"]) for key, form in COLUMNS.items())
        why = "; ".join(dict.fromkeys(run.get("error", run.get("why")) for run in row["runs"]))
        table.add_row(row["name"], *numbers, escape(why), row["bar"] or "", words[row["met"]])
    console.print(table)
    for key, title in (("certificate", "Certificate"), ("narrow", "Narrow")):
        c = made[key]
        text = (
            f"{title}: {c['images']} images, {c['recoverable']} recoverable, {c['certified']} certified, precision "
            f"{number(c['precision']['value'], '.4f')}; right in whole on {c['networks']['part']} of "
            f"{c['networks']['of']} networks, [{number(c['networks']['low'], '.3f')}, "
            f"{number(c['networks']['high'], '.3f')}]"
        )
        if key == "certificate":
            text += f"; recall {number(c['recall']['value'], '.3f')}"
            text += f"; null: {c['null']['certified']} of {c['null']['images']} certified"
        console.print(escape(text + ". ") + words[c["met"]])


def number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def main(argv: Sequence[str] | None = None) -> None:
    rows = all_rows()
    groups = [*dict.fromkeys(row.group for row in rows)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/exact-bars.json"), help="the record (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=groups, metavar="GROUP", help=f"only these of {', '.join(groups)}")
    parser.add_argument("--seeds", type=int, metavar="K", help="at most K seeds of each row, to try things out")
    parser.add_argument("--force", action="store_true", help="measure again what is stored")
    args = parser.parse_args(argv)
    chosen = [row for row in rows if args.only is None or row.group in args.only]
    console = Console() if sys.stdout.isatty() else Console(width=200)  # a log has no width of its own
    try:
        shown(run(chosen, args.out, rows=rows, seeds=args.seeds, force=args.force), console)
    except KeyboardInterrupt:
        sys.exit("Interrupted: finished runs are stored, the same command goes on from there.")
    except ReconError as error:
        sys.exit(f"error: {error}")
    console.print(f"Stored in {args.out}.")


if __name__ == "__main__":
    main()
