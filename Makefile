# Everything a contributor runs. Each target needs only Python 3.11+, make and a package index.
PYTHON ?= python3
BIN := .venv/bin
MAKEFLAGS += --no-print-directory

# Modules are compiled once, and not by each of some hundred child processes.
unexport PYTHONDONTWRITEBYTECODE

# A stage says how long it took, whether it went well or not.
stage = @since=$$(date +%s); { $(2); }; ended=$$?; \
	echo "$(1): $$(($$(date +%s) - since)) s"; exit $$ended

.PHONY: demo test quick quick-types quick-unit lint types unit gauntlet fuzz sweep coverage mutants bench clients sdks peers requirements upgrade diagrams sync clean

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Only what has a hash in the file is installed, and beside it nothing but the project
# itself: neither its dependencies nor what builds it are looked for anywhere else.
.venv/installed: pyproject.toml requirements.txt
	$(PYTHON) -m venv .venv
	$(PIP) --require-hashes --requirement requirements.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

LOCK = UV_CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/uv --quiet --no-config \
	pip compile pyproject.toml --group dev --universal --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --output-file requirements.txt

requirements: .venv/installed  ## write requirements.txt again: pins stay, save what must change
	$(LOCK)

upgrade: .venv/installed       ## write requirements.txt again, with the newest of everything
	$(LOCK) --upgrade

demo: .venv/installed          ## one conversation, six faults, nothing lost
	$(BIN)/turnlatch demo

test: .venv/installed          ## what CI runs: lint, then the types beside the tests
	$(call stage,test,$(MAKE) lint && $(MAKE) -j2 types unit)

quick: .venv/installed         ## an answer in a minute: lint, mypy, and the tests of the core and the rules of the house
	$(call stage,quick,$(MAKE) lint && $(MAKE) -j2 quick-types quick-unit)

quick-types: .venv/installed
	@$(BIN)/mypy

# These take longer than all the rest: every state, every recovery, every layout of calls.
EXPLORES := --ignore tests/states/test_explore.py --ignore tests/states/test_decide.py \
	--ignore tests/states/test_call_identity.py \
	--deselect tests/states/test_ladders.py::test_every_rung_of_every_ladder_is_taken \
	--deselect tests/states/test_ladders.py::test_the_check_sees_two_rungs_that_are_executed_in_another_order

# Nothing here waits, so one more process than there are cores would only be in the way.
quick-unit: .venv/installed
	@PYTEST_XDIST_AUTO_NUM_WORKERS=$$(getconf _NPROCESSORS_ONLN) $(BIN)/pytest \
		--numprocesses auto --quiet tests/states tests/test_rooms.py tests/test_complete.py \
		tests/test_tidy.py tests/engine/test_conversation.py $(EXPLORES)

lint: .venv/installed
	$(call stage,lint,$(BIN)/ruff check . && $(BIN)/ruff format --check .)

types: .venv/installed
	$(call stage,types,$(BIN)/mypy && $(BIN)/pyright)

# Each process begins with a part of the tests in their order, and takes from another's
# when its own are done: most modules are run by one process, which sets them up once.
# There is one more of them than there are cores (tests/conftest.py).
unit: .venv/installed
	$(call stage,unit,$(BIN)/pytest --numprocesses auto --dist worksteal --durations 20)

gauntlet: .venv/installed      ## how conversations broke elsewhere, one line a class
	WHOLE=1 $(BIN)/python -m tests.gauntlet
	$(BIN)/python -m tests.gauntlet.poison

fuzz: .venv/installed          ## fresh seeds: every property, and ten thousand scripts of faults, and outages
	$(BIN)/python -m tests.search --seconds 600
	$(BIN)/python -m tests.gauntlet.fuzz --scripts 10000
	$(BIN)/python -m tests.gauntlet.outages --scripts 2000

sweep: .venv/installed         ## kill, tear, fail, cut: at every point; every other test whole
	$(BIN)/python -m tests.sweeps
	WHOLE=1 $(BIN)/pytest --numprocesses auto --dist worksteal --ignore tests/sweeps

# The tests that concern the core and the journal. What they reach is a floor, to be raised
# to 100 as the lines below it are tested or go.
COVERED := states/turnlatch_states/*,engine/turnlatch/journal/*
COVERING := tests/states tests/properties tests/transcripts tests/engine/journal \
	tests/engine/simulator tests/engine/test_*.py tests/engine/testing/test_paths.py
FLOOR := 94

coverage: .venv/installed      ## which branches of the core and of the journal no test takes
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest --numprocesses auto --dist worksteal --quiet $(COVERING)
	$(BIN)/coverage combine --quiet
	@mkdir -p build
	$(BIN)/coverage json --quiet --include '$(COVERED)' -o build/coverage.json
	$(BIN)/coverage report --include '$(COVERED)' --fail-under $(FLOOR)

# PART=machine or machine/step, SAMPLE=150 SEED=1, WORKERS=2, JSON=file
mutants: .venv/installed       ## bugs planted one at a time: hours, or a part or a sample of it
	$(BIN)/python -m tests.mutants $(if $(PART),--part $(PART)) $(if $(SAMPLE),--sample $(SAMPLE)) \
		$(if $(SEED),--seed $(SEED)) $(if $(WORKERS),--workers $(WORKERS)) $(if $(JSON),--json $(JSON))

bench: .venv/installed         ## ratios within one run; never a gate
	$(BIN)/python -m benchmarks

peers: .venv/installed         ## the same faults on agents of other libraries; installs public packages
	$(BIN)/python -m benchmarks.peers

clients: .venv/installed       ## real clients against the simulator; installs public packages
	$(BIN)/python -m tests.clients

sdks: .venv/installed          ## the tests of outcomes with the oldest and the newest SDK
	$(BIN)/python -m tests.sdks

diagrams: .venv/installed      ## redraw diagrams/ from the tables
	$(BIN)/python diagrams/generate.py

sync: .venv/installed          ## write engine/turnlatch/sync.py again, from the async classes
	$(BIN)/python engine/sync_twin.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
