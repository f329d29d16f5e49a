# Plain `make` prints what there is. It needs Python 3.11 or newer and nothing else:
# tools come into .gatehouse/tools, pinned with hashes, and each environment has a
# stamp so that a second run installs nothing.

.DEFAULT_GOAL := help
.SUFFIXES:
.DELETE_ON_ERROR:

# A machine may set this for all projects. The tests then compile every file again in each process.
unexport PYTHONDONTWRITEBYTECODE

# The first interpreter that is new enough; `make PYTHON=...` names another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    && echo "$$python" && break; done)

TOOLS := .gatehouse/tools
UV := $(TOOLS)/uv/bin/uv
PYTEST := .venv/bin/python -m pytest
# In as many processes as there are cores; a file's tests share their tables, so they stay together.
UNIT := $(PYTEST) tests/rooms tests/functions tests/conformance tests/house tests/cli -n auto --dist loadfile \
    --no-loadscope-reorder
# More processes than cores: they wait more than they compute. Files start in the order of their conftest.
E2E := $(PYTEST) tests/e2e --confcutdir tests/e2e -n 5 --dist loadfile --no-loadscope-reorder
LOCK := $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 \
    --generate-hashes --no-header --no-annotate --no-emit-index-url

# The page is built by Node 20 or newer: the one on the PATH, or a pinned one.
NODE_READY := $(shell node -e 'process.exit(process.versions.node.split(".")[0] < 20)' 2>/dev/null \
    && command -v npm >/dev/null || echo $(TOOLS)/node/.ready)
NPM := cd page && PATH="$(CURDIR)/$(TOOLS)/node/bin:$$PATH" npm
PAGE := $(shell find page -path page/node_modules -prune -o -path page/generated -prune -o -type f -print)

.PHONY: help
help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- Every day ---------------------------------------------------------------------------

.PHONY: run
run: setup ## Run the whole stack here until Ctrl-C (ARGS="--port 8081").
	@.venv/bin/gatehouse up $(ARGS)

.PHONY: check
check: setup ## Format, lint, types, template, unit tests: a minute or two.
	@$(MAKE) --no-print-directory -j 3 style types template page-check quick

.PHONY: test
test: setup ## Check, all tests, end to end on a local stack, coverage.
	@$(MAKE) --no-print-directory -j 3 style types template page-check
	@echo "==> All tests"
	@$(UNIT) --cov --cov-fail-under=0 --cov-report=
	@echo "==> End to end, on the deployed stack"
	@$(E2E) --cov --cov-append --cov-report=term

.PHONY: journeys
journeys: setup page/node_modules/.dev ## Use the page in a real browser (needs Chromium).
	@$(PYTEST) tests/page --confcutdir tests/e2e

.PHONY: bench
bench: setup ## Measure init, calls and time per request.
	@.venv/bin/python tests/bench/run.py $(ARGS)

.PHONY: mutants
mutants: .venv/.ready ## List small changes that no test notices (SAMPLE=200 or all).
	@.venv/bin/python tools/mutants.py

.PHONY: openapi
openapi: .venv/.ready ## Write the API document from the handlers.
	@.venv/bin/python tools/openapi.py --write

.PHONY: costs
costs: .venv/.ready ## Compute the tables of docs/costs.md.
	@.venv/bin/python tools/costs.py --write

.PHONY: updates
updates: .venv/.ready ## List what an update breaks (ARGS=--write stores a release).
	@.venv/bin/python tools/updates.py $(ARGS)

.PHONY: clean-state
clean-state: .venv/.ready ## Forget the local stack's state, key and logs.
	@.venv/bin/gatehouse clean-state $(ARGS)

.PHONY: invoke
invoke: setup ## Invoke a function in Docker (FUNCTION=KeysAdmin EVENT=...).
	@test -n "$(FUNCTION)" || { echo "Name a function: make invoke FUNCTION=KeysAdmin" >&2; exit 2; }
	@.venv/bin/gatehouse invoke $(FUNCTION) $(if $(EVENT),--event $(EVENT)) $(ARGS)

.PHONY: invoke-all
invoke-all: setup ## Invoke every function in Docker and check the answers.
	@.venv/bin/gatehouse invoke-all $(ARGS)

.PHONY: start-api
start-api: setup ## Serve the REST API from Docker, on port 3000.
	@.venv/bin/gatehouse start-api $(ARGS)

.PHONY: lint
lint: style types template page-check ## Format, lint, types and template.

.PHONY: style
style: .venv/.ready
	@echo "==> Format and lint"
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/ruff check --quiet .

