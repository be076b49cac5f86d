# Everything sets itself up: virtual environments, one for each Python 3.11 to 3.13 of this machine, AWS's runtime
# interface emulator and CLI and, from Debian, a browser. What has been set up is kept until `make clean`.

FOUND := $(shell tests/tools/interpreters)
ENVIRONMENTS := $(foreach pair,$(FOUND),$(firstword $(subst =, ,$(pair))))

.PHONY: help test check environments lint emulator browser bench demo build clean
.PHONY: $(ENVIRONMENTS:%=types-in-%) $(ENVIRONMENTS:%=pytest-in-%)

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile

# Two at a time: the tests wait for processes more than they compute.
test: lint ## check, and run the tests on every version of Python found
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=line \
		$(ENVIRONMENTS:%=types-in-%) $(ENVIRONMENTS:%=pytest-in-%)

check: lint $(ENVIRONMENTS:%=types-in-%) ## lint, then check the types for every version of Python found

bench: .venv/ready emulator ## measure against awslambdaric, Mangum and AWS's emulator
	@.venv/bin/python -m tests.benchmarks
	@.venv/bin/python -m tests.benchmarks.streams
	@.venv/bin/python -m tests.benchmarks.web
	@.venv/bin/python -m tests.benchmarks.emulators

demo: .venv/ready ## answer first, finish afterwards: see it happen
	@.venv/bin/python docs/examples/demo.py

build: .venv/ready ## wheel and sdist, in dist
	@.venv/bin/python -m build --no-isolation --outdir dist

clean: ## remove all that was made here
	@rm -rf .venv .venv-3.* .cache dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Of use with --jobs: pip waits for the network most of the time.
environments: $(ENVIRONMENTS:%=%/ready)

lint: .venv/ready
	@echo "== ruff, shellcheck"
	@.venv/bin/python -m ruff check --quiet --output-format concise
	@.venv/bin/shellcheck bootstrap .ci/run tests/emulator/runtimes/bootstrap.sh tests/tools/chromium \
		tests/tools/interpreters tests/tools/private-mounts

$(ENVIRONMENTS:%=types-in-%): types-in-%: %/ready
	@echo "== mypy on $$($*/bin/python --version)"
	@$*/bin/python -m mypy --no-error-summary

# What looks at the page, at other libraries, faults, the documentation and the wire, where one version of Python shows
# what all do.
ONCE := $(foreach path,browser decorators durability faults frameworks test_aws_cli.py test_docs.py,--ignore=tests/$(path)) \
	--ignore-glob='*_conformance.py'

$(ENVIRONMENTS:%=pytest-in-%): pytest-in-%: %/ready emulator browser
	@echo "== pytest on $$($*/bin/python --version)"
	@$*/bin/python -m pytest --quiet $(if $(filter-out .venv,$*),$(ONCE))

# Fetched before the tests, so that no test pays for the download.
emulator: .venv/ready
	@.venv/bin/python -m tests.rie.binary >/dev/null
	@.venv/bin/python -m tests.aws_cli >/dev/null

browser:
	@tests/tools/chromium >/dev/null

%/ready: pyproject.toml lambda_ric/version.py
	@test -n "$(FOUND)" || { echo "make: an interpreter is missing, see above" >&2; exit 1; }
	@echo "== $* with $(patsubst $*=%,%,$(filter $*=%,$(FOUND)))"
	@$(patsubst $*=%,%,$(filter $*=%,$(FOUND))) -m venv --clear $*
	@$*/bin/python -m pip install -qq --no-input --editable '.[test]'
	@touch $@
