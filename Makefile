# Commands for development. `make help` lists them. Everything except Python 3.11+ is installed into .venv.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON := .venv/bin/python
MANAGE := $(PYTHON) manage.py
# A copy of the lock file that .venv was installed from. If it differs or is missing, everything is installed again.
INSTALLED := .venv/installed-requirements.txt
LOG := .venv/install.log
AT_PORT = $(if $(PORT),--port $(PORT))
APPS := api accounts payments subscriptions config
COMPILE = .venv/bin/uv pip compile --quiet --python-version $(1) --universal --generate-hashes --no-emit-index-url

# Keep compiled bytecode, even if a container image disables it: otherwise each of the many processes compiles everything.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo walkthrough dev test bench e2e spa pictures coverage lint format type lock schema properties test-next

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## Install missing packages into .venv, and create .env
	@[ -e .env ] || cp .env.example .env
	@if cmp -s requirements-dev.txt $(INSTALLED) && $(PYTHON) -c '' 2>/dev/null; then exit 0; fi; \
	if ! $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	  for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	    if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$name; break; fi; \
	  done; \
	  if [ -z "$${found:-}" ]; then \
	    echo "Kilabu needs Python 3.11 or newer, and none is installed. Install it (Debian: apt-get install python3 python3-venv)." >&2; \
	    exit 1; \
	  fi; \
	  if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$$found cannot create a virtual environment. Install the missing part (Debian: apt-get install python3-venv)." >&2; \
	    exit 1; \
	  fi; \
	  rm -rf .venv; \
	  $$found -m venv .venv; \
	fi; \
	rm -f $(INSTALLED); \
	echo "Installing Python packages into .venv. The first time takes a minute or two." >&2; \
	$(PYTHON) -m pip install --no-input --disable-pip-version-check --progress-bar off --require-hashes \
	  --requirement requirements-dev.txt 2>&1 | tee $(LOG) \
	  | awk '/^ *(Collecting|Requirement already)/ { printf "."; fflush() } /^Installing/ { printf " unpacking"; fflush() } END { print "" }' >&2 \
	  || { echo "Installing failed. The last lines of $(LOG):" >&2; tail -n 15 $(LOG) >&2; exit 1; }; \
	cp requirements-dev.txt $(INSTALLED)

demo: setup ## Run the whole product here, show the purchase of a membership, and keep running for the browser (PORT=8710: another port)
	@$(MANAGE) demo $(AT_PORT) $(ARGS)

walkthrough: setup ## The same purchase, then stop. Succeeds only if the membership is active and the books balance (PORT=8710)
	@$(MANAGE) demo --once $(AT_PORT) $(ARGS)

dev: setup ## Run the product, and restart it when a file changes (PORT=8710)
	@$(MANAGE) dev $(AT_PORT) $(ARGS)

test: setup ## Run the test suite
	@$(PYTHON) -m pytest -q -n auto --dist worksteal $(ARGS)

coverage: setup ## Measure the test coverage of each app (ARGS: some tests only). Details: .venv/bin/coverage html
	@$(PYTHON) -m pytest -q -n auto --maxprocesses 4 --cov --cov-report= $(ARGS)
	@for app in $(APPS); do \
	  printf '%-13s %3d %%\n' $$app $$($(PYTHON) -m coverage report --format=total --include="$$app/*"); \
	done
	@printf '%-13s %3d %%\n' total $$($(PYTHON) -m coverage report --format=total)

properties: setup ## Run the property tests with many examples, and a simulated year (ARGS=--hypothesis-profile=explore: new examples each time)
	@$(PYTHON) -m pytest -q -n auto --dist worksteal -m long $(ARGS)

test-next: setup ## Run the quick tests on the next versions of Python and Django (needs Python 3.13 or newer)
	@python=$$(.ci/next-python) || { echo "make test-next needs Python 3.13 or newer, and none is installed here." >&2; exit 1; }; \
	if ! cmp -s requirements-next.txt .venv-next/installed-requirements.txt || ! .venv-next/bin/python -c '' 2>/dev/null; then \
	  .venv/bin/uv venv --quiet --clear --no-python-downloads --python "$$python" .venv-next; \
	  .venv/bin/uv pip install --quiet --python .venv-next/bin/python --require-hashes --requirement requirements-next.txt; \
	  cp requirements-next.txt .venv-next/installed-requirements.txt; \
	fi; \
	.venv-next/bin/python -m pytest -q -n auto --dist worksteal -m "not slow and not long and not e2e" -p config.tests.next_version $(ARGS)

bench: setup ## Measure the product and references in one run (ARGS=--large: also a million rows; --club: a club of a million members, or --members=N; --load: the real processes under load)
	@$(PYTHON) -m benchmarks $(ARGS)

world: setup ## Play a simulated club on the real services, and check the books, the gate and the access (ARGS=--journeys=20000 --seed=2)
	@$(PYTHON) -m world $(ARGS)

e2e: setup ## Test the running product in a real browser (needs Chromium)
	@$(PYTHON) -m pytest -q -n 2 --dist loadfile -m e2e $(ARGS)

spa: ## Check the reference application and the typed client with types from docs/openapi.yaml (needs Node)
	@cd .ci/types && command -v npm >/dev/null || { echo "make spa needs Node (Debian: apt-get install nodejs npm)." >&2; exit 1; }; \
	cmp -s package-lock.json node_modules/.installed \
	  || { npm ci --silent --no-fund --no-audit && cp package-lock.json node_modules/.installed; }; \
	node_modules/.bin/openapi-typescript ../../docs/openapi.yaml --default-non-nullable=false --output openapi.d.ts >/dev/null; \
	node_modules/.bin/tsc --project .

pictures: setup ## Draw the pictures of docs/front-desk.md again, with the browser tests of its jobs
	@DRAW_PICTURES=1 $(PYTHON) -m pytest -q -m e2e config/tests/e2e/test_front_desk_jobs.py $(ARGS)

lint: setup ## Check for mistakes and unformatted code
	@$(PYTHON) -m ruff check --quiet .
	@$(PYTHON) -m ruff format --check --quiet .

format: setup ## Format the code
	@$(PYTHON) -m ruff check --quiet --fix .
	@$(PYTHON) -m ruff format --quiet .

type: setup ## Check the types
	@ENVIRONMENT=development $(PYTHON) -m mypy

lock: setup ## Write requirements*.txt from requirements*.in (ARGS=--upgrade: with the newest versions)
	@$(call COMPILE,3.11) $(ARGS) requirements.in --output-file requirements.txt
	@$(call COMPILE,3.11) $(ARGS) --constraint requirements.txt requirements-dev.in --output-file requirements-dev.txt
	@$(call COMPILE,3.13) $(ARGS) --override requirements-next.in requirements-dev.in --output-file requirements-next.txt

schema: setup ## Write the API's OpenAPI description to docs/openapi.yaml
	@$(MANAGE) spectacular --validate --fail-on-warn --file docs/openapi.yaml
