#!/bin/sh
# Rewrites requirements/*.txt from pyproject.toml with uv (https://docs.astral.sh/uv/), for Python 3.11 to 3.13 on
# every platform. Review the diff, then run `make test`.
set -eu
cd "$(dirname "$0")/.."
header() { printf '# Written by scripts/lock.sh (`make lock`, uv pip compile --universal --generate-hashes): do not edit.\n# Install with --no-deps --require-hashes: what is left out on purpose is listed in pyproject.toml, [tool.uv].\n'; }
compile() { uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet "$@"; }
into() { { header; cat; } > "requirements/$1.new" && mv "requirements/$1.new" "requirements/$1"; }
compile pyproject.toml | into lock.txt
compile pyproject.toml --extra dev --constraint requirements/lock.txt | into dev.txt
# What `make fuzz` adds.
printf 'atheris\n' | compile --no-config --constraint requirements/dev.txt - | into fuzz.txt
# What `make setup-ray` adds: Ray with all that it declares, for it imports even what the other locks leave out.
printf 'ray>=2.60\n' | compile --no-config --constraint requirements/dev.txt - | into ray.txt
# What `make data` adds: TensorFlow, and the requests package that TFDS downloads with; the rest stays as in lock.txt.
printf 'tensorflow\nrequests\n' | compile --no-config --constraint requirements/lock.txt - | into data.txt
