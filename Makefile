# make run    the nightly flow over data/sample/, invoices in out/
# make test   lint, types and every test
# make bench  how fast it is, beside the bare scan and two rivals; hours, unless BENCH_ROWS says less
# make lock   pins every dependency anew from pyproject.toml
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN    := .venv/bin
SOURCES := src flows tests

export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: run test lint bench lock clean

run: .venv/ready
	$(BIN)/python -m flows.nightly --input data/sample --output out --as-of 2024-05-05

test: lint
	$(BIN)/python -m pytest --numprocesses auto --dist loadscope

lint: .venv/ready
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/sqlfluff lint --disable-progress-bar -p 0 sql tests/benchmarks
	$(BIN)/mypy

bench: .venv/ready
	$(BIN)/python -m tests.benchmarks

lock: .venv/ready
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-annotate --no-header --all-extras --group dev pyproject.toml --output-file requirements.lock

clean:
	rm -rf .venv out

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
