# Two commands: `make lab` (three throw-away hosts, deployed and asked one question) and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && exit; done; echo python3)
BIN := .venv/bin
# the older release's: what they take, both do; what must be shown with both asks for each
TOOLS := $(CURDIR)/.lab/cache/tools/bookworm
export PATH := $(TOOLS):$(PATH)

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

.venv/.complete: requirements.lock
	@scripts/bootstrap "$(PYTHON)"
venv: .venv/.complete ## the locked Python environment in .venv

tools: .venv/.complete ## the programs of both Debian releases that check rendered files, unpacked, not installed
	@$(BIN)/python -m lab tools

lab: .venv/.complete ## boot three hosts, deploy, ask the model one question
	@$(BIN)/python -m lab up
	@$(BIN)/pyinfra -y inventories/lab.py deploy.py
	@$(BIN)/fleet ask inventories/lab.py
	@echo "This lab's key: $$(cat .lab/secrets/client-key)"

lab-down: .venv/.complete ## remove the lab: mounts, bridge, processes, disks (downloads stay in .lab/cache)
	@$(BIN)/python -m lab down

test: lint test-unit tools lab ## everything, the lab's tests included
	$(BIN)/pytest tests/golden tests/rules -m tools
	$(BIN)/pytest tests/plan
	$(BIN)/pytest tests/host --inventory inventories/lab.py --apply
	$(BIN)/pytest tests/lab

test-unit: .venv/.complete ## pure tests: any machine, no root
	$(BIN)/pytest tests/unit tests/golden tests/rules -m "not tools"

lint: .venv/.complete
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: .venv/.complete ## make requirements.lock anew from pyproject.toml
	@scripts/lock

bench: .venv/.complete ## the same state by this bundle, plain pyinfra and Ansible, timed on 3 and 24 plain hosts (20 min)
	@$(BIN)/python -m bench

clean: lab-down ## remove everything that was made here
	rm -rf .lab .venv

.PHONY: help venv tools lab lab-down test test-unit lint lock bench clean
