# Image Gateway. `make` alone lists what there is; `make run` is the shortest way to see it work.
# Needs make and Python 3.11 or newer (with venv). Everything else goes into .venv, and into
# .venv-old-sdks what only the tests with older client SDKs need.

.DEFAULT_GOAL := help
# Many tests wait rather than compute: one process more than there are cores, at most four.
TEST_PROCESSES ?= $(shell n=$$(($$(nproc 2>/dev/null || echo 2) + 1)); echo $$((n > 4 ? 4 : n)))

.PHONY: help install run test lint format soak prove bench bench-paths bench-in-flight bench-peers migrate requirements browser wrk clean

# Options for the command behind a target: make run ARGS="--config gateway.toml"
ARGS ?=

# The first Python on the path that is new enough.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# A virtual environment holds absolute paths: a checkout that was moved is installed anew.
PLACE := $(shell printf '%s' '$(CURDIR)' | cksum | cut -d ' ' -f 1)
MADE := .venv/.made-$(PLACE)
INSTALLED := .venv/.installed-$(PLACE)
BIN := .venv/bin
# Older SDKs that our users' services still run; the newest ones are in .venv.
OLD_SDKS := openai==1.109.1 dashscope==1.25.7
OLD := .venv-old-sdks
OLD_INSTALLED := $(OLD)/.installed-$(PLACE)
# Patience for uv, and the package index that pip is configured with.
UV_SETTINGS = export PIP_DISABLE_PIP_VERSION_CHECK=1 UV_HTTP_TIMEOUT=60 UV_HTTP_RETRIES=2; \
	mirror="$${PIP_INDEX_URL:-$$($(BIN)/pip config get global.index-url 2>/dev/null)}"; \
	[ -z "$$mirror" ] || export UV_DEFAULT_INDEX="$$mirror"
UV_INSTALL = $(BIN)/uv pip install --quiet --system-certs --require-hashes --python
UV_COMPILE = $(BIN)/uv pip compile --system-certs --universal --python-version 3.11 \
	--generate-hashes --no-header --quiet

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
		| awk -F '|' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Make .venv with everything pinned and hash-checked (under a minute, once)

$(MADE):
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed (python3)' >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv || { \
		echo 'Python has no venv module: on Debian and Ubuntu, apt-get install python3-venv' >&2; \
		exit 1; }
	@touch $@

# uv is only for speed; wherever it cannot work, pip does the same from the same file. It leaves
# dependencies uncompiled, so what our processes load of them is loaded here once.
$(INSTALLED): $(MADE) pyproject.toml requirements-dev.txt requirements-uv.txt
	@echo 'Installing into .venv ...'
	@$(UV_SETTINGS); \
	{ $(BIN)/pip install --quiet --require-hashes -r requirements-uv.txt \
		&& $(UV_INSTALL) $(BIN)/python -r requirements-dev.txt; } \
	|| { echo 'uv did not manage here, so pip installs the same; this takes longer ...'; \
		$(BIN)/pip install --quiet --require-hashes -r requirements-dev.txt; }
	@PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --no-index --editable .
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m compileall -q gateway migrations
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c \
		'import gateway.cli.processes, gateway.stores.postgres.migrate, gateway.stores.postgres.usage'
	@touch $@

$(OLD_INSTALLED): requirements-old-sdks.txt | $(INSTALLED)
	@echo 'Installing older SDKs into $(OLD) for the tests ...'
	@$(BIN)/python -m venv --clear --without-pip $(OLD)
	@$(UV_SETTINGS); $(UV_INSTALL) $(OLD)/bin/python -r $< \
	|| $(BIN)/pip --python $(OLD)/bin/python install --quiet --require-hashes -r $<
	@touch $@

run: install ## Run the whole gateway here: engines, simulated providers, API, worker
	@set -a; [ ! -f .env ] || . ./.env; set +a; exec $(BIN)/gateway up $(ARGS)

test: install $(OLD_INSTALLED) browser wrk ## Run every test but the soak tests (ARGS="tests/domain -k money" for some)
	@exec $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: install ## Check style, types, the direction of imports, manifests and the house rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/yamllint --strict deploy docker-compose.yml .pre-commit-config.yaml
	$(BIN)/python -m pytest -q tests/tidy

format: install ## Put the code into the one format
	@$(BIN)/ruff check --fix --exit-zero --quiet
	@$(BIN)/ruff format --quiet

soak: install ## Run the long tests: minutes of load, tens of thousands of tasks
	@exec $(BIN)/python -m pytest -m soak $(ARGS)

prove: install ## Break each promise by hand, on a copy, and see a named test fail (minutes)
	@$(BIN)/python -m tests.broken $(ARGS)

bench: install wrk ## Measure the gateway against the floors of its stack on this machine (minutes)
	@exec $(BIN)/python -m benchmarks.accept $(ARGS)

bench-paths: install wrk ## Measure one caller, 2,000 waiting callers, the worker, two of each (minutes)
	@$(BIN)/python -m benchmarks.alone
	@$(BIN)/python -m benchmarks.crowd
	@$(BIN)/python -m benchmarks.work
	@$(BIN)/python -m benchmarks.pairs

bench-in-flight: install ## Measure what a task costs with 300 to 30,000 in flight, and draw it (10 minutes)
	@exec $(BIN)/python -m benchmarks.in_flight --plot docs/plots/in-flight.svg $(ARGS)

bench-peers: install wrk ## Measure beside LiteLLM and Portkey, which are installed into .bench (minutes)
	@$(UV_SETTINGS); exec $(BIN)/python -m benchmarks.peers $(ARGS)

migrate: install ## Bring the database of GATEWAY_DATABASE_URL (or the embedded one) up to date
	@set -a; [ ! -f .env ] || . ./.env; set +a; exec $(BIN)/gateway migrate $(ARGS)

requirements: install ## Pin anew what pyproject.toml allows, with hashes (ARGS="--upgrade" to move on)
	$(UV_COMPILE) $(ARGS) pyproject.toml -o requirements.txt
	$(UV_COMPILE) $(ARGS) --group dev pyproject.toml -c requirements.txt -o requirements-dev.txt
	echo uv | $(UV_COMPILE) $(ARGS) - -o requirements-uv.txt
	printf '%s\n' $(OLD_SDKS) | $(UV_COMPILE) $(ARGS) - -o requirements-old-sdks.txt

# The browser tests drive Debian's chromium and are skipped, by name, where there is none.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null 2>&1 \
	|| [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1 \
	|| { echo 'Installing chromium for the browser tests ...'; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } \
		>/dev/null 2>&1 \
	|| echo 'No chromium: the browser tests will be skipped'

# wrk makes the load of the benchmarks; where there is none they say so, and their test is skipped.
wrk:
	@command -v wrk >/dev/null 2>&1 \
	|| [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1 \
	|| { echo 'Installing wrk for the benchmarks ...'; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends wrk; } \
		>/dev/null 2>&1 \
	|| echo 'No wrk: benchmarks cannot run, and their test will be skipped'

clean: ## Remove caches and builds (environments, .bench and data/ stay)
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache .coverage htmlcov
	@find . -name __pycache__ -not -path './.venv*' -not -path './.bench*' -prune -exec rm -rf {} +
