"""Feed every file reader of the suite with damaged real files: `make fuzz`, into .recon/fuzz.json.

    python -m tests.fuzz.run weights-npz --inputs 500        # some readers, without a record
    python -m tests.fuzz.run weights-npz --only 17           # one input again, with its traceback

Each reader gets inputs made from real files by damage (tests/fuzz/mutations.py) and, where Python does the reading,
as many that Atheris makes, guided by the branches that earlier ones took. A reader runs in a process of its own with a
bound on memory. It may succeed or raise a `ReconError` of one line within five seconds of CPU; everything else is a
finding, a process that dies or hangs as well.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from tests.fuzz.readers import READERS, ROOT, Files, Reader, files_of, laid

SECONDS = 5.0  # of CPU that an input may take
STUCK = 300.0  # seconds after which a process that shows no progress is killed
MEMORY = 1 << 30  # bytes that reading may take beyond what the process has when it starts
LONGEST = 65536  # bytes of a guided input
# Of the package.
READING = (
    "reading.py",
    "errors.py",
    "benchmark.py",
    "distillation/base.py",
    "data",
    "records",
    "regression",
    "weights",
)


class HangError(BaseException):
    """An input took too long."""


def starts(reader: Reader) -> list[Files]:
    """The real files that inputs are made from."""
    made = []
    for make in reader.make:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder))
            made.append(files_of(Path(folder)))
    return made


def bounded() -> None:
    """Bound this process's memory, and let an input that takes too long raise."""

    def late(*_: Any) -> None:
        raise HangError

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, late)


