# Every target works on a fresh clone with Python 3.11+ and make: the first one makes the environment.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
OLDEST := .venv-oldest
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check

# make serve
HOST ?= 127.0.0.1
PORT ?= 8090
WORKERS ?=
# make loadtest, make loadtest-headless; without TARGET they start and stop an echo server of their own
TARGET ?=
USERS ?= 1000
SPAWN_RATE ?= 100
RUN_TIME ?= 30s
PROCESSES ?=
REPORTS ?= reports
# make loadtest-master binds to MASTER_BIND; make loadtest-worker looks for the master at MASTER
MASTER_BIND ?= 127.0.0.1
MASTER ?= 127.0.0.1
# more arguments for the program behind a target: make serve ARGS="--idle-timeout 60"
ARGS ?=
# the tests of test-together and test-alone; all when empty
TESTS ?=

LAUNCH = $(BIN)/python -m geventecho.loadtest -f loadtests/locustfile.py
FORKS = $(if $(PROCESSES),--processes $(PROCESSES))
CONDUCT = $(LAUNCH) --users $(USERS) --spawn-rate $(SPAWN_RATE) $(if $(TARGET),--host $(TARGET),--own-server)
LOADTEST = $(CONDUCT) $(FORKS)

# pytest exits with 5 if it ran no test: all tests that ARGS chooses may belong to the other pass.
CHOSEN = $(TESTS) $(if $(ARGS),$(ARGS) || test $$? -eq 5)
# Hundreds of processes import the package. They keep its compiled files, even if the environment forbids that.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
TOGETHER = -m "not alone and not long" --numprocesses 6 --dist loadfile

.PHONY: help serve loadtest loadtest-headless loadtest-master loadtest-worker test test-all test-oldest test-together \
	test-alone test-long coverage check docs format bench bench-full build clean

help:
	@echo "make serve               the echo server on tcp://$(HOST):$(PORT)          HOST= PORT= WORKERS= ARGS="
	@echo "make loadtest            Locust's web UI on http://127.0.0.1:8089        TARGET= USERS= SPAWN_RATE= PROCESSES="
	@echo "make loadtest-headless   the same without a browser; report, JSON, CSV   RUN_TIME= REPORTS="
	@echo "make loadtest-master     the web UI of a test that workers run           MASTER_BIND= TARGET= USERS="
	@echo "make loadtest-worker     a worker, here or on another machine            MASTER= PROCESSES="
	@echo "make test                the tests, five to six minutes on two cores      TESTS= ARGS="
	@echo "make test-all            all of them, the long ones too"
	@echo "make test-oldest         tests/loadtest on the oldest supported versions of gevent and Locust"
	@echo "make coverage            branch coverage of the package, at least 95 %"
	@echo "make check               ruff, mypy and the import contracts"
	@echo "make docs                the documentation site in build/docs, from Markdown and docstrings"
	@echo "make bench               against other echo servers; bench-full has every scenario"
	@echo "make build               wheel and sdist in dist/"
	@echo "make clean               remove what the other targets made"

# When one of these files changes, the environment is made anew, and not updated.
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "geventecho needs Python 3.11 or later; set PYTHON=")'
	@echo "making $(VENV): installing requirements.txt (20 seconds or more; again when it changes)" >&2
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) --requirement requirements.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# The packages that only tests, checks and builds need. Serving and load-testing do not wait for them.
$(READY_DEV): $(READY) requirements-dev.txt
	@echo "completing $(VENV): installing requirements-dev.txt (20 seconds or more; again when it changes)" >&2
	@$(PIP_INSTALL) --requirement requirements-dev.txt
	@touch $@

serve: $(READY)
	@exec $(BIN)/geventecho serve --host $(HOST) --port $(PORT) $(if $(WORKERS),--workers $(WORKERS)) $(ARGS)

loadtest: $(READY)
	@exec $(LOADTEST) $(ARGS)

# Each run has a folder of its own. Its name ends with the shell's process id: two runs may start in the same second.
loadtest-headless: $(READY)
	@mkdir -p $(REPORTS)
	@folder=$$(date +%Y-%m-%d_%H%M%S)_$$$$ && mkdir $(REPORTS)/$$folder && ln -sfn $$folder $(REPORTS)/latest && \
	exec $(LOADTEST) --headless --run-time $(RUN_TIME) \
		--tcp-report $(REPORTS)/$$folder/report.html --tcp-json $(REPORTS)/$$folder/result.json \
		--tcp-csv $(REPORTS)/$$folder/result \
		--html $(REPORTS)/$$folder/loadtest.html --csv $(REPORTS)/$$folder/loadtest $(ARGS)

# The master sets users and target. ARGS="--expect-workers 2 --headless --run-time 30s" starts with the second worker.
loadtest-master: $(READY)
	@exec $(CONDUCT) --master --master-bind-host $(MASTER_BIND) $(ARGS)

loadtest-worker: $(READY)
	@exec $(LAUNCH) --worker --master-host $(MASTER) $(FORKS) $(ARGS)

# Most tests wait for a limit or a process and use little of a core, so six run at a time, even on two cores. The tests
# that judge a time exactly, or fill a core, follow alone. A pass also runs after another pass has failed.
test:
	@$(MAKE) --no-print-directory --jobs=1 --keep-going test-together test-alone

test-all:
	@$(MAKE) --no-print-directory --jobs=1 --keep-going test-together test-alone test-long

# The environment is a separate one: it gets the packages of the other tests, then the oldest versions in their place.
test-oldest:
	@$(MAKE) --no-print-directory VENV=$(OLDEST) $(OLDEST)/.ready-dev
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements-oldest.txt
	@$(MAKE) --no-print-directory --jobs=1 --keep-going VENV=$(OLDEST) TESTS=tests/loadtest test-together test-alone

test-together: $(READY_DEV)
	$(PYTEST) $(TOGETHER) $(CHOSEN)

test-alone: $(READY_DEV)
	$(PYTEST) -m "alone and not long" $(CHOSEN)

test-long: $(READY_DEV)
	$(PYTEST) -m long --timeout 900 $(CHOSEN)

# Processes that tests start are measured, too. Measuring doubles their time, so tests that judge a time are left out.
# Tests of documents, benchmarks, targets and browser pages are left out because other tests reach the same code. A test
# that fails only here is no failure: `make test` decides.
coverage: $(READY_DEV)
	@$(BIN)/coverage erase
	-$(BIN)/coverage run -m pytest $(TOGETHER) -m "not alone and not long and not browser" \
		--ignore tests/docs --ignore tests/bench --ignore tests/house -p no:cacheprovider $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

check: $(READY_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: $(READY_DEV)
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env --quiet --builder html docs build/docs

format: $(READY_DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(MAKE) -C bench quick

bench-full: $(READY)
	$(MAKE) -C bench full

build: $(READY_DEV)
	rm -rf build dist *.egg-info
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf $(VENV) $(OLDEST) build dist *.egg-info reports bench/build bench/results .coverage .coverage.* \
		.mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
