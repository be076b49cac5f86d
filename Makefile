# Everything sets itself up: virtual environments, one for each Python 3.11 to 3.15 of this machine, with the newest two
# from Debian's testing suite where the machine has none, AWS's runtime interface emulator, CLI and runtime for Node.js
# and, from Debian, a browser. What has been set up is kept until `make clean`.

FOUND := $(shell tests/tools/interpreters)
ENVIRONMENTS := $(foreach pair,$(FOUND),$(firstword $(subst =, ,$(pair))))
NEWEST := $(filter .venv-3.14 .venv-3.15,$(ENVIRONMENTS))
DEBIAN_TESTING := .cache/debian-testing
FROM_DEBIAN := $(foreach environment,$(NEWEST),$(if $(filter $(environment)=$(DEBIAN_TESTING)/%,$(FOUND)),$(environment)))

.PHONY: help test check environments lint emulator browser bench demo build clean
.PHONY: $(ENVIRONMENTS:%=types-in-%) $(ENVIRONMENTS:%=pytest-in-%)

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile

# The types of all versions beside each other, then the tests of one version after the other: their files are shared out
# among workers. One job more than these fetches Debian's interpreters meanwhile, and waits for the network.
WORKERS ?= $(shell nproc)

test: lint ## check, and run the tests on every version of Python found
	@$(MAKE) --no-print-directory --jobs=$$(($(WORKERS) + 1)) --output-sync=target $(FROM_DEBIAN:%=%/ready) $(ENVIRONMENTS:%=types-in-%)
	@$(MAKE) --no-print-directory --jobs=1 --output-sync=line $(ENVIRONMENTS:%=pytest-in-%)

check: lint $(ENVIRONMENTS:%=types-in-%) ## lint, then check the types for every version of Python found

bench: .venv/ready emulator $(addsuffix /ready,$(filter .venv-3.15,$(NEWEST))) ## measure against awslambdaric, Mangum and AWS's emulator
	@.venv/bin/python -m tests.benchmarks $(if $(CHECKOUT),--checkout '$(CHECKOUT)')
	@.venv/bin/python -m tests.benchmarks.streams
	@.venv/bin/python -m tests.benchmarks.web
	@.venv/bin/python -m tests.benchmarks.hand_over
	@.venv/bin/python -m tests.benchmarks.observability
	@.venv/bin/python -m tests.benchmarks.emulators
	@.venv/bin/python -m tests.benchmarks.packages
	@.venv/bin/python -m tests.benchmarks.managed
	@$(if $(filter .venv-3.15,$(NEWEST)),.venv-3.15/bin/python -m tests.benchmarks.lazy_imports)

# The package and nothing else: a first look waits for no tests.
demo: .cache/demo/ready ## answer first, finish afterwards: see it happen
	@.cache/demo/bin/python docs/examples/demo.py

.cache/demo/ready: pyproject.toml lambda_ric/version.py
	@test -n "$(FOUND)" || { echo "make: an interpreter is missing, see above" >&2; exit 1; }
	@$(lastword $(subst =, ,$(firstword $(FOUND)))) -m venv --clear .cache/demo
	@.cache/demo/bin/python -m pip install -qq --no-input --editable .
	@touch $@

build: .venv/ready ## wheel and sdist, in dist
	@.venv/bin/python -m build --no-isolation --outdir dist

clean: ## remove all that was made here
	@rm -rf .venv .venv-3.* .cache dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Of use with --jobs: they wait for the network most of the time.
environments: $(patsubst %,%/ready,$(filter-out $(FROM_DEBIAN),$(ENVIRONMENTS)))

lint: .venv/ready
	@echo "== ruff, shellcheck"
	@.venv/bin/python -m ruff check --quiet --output-format concise
	@.venv/bin/shellcheck bootstrap .ci/run tests/emulator/runtimes/bootstrap.sh tests/tools/chromium \
		tests/tools/debian-testing tests/tools/interpreters tests/tools/lambda-root tests/tools/private-mounts tests/tools/stage-root

