# Every target creates .venv from requirements/lock.txt when it is missing or the lock has changed.
VENV ?= .venv
BIN := $(VENV)/bin
PRESET ?= quick
ARGS ?=
READY := $(VENV)/.ready-lock
DEV := $(VENV)/.ready-dev

.DEFAULT_GOAL := help
.PHONY: help setup setup-ray benchmark-solvers benchmark-kernels check check-kernels report test lint format docs data \
	data-tiny-imagenet figure-times fuzz pages tables lock clean
.DELETE_ON_ERROR:

# Users' targets are described behind ##, maintainers' behind #-.
help: ## this list
	@echo "make TARGET [PRESET=quick|full|paper] [ARGS='--help']"
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  %-24s%s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "Figures:"
	@for f in benchmarks/[a-z]*_*.py; do n=$$(basename $$f .py); \
		printf '  %-24s%s\n' "reproduce-$${n%%_*}" "$$(sed -n '1s/^"""//p' $$f)"; done
	@echo; echo "For maintainers:"
	@awk -F ':.*#- ' '/^[a-z%-]+:.*#- / {printf "  %-24s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create the virtual environment

setup-ray: $(READY) $(VENV)/.ready-ray ## add Ray to the environment, for --executor ray

$(VENV)/.ready-%: requirements/%.txt pyproject.toml scripts/bootstrap.py
	@$(if $(PYTHON),$(PYTHON),python3) scripts/bootstrap.py --venv $(VENV) --lock $* $(if $(PYTHON),--python $(PYTHON))
	@touch $@

reproduce-%: $(READY) ## run one benchmark and draw its figure, into .recon/results/
	$(BIN)/recon reproduce $* --preset $(PRESET) $(ARGS)

reproduce-recovery reproduce-foreign: $(DEV) # scikit-learn

benchmark-solvers: reproduce-solvers ## compare the solvers (the same as reproduce-solvers)

benchmark-kernels: $(READY) $(DEV) #- time the kernels' tracing, compilation and runs, into .recon/kernels.json
	@mkdir -p .recon
	$(BIN)/pytest tests/speed --benchmark-enable --benchmark-json .recon/kernels.json

check: $(READY) ## compare every figure's metrics with its stored baseline (results/baselines/)
	$(BIN)/recon check --preset $(PRESET) $(ARGS)

check-kernels: benchmark-kernels #- time the kernels and compare them with their baseline
	$(BIN)/recon check --kernels .recon/kernels.json $(ARGS)

report: $(READY) ## write all stored results into one page, results/report/index.html
	$(BIN)/recon report $(ARGS)

test: $(READY) $(DEV) ## all tests
	$(BIN)/pytest -n auto --dist worksteal $(ARGS)

lint: $(READY) $(DEV) #- check format, style, types and the order of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) $(DEV) #- format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY) $(DEV) ## build the documentation into site/, readable from disk
	$(BIN)/mkdocs build --strict $(ARGS)

data: $(READY) ## download and prepare MNIST and CIFAR-10
	@$(BIN)/recon data reachable $(ARGS)
	@$(MAKE) --no-print-directory $(VENV)/.ready-data
	$(BIN)/recon data prepare $(ARGS)

data-tiny-imagenet: $(READY) ## prepare Tiny-ImageNet from ZIP=PATH/tiny-imagenet-200.zip, or download it
	@$(if $(ZIP),,$(BIN)/recon data reachable tiny_imagenet $(ARGS))
	@$(if $(ZIP),,$(MAKE) --no-print-directory $(VENV)/.ready-data)
	$(BIN)/recon data prepare tiny_imagenet $(if $(ZIP),--archive "$(ZIP)") $(ARGS)

figure-times: $(READY) #- time figures 2 to 7 with an empty and with a full cache (about twenty minutes)
	$(BIN)/python -m tests.resilience.figure_times $(ARGS)

fuzz: $(READY) $(DEV) #- feed damaged files to every file reader (hours; resumes)
	@$(MAKE) --no-print-directory $(VENV)/.ready-fuzz
	$(BIN)/python -m tests.fuzz.run $(ARGS)

pages: $(READY) #- write what follows from the records in results/: README.md, docs/, tables, ro-crate-metadata.json
	$(BIN)/python scripts/pages.py $(ARGS)

tables: #- compile the LaTeX of all stored tables to .recon/tables/all.pdf (needs pdflatex and booktabs)
	@mkdir -p .recon/tables
	pdflatex -halt-on-error -interaction=batchmode -output-directory .recon/tables results/tables/all.tex

lock: #- rewrite requirements/ with uv (pip install uv) from pyproject.toml
	sh scripts/lock.sh

clean: ## remove the environment, the site and cells computed here (stored results stay)
	rm -rf $(VENV) .recon site
