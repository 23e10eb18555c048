# Needs Python 3.11, make and a package registry; everything is set up in $(VENV), once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
OUT ?= out/try
JOBS ?= 2
ARGS ?=
BIN := $(VENV)/bin

.PHONY: help try test style types format bench docs dist

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

try: $(VENV)/.core  ## segment the photos in examples/ with the embedded model
	$(BIN)/sam-hub segment examples/astronaut.jpg --box 20,10,365,511 --point 220,130 --point 200,400 --point 330,330 --overlay --out $(OUT)
	$(BIN)/sam-hub segment examples/cat.jpg --point 200,150 --overlay --out $(OUT)
	$(BIN)/sam-hub segment examples/coffee.jpg --box 172,17,412,310 --point 222,262 --point 365,280,0 --point 290,283,0 --overlay --out $(OUT)
	@echo; echo "Masks and overlays are in $(OUT)/:"; ls $(OUT)

test: $(VENV)/.dev  ## run the tests; ARGS="-k name" selects some
	@for tool in chromium node npm; do command -v $$tool >/dev/null || \
	  echo "make test: no $$tool, so the tests of the page or of transformers.js are skipped: apt-get install chromium nodejs npm"; done
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

style: $(VENV)/.dev node_modules/.installed  ## check lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory types
	npm run --silent lint

types: $(VENV)/.dev  ## check types, in folders laid out as the package is when installed
	rm -rf out/types && mkdir -p out/types/sam_hub
	ln -s $(CURDIR)/sam_hub/* $(CURDIR)/exporters $(CURDIR)/demo out/types/sam_hub/
	cd out/types && $(abspath $(BIN))/python -m mypy --config-file $(CURDIR)/pyproject.toml --no-error-summary -p sam_hub

format: $(VENV)/.dev  ## fix format and lint where possible
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev  ## build the documentation into out/site; any warning fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@echo "open out/site/index.html"

dist: $(VENV)/.dev  ## build the sdist and, from it, the wheel into dist/; check both, and segment in a clean environment
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	DIST=dist OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_packaging.py

bench: $(VENV)/.dev  ## compare speed with an earlier build and other implementations; ARGS="start click" selects parts
	$(BIN)/python benchmarks/speed.py $(ARGS)

# Stamp files: touched only after a successful install.
$(VENV)/.core: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --no-compile -c constraints.txt -e ".[dev]"  # a third less time: Python compiles what is used
	@touch $@ $(VENV)/.core

node_modules/.installed: package.json
	@command -v npm >/dev/null || { echo "the page's linter needs npm: apt-get install nodejs npm"; exit 1; }
	npm install --no-package-lock --no-audit --no-fund --silent
	@touch $@
