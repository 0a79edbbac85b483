# Every target sets up .venv by itself when that is missing or out of date.
PYTHON ?= python3
RUN = $(PYTHON) project/bootstrap.py

# The pure rooms, the verbs and the consumers: what a change breaks first.
NEAR = tests/protocol tests/documents tests/client tests/actions tests/bridge tests/consumers tests/scaffold/test_language.py

.DEFAULT_GOAL := help
.PHONY: help demo demo-scale test tests style format types imports migrations coverage check corners js js-check docs reference corpus faults benchmarks clean

help:  ## this list
	@$(PYTHON) -c "import re; [print(f'make {t:12}{d}') for t, d in re.findall(r'^([a-z-]+):.*?  ## (.*)', open('Makefile').read(), re.M)]"

demo:  ## start the demo and print its address; Ctrl-C ends it
	@$(RUN) --runtime manage.py demo

demo-scale:  ## the demo on 2 servers, 2 workers, PostgreSQL and Redis (ARGS="--no-redis", ARGS="--help")
	@$(RUN) --runtime -m project.demo.fleet $(ARGS)

test:  ## everything: SQLite, PostgreSQL, Redis, JavaScript, browser (PASSES="sqlite js" for some)
	@$(RUN) tests/run.py $(PASSES)

tests:  ## the Python tests on SQLite only (ARGS="-k resume" goes to pytest)
	@$(RUN) -m pytest -m "not browser and not js" $(ARGS)

check: style types imports migrations  ## the inner loop, under 3 minutes: rules, types, layers, the tests nearest to the code
	@$(RUN) -m pytest -q -n 2 --dist worksteal -m "not slow and not browser and not js" $(NEAR) $(ARGS)

style:  ## ruff: rules and format
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

format:  ## let ruff rewrite what it can
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

types:  ## mypy
	@$(RUN) -m mypy

imports:  ## the layers of the package
	@$(RUN) -c "from importlinter.cli import lint_imports_command as main; main()"

migrations:  ## fails when a model change has no migration
	@$(RUN) manage.py makemigrations --check --dry-run

coverage:  ## the Python tests on SQLite, with a report of lines and branches
	@$(RUN) -m coverage run -m pytest -q -m "not browser and not js" $(ARGS)
	@$(RUN) -m coverage report

corners:  ## the Python tests on other versions of Python and Django, each in its own environment
	@$(RUN) -m tests.corners $(ARGS)

js:  ## build the TypeScript SDK into session_mgmt/static/
	@$(RUN) -m tests.javascript build

js-check:  ## fails when the built SDK is not what its source builds
	@$(RUN) -m tests.javascript check

docs:  ## links and examples of the documentation
	@$(RUN) -m pytest -q tests/docs

reference:  ## write the tables of docs/reference from the code
	@$(RUN) -m tests.docs.tables

corpus:  ## measure how small real documents are stored, and write the table of docs/topics/conformance.md
	@$(RUN) -m tests.suites.table

faults:  ## faults of every kind in turn, for MINUTES=30, with a verdict for each round
	@$(RUN) -m tests.faults.rounds --minutes $(or $(MINUTES),30) $(ARGS)

benchmarks:  ## ratios against baselines in the same run (ARGS="--list")
	@$(RUN) -m tests.benchmarks $(ARGS)

clean:  ## remove the environment, the embedded database and every cache
	@$(PYTHON) -c "import shutil; [shutil.rmtree(p, ignore_errors=True) for p in ('.venv', 'var', '.mypy_cache', '.ruff_cache', '.pytest_cache', '.import_linter_cache', '.hypothesis', 'session_mgmt/js/node_modules', 'tests/suites/node_modules')]"
