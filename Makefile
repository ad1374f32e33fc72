# Every target works on a fresh clone with Python 3.11+ and make: the first one makes the environment.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# make serve
HOST ?= 127.0.0.1
PORT ?= 8090
# make loadtest, make loadtest-headless; without TARGET an echo server of their own is started and stopped
TARGET ?=
USERS ?= 1000
SPAWN_RATE ?= 100
RUN_TIME ?= 30s
PROCESSES ?=
REPORTS ?= reports
# more arguments for the program behind a target: make serve ARGS="--idle-timeout 60"
ARGS ?=

LOADTEST = $(BIN)/python -m geventecho.loadtest -f loadtests/locustfile.py --users $(USERS) --spawn-rate $(SPAWN_RATE) \
	$(if $(TARGET),--host $(TARGET),--own-server) $(if $(PROCESSES),--processes $(PROCESSES))

# 5 is pytest's exit code for "none": what ARGS chooses may be all of one pass.
CHOSEN = $(if $(ARGS),$(ARGS) || test $$? -eq 5)
PYTEST = $(BIN)/python -m pytest

.PHONY: help serve loadtest loadtest-headless test test-all test-together test-alone test-long check format \
	bench bench-full build clean

help:
	@echo "make serve               the echo server on tcp://$(HOST):$(PORT)          HOST= PORT= ARGS="
	@echo "make loadtest            Locust's web UI on http://127.0.0.1:8089        TARGET= USERS= SPAWN_RATE= PROCESSES="
	@echo "make loadtest-headless   the same without a browser; HTML and CSV        RUN_TIME= REPORTS="
	@echo "make test                the tests, under five minutes                   ARGS="
	@echo "make test-all            all of them, the long ones too"
	@echo "make check               ruff, mypy and the import contracts"
	@echo "make bench               against other echo servers; bench-full has every scenario"
	@echo "make build               wheel and sdist in dist/"
	@echo "make clean               remove what the other targets made"

# The environment is remade, not patched up, when what it is made from changes.
$(READY): requirements.txt pyproject.toml
	rm -rf $(VENV)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "geventecho needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

serve: $(READY)
	@exec $(BIN)/geventecho serve --host $(HOST) --port $(PORT) $(ARGS)

loadtest: $(READY)
	@exec $(LOADTEST) $(ARGS)

loadtest-headless: $(READY)
	@mkdir -p $(REPORTS)
	@exec $(LOADTEST) --headless --run-time $(RUN_TIME) --html $(REPORTS)/loadtest.html --csv $(REPORTS)/loadtest $(ARGS)

# Most tests wait for a limit or a process: two at a time halve the time. But they also take time from each other, so those
# that judge a time exactly, or fill a core, follow alone. Each pass runs whatever became of the one before it.
test:
	@$(MAKE) --no-print-directory --jobs=1 --keep-going test-together test-alone

test-all:
	@$(MAKE) --no-print-directory --jobs=1 --keep-going test-together test-alone test-long

test-together: $(READY)
	$(PYTEST) -m "not alone and not long" --numprocesses 2 --dist loadfile $(CHOSEN)

test-alone: $(READY)
	$(PYTEST) -m "alone and not long" $(CHOSEN)

test-long: $(READY)
	$(PYTEST) -m long --timeout 900 $(CHOSEN)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(MAKE) -C bench quick

bench-full: $(READY)
	$(MAKE) -C bench full

build: $(READY)
	rm -rf build dist *.egg-info
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf $(VENV) build dist *.egg-info reports bench/build bench/results .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
