"""Create the project's virtual environment from the committed lock. Runs on any Python 3.8+, standard library only.

    python3 scripts/bootstrap.py [--venv .venv] [--python PYTHON] [--lock lock|dev|data|fuzz|ray]

Packages come from `requirements/*.txt` (exact versions, hashes checked); uv installs them if it is on the PATH, pip
otherwise. `lock` is what every run needs; `dev` adds tests, lint and types; `data` adds TensorFlow, which only
downloading data sets needs; `fuzz` and `ray` add what `make fuzz` and `--executor ray` need.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 11), (3, 12), (3, 13))


def find_python(asked):
    """Path of a CPython of a supported version: `asked`, else this one, else the newest on the PATH."""
    names = [asked] if asked else [sys.executable] + [f"python{a}.{b}" for a, b in reversed(SUPPORTED)]
    seen = []
    for name in names:
        path = shutil.which(name)
        if not path:
            continue
        probe = "import sys; print(sys.implementation.name, *sys.version_info[:2])"
        done = subprocess.run([path, "-c", probe], capture_output=True, text=True)
        if done.returncode:  # a version manager's shim for a version that is not installed
            continue
        name_, major, minor = done.stdout.split()
        if name_ == "cpython" and (int(major), int(minor)) in SUPPORTED:
            return str(Path(path).absolute())
        seen.append(f"{name} is {name_} {major}.{minor}")
    found = "; ".join(seen) or "none on the PATH"
    sys.exit(
        f"recon needs CPython 3.11, 3.12 or 3.13 ({found}): install one, or name it with `make PYTHON=/path/to/it`."
    )


def run(*command):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    # Away from the checkout: uv would leave out of a lock, too, what [tool.uv] excludes from locks.
    try:
        subprocess.run([str(c) for c in command], check=True, env=env, cwd=ROOT.anchor)
    except subprocess.CalledProcessError as error:
        sys.exit(f"Set-up failed (exit {error.returncode}): {' '.join(map(str, command))}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--python", help="the interpreter to build on (default: a supported one from the PATH)")
    parser.add_argument("--lock", choices=("lock", "dev", "data", "fuzz", "ray"), default="lock")
    args = parser.parse_args()

    venv = args.venv.absolute()
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        base = find_python(args.python)
        print(f"Creating {venv} on {base} ...", flush=True)
        run(base, "-m", "venv", venv)
    uv = shutil.which("uv")
    pip = (
        [uv, "pip", "install", "--python", python, "--compile-bytecode"]
        if uv
        else [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    )
    lock = ROOT / "requirements" / f"{args.lock}.txt"
    print(f"Installing {lock.relative_to(ROOT)} with {'uv' if uv else 'pip'} (a minute or two) ...", flush=True)
    run(*pip, "--quiet", "--no-deps", "--require-hashes", "-r", lock)
    run(*pip, "--quiet", "--no-deps", "--no-build-isolation", "--editable", ROOT)


if __name__ == "__main__":
    main()
