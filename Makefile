# Two commands to know: `make demo` and `make test`. Everything runs in .venv, which docker/bootstrap.sh makes and keeps fresh.
SHELL := /bin/sh
PY := .venv/bin/python
BOOTSTRAP := sh docker/bootstrap.sh
UV := $(PY) -m uv
# Without compiled modules Airflow and transformers start several times slower: children must not inherit this.
unexport PYTHONDONTWRITEBYTECODE
# uv does not read pip's settings: a folder of wheels that pip knows is handed on.
FIND_LINKS = $(or $(PIP_FIND_LINKS),$(shell $(PY) -m pip config get global.find-links 2>/dev/null))
COMPILE = $(UV) pip compile --quiet --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate \
	--custom-compile-command "make lock" $(if $(FIND_LINKS),$(addprefix --find-links ,$(FIND_LINKS)),--torch-backend cpu) $(if $(UPGRADE),--upgrade)

# $(call lock_file,FILE,OPTIONS): compile to a copy, then replace FILE. The old pins are kept where they still fit, but torch's is left out of the copy:
# with it uv would prefer the CUDA build of the same version to the CPU build (+cpu), whose local tag is cut off again, since the version is what is locked.
define lock_file
	@if [ -f $(1) ]; then sed '/^torch==/d' $(1) >var/lock.txt; else : >var/lock.txt; fi
	$(COMPILE) $(2) --output-file var/lock.txt >/dev/null
	@if grep -q '^nvidia-' var/lock.txt; then echo "lock: no CPU build of torch was found; name a folder that has its wheel in PIP_FIND_LINKS" >&2; exit 1; fi
	@sed 's/^\(torch==[0-9.]*\)+.*/\1/' var/lock.txt >var/lock.pins && mv var/lock.pins $(1) && rm var/lock.txt
endef

.DEFAULT_GOAL := help
.PHONY: help demo test soak check fix lock up down generate audit clean-demo

help: ## Show this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done

demo: ## Simulate a shop, run its nights and show what came out (NIGHTS=3 for a short one)
	@$(BOOTSTRAP)
	@$(PY) -m jobs demo $(if $(NIGHTS),--nights $(NIGHTS))

# A file's tests stay together, with what they share, and files begin in the order that tests/conftest.py gives them.
WORKERS = -n 2 --dist loadfile --no-loadscope-reorder

test: ## Run every test, fast ones first (T=tests/test_x.py, or any pytest arguments)
	@$(BOOTSTRAP) test
ifdef T
	@$(PY) -m pytest $(T)
else
	@$(PY) -m pytest $(WORKERS) -m fast; fast=$$?; $(PY) -m pytest $(WORKERS) -m "not fast" && exit $$fast
endif

soak: ## Try to break every promise of docs/reliability.md, for hours, resumable (T="--only kill --trials 3")
	@$(BOOTSTRAP) test
	@$(PY) -m tests.faults $(T)

check: ## Format, lint, types and the fast tests
	@$(BOOTSTRAP)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest -q -m fast

fix: ## Format, and mend what the linter can mend
	@$(BOOTSTRAP)
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

up: ## Start Airflow on 127.0.0.1:8080
	@$(BOOTSTRAP)
	@$(PY) docker/standalone.py up

down: ## Stop Airflow and all its processes
	@$(PY) docker/standalone.py down

generate: ## Write the generated files again (DDL, schemas, reference pages)
	@$(BOOTSTRAP)
	@$(PY) -m jobs generate

lock: ## Pin the dependencies declared in pyproject.toml (UPGRADE=1 for newer versions)
	@$(BOOTSTRAP)
	@mkdir -p var
	$(call lock_file,requirements.txt,--group airflow --group jobs --group dev)
	$(call lock_file,docker/airflow.txt,--group airflow --constraint requirements.txt)
	$(call lock_file,docker/jobs.txt,--group jobs --constraint requirements.txt)

audit: ## Look up known vulnerabilities of the pinned packages, and write var/sbom.json
	@$(BOOTSTRAP) test
	@$(PY) docker/audit.py $(T)

clean-demo: ## Remove what `make demo` made
	rm -rf var/demo