types-in-.venv: .venv/ready
	@echo "== mypy on $$(.venv/bin/python --version)"
	@.venv/bin/python -m mypy --no-error-summary
	@echo "== pyright"
	@.venv/bin/python -m pyright --pythonpath .venv/bin/python

# The package alone, with the libraries of the first version.
$(filter-out types-in-.venv,$(ENVIRONMENTS:%=types-in-%)): types-in-.venv-%: .venv/ready
	@echo "== mypy for Python $*"
	@.venv/bin/python -m mypy --no-error-summary --python-version $* lambda_ric

# The first version runs everything: of the tools, the documentation, other libraries, processes, queues, AWS's own runtime
# and figures one version shows what all do, for they see protocols and the kernel. The newest two run what meets the
# interpreter itself, where another version is another: its compiler, imports and tracebacks, signals, threads and their
# contexts, asyncio, logging, JSON. Between those versions, the heart of that.
OF_INTERPRETER := $(filter-out $(addprefix tests/test_,awslambdaric.py bootstrap.py client.py connection.py entry.py httpx_connection.py protocol.py replies.py spans.py testing.py),$(wildcard tests/test_*.py)) \
	$(addprefix tests/,background managed/test_event_loop.py managed/test_threads.py streaming/test_stream.py tasks/test_policy.py web/test_lifespan.py web/test_websocket.py) \
	$(addprefix tests/house/,test_imports.py test_public_api.py) tests/proofs/places
HEART := $(addprefix tests/,$(addprefix test_,event_loop.py failures.py handlers.py handover.py hooks.py logs.py payloads.py runtime.py synchronous.py threads.py)) \
	tests/background tests/managed/test_event_loop.py tests/house/test_imports.py tests/proofs/places

$(ENVIRONMENTS:%=pytest-in-%): FILES = $(HEART)
$(NEWEST:%=pytest-in-%): FILES = $(OF_INTERPRETER)
pytest-in-.venv: FILES =
$(ENVIRONMENTS:%=pytest-in-%): pytest-in-%: %/ready emulator browser
	@echo "== pytest on $$($*/bin/python --version)"
	@$*/bin/python -m pytest --quiet --numprocesses $(WORKERS) --dist loadfile $(FILES)

# Fetched before the tests, so that no test pays for the download.
emulator: .venv/ready
	@.venv/bin/python -m tests.proofs.rie.binary >/dev/null
	@.venv/bin/python -m tests.support.aws_cli >/dev/null
	@.venv/bin/python -m tests.support.environments >/dev/null
	@.venv/bin/python -m tests.support.node_ric >/dev/null

browser:
	@tests/tools/chromium >/dev/null

$(DEBIAN_TESTING)/ready: tests/tools/debian-testing
	@echo "== interpreters of Debian's testing suite"
	@tests/tools/debian-testing $(DEBIAN_TESTING) 3.14 3.15
	@touch $@

# By uv, for Debian's interpreters have no pip; and wheels only, for they have no headers for a compiler either.
$(FROM_DEBIAN:%=%/ready): $(DEBIAN_TESTING)/ready
$(NEWEST:%=%/ready): %/ready: pyproject.toml lambda_ric/version.py | .venv/ready
	@echo "== $* with $(patsubst $*=%,%,$(filter $*=%,$(FOUND)))"
	@.venv/bin/python -m uv venv -q --clear --python $(patsubst $*=%,%,$(filter $*=%,$(FOUND))) $*
	@.venv/bin/python -m uv pip install -q --python $*/bin/python --only-binary :all: --no-binary lambda-ric --editable '.[test-interpreter]'
	@touch $@

%/ready: pyproject.toml lambda_ric/version.py
	@test -n "$(FOUND)" || { echo "make: an interpreter is missing, see above" >&2; exit 1; }
	@echo "== $* with $(patsubst $*=%,%,$(filter $*=%,$(FOUND)))"
	@$(patsubst $*=%,%,$(filter $*=%,$(FOUND))) -m venv --clear $*
	@$*/bin/python -m pip install -qq --no-input uv
	@$*/bin/python -m uv pip install -q --python $*/bin/python --editable '.[test]' # pip takes minutes to choose versions
	@touch $@
