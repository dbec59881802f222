# Everything a checkout can do. Each target prepares .venv first; that takes no time when nothing has changed.

PY := .venv/bin/python
UV ?= .venv/bin/uv

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-rasa load matrix check format bench install rollback uninstall lock clean

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/  make \1	\2/p' $(MAKEFILE_LIST)

setup:  ## Debian's RabbitMQ and Redis, and .venv with pinned packages
	@scripts/setup

demo: setup  ## the demonstration: make demo ARGS="..."
	@$(PY) -m examples.demo $(ARGS)

# Most tests wait for servers most of the time, so a few files of them run at once, each on servers of its own.
JOBS ?= 3

test:  ## all tests: make test ARGS="-k words -x"; JOBS=0 for one after the other
	@scripts/setup test
	@$(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-rasa: setup  ## two servers of the real Rasa 3.6.21 (2 GB, Python 3.10), its own lock store beside ours, one table
	@scripts/test-rasa $(ARGS)

load: setup  ## 60 seconds of load with hostile messages and killed daemons: make load ARGS="--rate 50"
	@$(PY) -m tests.fleet --seconds 60 --rate 200 --conversations 2000 --hostile-turns 10 --kill-every 10 $(ARGS)

matrix: setup  ## demo and a part of the tests on Debian 13 and forky, as root: make matrix ARGS="trixie:valkey"
	@scripts/matrix $(ARGS)

check: setup  ## format, lint, types and import rules
	@scripts/check

format: setup  ## let ruff format and repair what it can
	@$(PY) -m ruff format --quiet .
	@$(PY) -m ruff check --quiet --fix .

bench:  ## all benchmarks, those of other locks too: make bench ARGS="peers waiters"
	@scripts/setup bench
	@scripts/bench $(ARGS)

install:  ## install or upgrade this host's daemon, as root (docs/systemd.md)
	@scripts/install

rollback:  ## go back to the release before the last upgrade
	@scripts/install rollback

uninstall:  ## remove it; the configuration stays
	@scripts/install uninstall

# Pins every package with the hashes of all its files, from the default index alone: without --no-config a developer's own
# index would get into the pins. Newer versions: make lock ARGS=--upgrade
LOCK = $(UV) pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)

lock: setup  ## pin requirements/*.txt anew
	@$(LOCK) requirements/runtime.in --output-file requirements/runtime.txt
	@$(LOCK) requirements/client.in --output-file requirements/client.txt
	@$(LOCK) requirements/dev.in --output-file requirements/dev.txt
	@$(LOCK) requirements/client-alone.in --output-file requirements/client-alone.txt
	@$(LOCK) requirements/rasa-3.6.in --output-file requirements/rasa-3.6.txt --python-version 3.10
	@$(LOCK) requirements/rasa-pro-3.15.in --output-file requirements/rasa-pro-3.15.txt
	@$(LOCK) requirements/rasa-pro-3.21.in --output-file requirements/rasa-pro-3.21.txt
	@$(LOCK) requirements/bench.in --output-file requirements/bench.txt
	@$(LOCK) requirements/build.in --output-file requirements/build.txt
	@$(LOCK) requirements/otel.in --output-file requirements/otel.txt
	@$(subst --universal --python-version 3.11,--python-version 3.10,$(LOCK)) requirements/rasa-server.in --output-file requirements/rasa-server.txt

clean:  ## remove .venv and everything the tools made
	@rm -rf .venv build dist examples/node/dist examples/node/node_modules tests/generators/node_modules .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name .git -prune -o -type d -name __pycache__ -exec rm -rf {} +
