# What a developer or a new user does, each in one word. `make demo` needs nothing but python3.

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
DURATION ?= 30
ARGS ?= --mode agent

.PHONY: demo run test check lint format types imports bench figures peers diff clean install

# The stamp files make the environment once and again only when pyproject.toml changes.
$(VENV)/.run-stamp: pyproject.toml
	@echo "Preparing $(VENV) ..."
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@$(PY) -m compileall -q mlsysops_pipeline receivers processors exporters  # as for a wheel
	@touch $@

$(VENV)/.dev-stamp: $(VENV)/.run-stamp
	@$(PY) -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(PY) -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

install: $(VENV)/.dev-stamp

## demo: node, cluster and continuum fed by a real SDK program (DURATION=30; 0 = until Ctrl-C)
demo: $(VENV)/.run-stamp
	@$(PY) -m mlsysops_pipeline.demo --duration $(DURATION)

## run: one collector in the foreground (ARGS='--mode agent')
run: $(VENV)/.run-stamp
	@$(VENV)/bin/mlsysops-collector $(ARGS)

## test: the tests
test: $(VENV)/.dev-stamp
	$(PY) -m pytest

## check: everything that must hold before a change is taken
check: $(VENV)/.dev-stamp
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m pytest

lint: $(VENV)/.dev-stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/lint-imports

format: $(VENV)/.dev-stamp
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

types: $(VENV)/.dev-stamp
	$(VENV)/bin/mypy

## bench: CPU and memory of this collector and its peers on this machine (QUICK=1 for a short run)
bench: $(VENV)/.run-stamp
	$(PY) -m benchmarks $(BENCH_ARGS)

## figures: the figures and plots that README shows, anew (make peers first; a quarter of an hour)
figures: $(VENV)/.run-stamp
	-$(PY) -m benchmarks --figures --peers go --json benchmarks/results/figures.json
	$(PY) -m benchmarks publish benchmarks/results/figures.json \
	  $(firstword $(wildcard benchmarks/results/overload.json benchmarks/report/overload.json))

# The Go collector is built in the version that its manifest names: half an hour on one core.
GO_COLLECTOR := benchmarks/go_collector.yaml
BUILDER = go.opentelemetry.io/collector/cmd/builder@v$(shell sed -n 's/^  version: //p' $(GO_COLLECTOR))
ROTEL := rotel==0.0.1a15

## peers: the collectors that bench and diff measure against (needs Go and Python 3.11)
peers:
	GOFLAGS='-p=1 -buildvcs=false' nice -n 19 go run $(BUILDER) --config $(GO_COLLECTOR)
	$(PYTHON) -m venv benchmarks/peers/rotel
	benchmarks/peers/rotel/bin/python -m pip install --quiet --disable-pip-version-check '$(ROTEL)'

## diff: what this collector and the Go collector make of the same input (make peers first)
diff: $(VENV)/.dev-stamp
	$(PY) -m tests.differential $(DIFF_ARGS)

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