def outcome(reader: Reader, files: Files, folder: Path) -> tuple[str, str]:
    """What a reader made of an input: "read", "refused", "refused for memory", or "found" with where and what."""
    from recon.errors import ReconError

    laid(files, folder)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        reader.read(folder)
    except ReconError as error:
        if "\n" in str(error) or not str(error).isprintable():
            return "found", f"a message of several lines or with control characters: {str(error)[:80]!r}"
        return ("refused for memory" if isinstance(error.__cause__, MemoryError) else "refused"), str(error)
    except HangError:
        return "found", f"more than {SECONDS:g} s"
    except Exception as error:
        return "found", place(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "read", ""


def place(error: Exception) -> str:
    """The kind of an exception and the project's line that it left from: equal ones are one finding."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if str(ROOT / "recon") in f.filename]
    where = f"{Path(frames[-1].filename).relative_to(ROOT)}, {frames[-1].name}" if frames else "outside the package"
    return f"{type(error).__name__} in {where}"


def child(args: argparse.Namespace) -> None:
    """Feed a reader; says after every input in `args.log` how far it is, and what it found."""
    warnings.simplefilter("ignore")
    reader, log = READERS[args.child], Path(args.log)
    began, spoken, counts, found = time.monotonic(), 0.0, Counter[str](), dict[str, Any]()

    def told(i: int, last: bool = False) -> None:
        nonlocal spoken
        if last or time.monotonic() - spoken > 1:
            spoken = time.monotonic()
            state = {"at": i, "counts": counts, "found": found, "seconds": spoken - began}
            log.with_suffix(".new").write_text(json.dumps(state))
            os.replace(log.with_suffix(".new"), log)

    def tried(i: int, files: Files, folder: Path) -> None:
        told(i)
        (log.parent / "now").write_text(str(i))
        kind, text = outcome(reader, files, folder)
        counts[kind] += 1
        if kind == "found":
            found.setdefault(text, {"inputs": 0, "first": i})["inputs"] += 1

    shm = Path("/dev/shm")  # a folder in memory, where there is one
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=shm if os.access(shm, os.W_OK) else None) as name:
        folder = Path(name) / "files"
        if args.guided:
            guided(reader, args, tried, told, folder)
        real = starts(reader)
        for files in real:
            kind, text = outcome(reader, files, folder)
            assert kind == "read", f"A real file is not read: {text}"
        bounded()
        for i in range(args.first, args.inputs):
            tried(i, nth(reader, real, i), folder)
        told(args.inputs, last=True)


def nth(reader: Reader, real: list[Files], i: int) -> Files:
    """The input of a number, the same every time."""
    rng = random.Random(f"{reader.name} {i}")
    return reader.change(rng, rng.choice(real))


def guided(reader: Reader, args: argparse.Namespace, tried: Any, told: Any, folder: Path) -> None:
    """The same with inputs that Atheris makes; ends the process. The largest of the files is what it changes."""
    import atheris

    with atheris.instrument_imports(include=list(reader.guides), enable_loader_override=False):
        real = starts(reader)
        for files in real:
            outcome(reader, files, folder)
    corpus = folder.parent / "corpus"
    corpus.mkdir()
    names = [max(files, key=lambda n: len(files[n])) for files in real]
    for i, (files, name) in enumerate(zip(real, names, strict=True)):
        (corpus / str(i)).write_bytes(bytes([i]) + files[name])
    done = [args.first]

    def one(data: bytes) -> None:
        if done[0] >= args.inputs:
            told(done[0], last=True)
            shutil.rmtree(folder.parent, ignore_errors=True)
            os._exit(0)
        which = data[0] % len(real) if data else 0
        tried(done[0], real[which] | {names[which]: data[1:]}, folder)
        done[0] += 1

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5 or not data:
            return bytes(atheris.Mutate(data, most))
        which = data[0] % len(real)
        changed = reader.change(rng, real[which] | {names[which]: data[1:]})
        return (data[:1] + changed.get(names[which], b""))[:most]

    bounded()
    options = ["-runs=-1", f"-max_len={LONGEST}", "-timeout=3600", "-rss_limit_mb=0", f"-seed={args.first + 1}"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=mutated)
    atheris.Fuzz()


def fed(reader: Reader, inputs: int, guided: bool) -> dict[str, Any]:
    """Feed a reader in processes of their own: one that dies or hangs is a finding, the next goes on behind it."""
    counts, found, first, seconds = Counter[str](), {}, 0, 0.0
    while first < inputs:
        with tempfile.TemporaryDirectory(prefix="fuzz-log-") as folder:
            log, now = Path(folder) / "log.json", Path(folder) / "now"
            command = [sys.executable, "-m", "tests.fuzz.run", "--child", reader.name, "--log", str(log)]
            command += ["--first", str(first), "--inputs", str(inputs), *(["--guided"] if guided else [])]
            with open(Path(folder) / "stderr", "w+") as errors:
                here = os.environ | {"TMPDIR": folder}
                process = subprocess.Popen(command, stdout=errors, stderr=errors, cwd=ROOT, env=here)
                died = watched(process, now)
                errors.seek(0)
                said = errors.read()[-2000:]
            state = json.loads(log.read_text()) if log.exists() else {"at": 0, "counts": {}, "found": {}, "seconds": 0}
            counts.update(state["counts"])
            seconds += state["seconds"]
            for text, what in state["found"].items():
                found.setdefault(text, {"inputs": 0, "first": what["first"]})["inputs"] += what["inputs"]
            if not died and state["at"] >= inputs:
                break
            if not now.exists():
                sys.exit(f"{reader.name}: its process ended before the first input ({died}).\n{said}")
            at = int(now.read_text() or state["at"])
            last = (said.strip().splitlines() or [""])[-1][:80]
            found.setdefault(f"the process {died}: {last}", {"inputs": 0, "first": at})["inputs"] += 1
            counts["found"] += 1
            # Inputs since the last word of the process that died are not counted.
            first = at + 1
    return {"inputs": sum(counts.values()), **counts, "seconds": round(seconds, 1), "findings": found}


def watched(process: subprocess.Popen[bytes], now: Path) -> str:
    """Wait for a process; what it died of, or nothing."""
    last, since = "", time.monotonic()
    while True:
        try:
            code = process.wait(0.5)
            return "" if code == 0 else f"ended with {code}"
        except subprocess.TimeoutExpired:
            said = now.read_text() if now.exists() else ""
            if said != last:
                last, since = said, time.monotonic()
            elif time.monotonic() - since > STUCK:
                process.kill()
                process.wait()
                return f"showed no progress for {STUCK:g} s"


def once(reader: Reader, i: int) -> None:
    """Read one input again."""
    with tempfile.TemporaryDirectory() as folder:
        files = nth(reader, starts(reader), i)
        laid(files, Path(folder) / "files")
        print({name: len(content) for name, content in files.items()})
        print(reader.read(Path(folder) / "files"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", help=f"some of {', '.join(READERS)} (default: all, and store the record)")
    parser.add_argument("--inputs", type=int, default=10_000, help="for each reader, and again as many guided ones")
    parser.add_argument("--only", type=int, help="read the input of this number, and nothing else")
    parser.add_argument("--no-guided", action="store_true", help="do without Atheris")
    parser.add_argument("--out", type=Path, help="file for the record (default: .recon/fuzz.json)")
    for name, kind in (("--child", str), ("--log", str), ("--first", int)):
        parser.add_argument(name, type=kind, default=0 if kind is int else None, help=argparse.SUPPRESS)
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args)
    if args.only is not None:
        return once(READERS[args.readers[0]], args.only)
    return record(args)


def record(args: argparse.Namespace) -> None:
    """Feed the readers one after the other; every result is stored when it is there, and not made again."""
    from recon.records import json_bytes, provenance, read_json, write_bytes

    out = args.out or (None if args.readers else ROOT / ".recon" / "fuzz.json")
    made: dict[str, Any] = read_json(out) if out and out.exists() else {}
    rows = made.setdefault("readers", {})
    with_atheris = importlib.util.find_spec("atheris") is not None and not args.no_guided
    if not with_atheris:
        print("Without Atheris: damaged files only.", file=sys.stderr)
    for name in args.readers or READERS:
        reader, state = READERS[name], code()
        row = rows[name] if rows.get(name, {}).get("code") == state else {"code": state}
        for way in ("damaged", "guided"):
            if way == "guided" and not (reader.guides and with_atheris):
                continue
            if out is None or row.get(way, {}).get("inputs", 0) < args.inputs:
                print(f"{name}, {way} ...", file=sys.stderr, flush=True)
                row[way] = fed(reader, args.inputs, way == "guided")
                print(name, way, json.dumps(row[way]), flush=True)
                rows[name] = row | {"provenance": provenance()}
                if out:
                    write_bytes(out, json_bytes(made))
    found = [
        f"{n}: {text}"
        for n, row in rows.items()
        for way in ("damaged", "guided")
        for text in row.get(way, {}).get("findings", {})
    ]
    print(*found, sep="\n")
    sys.exit(1 if found else None)


def code() -> str:
    """Version of what reads, and of what it is fed with: a reader that was fed at another is fed again."""
    from recon.records.code_version import syntax_digest

    files = [f for part in READING for f in sorted((ROOT / "recon" / part).rglob("*.py")) or [ROOT / "recon" / part]]
    files += sorted((ROOT / "tests" / "fuzz").glob("*.py"))
    return hashlib.sha256("".join(syntax_digest(f.read_text()) for f in files).encode()).hexdigest()[:12]


if __name__ == "__main__":
    main()
