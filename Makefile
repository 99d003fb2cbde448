# `make` alone lists the targets. Settings are variables: make run WEB_PORT=9000 DATA_DIR=/srv/mlplatform
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run restart test test-fast test-all check bench protos clean install-run install-test

VENV ?= .venv
export VENV
PYTHON = $(VENV)/bin/python

# The environment's own Python when it works, else the first on PATH that is new enough.
define INSTALL
for python in $(VENV)/bin/python python3.11 python3.12 python3.13 python3.14 python3 python; do \
  if "$$python" -Ic 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
    exec "$$python" -I mlplatform/run/install.py
endef
define NO_PYTHON
; fi; done; echo "Python 3.11 or newer was not found: install it, on Debian with \`apt install python3 python3-venv\`."; exit 1
endef

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 18

run: install-run ## Start the product and keep it until Ctrl-C
	@exec $(PYTHON) -m mlplatform.run

restart: ## Replace the web processes of the product that runs, without a refused call
	@exec $(PYTHON) -m mlplatform.run.restart_web

test-fast: install-test ## For the edit loop: tests without processes, models and browsers
	@exec $(PYTHON) -m tests.support.suite fast $(ARGS)

test: install-test ## Before a commit: all tests on SQLite but the slowest (ARGS=path runs all of it)
	@exec $(PYTHON) -m tests.support.suite test $(ARGS)

test-all: install-test ## What `make test` leaves out: browsers, killed processes, PostgreSQL
	@exec $(PYTHON) -m tests.support.suite all $(ARGS)

# Django's checks see a production-like installation, and nothing of DATA_DIR.
CHECK_ENV = env -u DATABASE_URL -u DEBUG DATA_DIR=$(abspath $(VENV))/check-data HTTPS=true ALLOWED_HOSTS=api.example.com \
  SECRET_KEY="$$($(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(60))')"

check: install-test ## Lint, formatting, types, floors, words, doors and time of tests, migrations, Django's deploy check
	@mkdir -p $(VENV)/check-data
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy .
	$(VENV)/bin/lint-imports
	@echo "tests.support.words"
	@$(PYTHON) -m tests.support.words
	@echo "tests.support.doors"
	@$(PYTHON) -m tests.support.doors
	@echo "tests.support.budget"
	@$(PYTHON) -m tests.support.budget
	@echo "manage.py makemigrations --check --dry-run"
	@$(CHECK_ENV) $(PYTHON) manage.py makemigrations --check --dry-run
	@echo "manage.py check --deploy --fail-level WARNING"
	@$(CHECK_ENV) $(PYTHON) manage.py check --deploy --fail-level WARNING

bench: install-test ## Measure, some minutes; `make bench pages` measures one scenario of bench/README.md
	@exec $(PYTHON) -m bench $(SCENARIOS) $(ARGS)

# Further words after `bench` name scenarios: they are no targets of their own.
ifeq (bench,$(firstword $(MAKECMDGOALS)))
SCENARIOS := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
.PHONY: $(SCENARIOS)
$(SCENARIOS):
	@:
endif

protos: install-test ## Make the gRPC code of inference/grpc/protos anew
	@exec $(PYTHON) -m inference.grpc.compile_protos

clean: ## Remove the environment and the tools' caches; DATA_DIR stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

install-run:
	@$(INSTALL) run$(NO_PYTHON)

install-test:
	@$(INSTALL) test$(NO_PYTHON)