.PHONY: types
types: .venv/.ready
	@echo "==> Types"
	@.venv/bin/mypy --no-error-summary

.PHONY: template
template: $(TOOLS)/sam/.ready
	@echo "==> Template"
	@SAM_CLI_TELEMETRY=0 $(TOOLS)/sam/bin/sam validate --lint --region us-east-1 >/dev/null

# Lint, types and unit tests of the page.
.PHONY: page-check
page-check: page/node_modules/.dev
	@echo "==> The page"
	@$(NPM) run --silent types >/dev/null
	@$(NPM) run --silent check
	@$(NPM) test --silent

# What takes long is marked slow and left to `make test`, which also takes more examples.
.PHONY: quick
quick: .venv/.ready
	@echo "==> Unit tests"
	@GATEHOUSE_EXAMPLES=quick $(UNIT) -m "not slow" --quiet

# ---- AWS ---------------------------------------------------------------------------------

PLACE ?= dev

.PHONY: build
build: setup ## Build for AWS (PLACE=dev, a place of samconfig.toml).
	@.venv/bin/gatehouse build --place $(PLACE)

.PHONY: deploy
deploy: setup ## Build and deploy with your AWS credentials (PLACE=dev).
	@.venv/bin/gatehouse deploy --place $(PLACE)

# ---- Environments ------------------------------------------------------------------------

.PHONY: setup
setup: .venv/.ready $(TOOLS)/engine/.ready $(TOOLS)/sam/.ready page ## Install everything that is pinned.

.PHONY: page
page: functions/page/files/index.html ## Build the page.

functions/page/files/index.html: $(PAGE) docs/openapi.json page/node_modules/.ready
	@echo "==> Building the page"
	@$(NPM) run --silent build

page/node_modules/.ready: page/package-lock.json $(NODE_READY)
	@echo "==> Installing what builds the page (page/node_modules)"
	@$(NPM) ci --omit=dev --silent
	@touch $@

page/node_modules/.dev: page/package-lock.json page/node_modules/.ready
	@$(NPM) ci --silent
	@touch page/node_modules/.ready $@

$(TOOLS)/uv/.ready: requirements/tools.lock
	@test -n "$(PYTHON)" || { \
	    echo "Gatehouse needs Python 3.11 or newer on the PATH (or make PYTHON=/path/to/it)." >&2; exit 1; }
	@echo "==> Installing the installer (uv)"
	@mkdir -p $(TOOLS) && chmod 700 .gatehouse
	@"$(PYTHON)" -m venv --clear $(TOOLS)/uv >/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian and Ubuntu: python3-venv)." >&2; exit 1; }
	@$(TOOLS)/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.venv/.ready: requirements/dev.lock pyproject.toml $(TOOLS)/uv/.ready
	@echo "==> Installing the gatehouse command and the development tools (.venv)"
	@test -x .venv/bin/python || $(UV) venv --quiet --python $(TOOLS)/uv/bin/python .venv
	@$(UV) pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes $<
	@$(UV) pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

$(TOOLS)/%/.ready: requirements/%.lock $(TOOLS)/uv/.ready
	@echo "==> Installing $* ($(TOOLS)/$*)"
	@test -x $(TOOLS)/$*/bin/python || $(UV) venv --quiet --python $(TOOLS)/uv/bin/python $(TOOLS)/$*
	@$(UV) pip sync --quiet --compile-bytecode --python $(TOOLS)/$*/bin/python --require-hashes $<
	@touch $@

.PHONY: lock
lock: $(TOOLS)/uv/.ready ## Pin the newest versions again, with hashes.
	$(LOCK) requirements/tools.in -o requirements/tools.lock
	$(LOCK) requirements/engine.in -o requirements/engine.lock
	$(LOCK) requirements/sam.in -o requirements/sam.lock
	$(LOCK) requirements/node.in -o requirements/node.lock
	$(LOCK) layers/deps/requirements.in -o layers/deps/requirements.lock
	$(LOCK) layers/wallet/requirements.in \
	    --constraint layers/deps/requirements.lock -o layers/wallet/requirements.lock
	$(LOCK) tests/bench/usual/requirements.in \
	    --constraint layers/deps/requirements.lock -o tests/bench/usual/requirements.lock
	$(LOCK) pyproject.toml --group dev layers/deps/requirements.in layers/wallet/requirements.in \
	    --constraint layers/deps/requirements.lock \
	    --constraint layers/wallet/requirements.lock -o requirements/dev.lock
