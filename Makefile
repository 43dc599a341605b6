# Everything a developer or a first-time user needs; `make help` lists it.
PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full pythons coverage check format bench docs clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "make %-9s  %s\n", $$1, $$2 }'

setup: ## make .venv with coldseek in it, and install the system packages that are missing
	@$(PYTHON) scripts/setup

demo: setup ## build a 16 GiB disk image and profile opening it, cold and warm
	@$(PYTHON) scripts/make-image demo/disk0.qcow2
	@.venv/bin/coldseek open demo/disk0.qcow2 --by check -o demo/check

# Since Python 3.12 coverage is measured on the way, for 6% of the time (sys.monitoring). Before, it would be 44%.
test: ## run the tests (some need root; they say so where they are skipped), and print their coverage
	@$(PYTHON) scripts/setup --tests
	@if .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 12))'; \
	 then measured="--cov --cov-report=term"; \
	 else measured=; echo "coverage is not measured under this Python: make coverage measures that of the unit tests"; fi; \
	 COVERAGE_CORE=sysmon .venv/bin/python -m pytest -q -n auto --maxprocesses=8 -m "not alone and not full" $$measured; \
	 first=$$?; .venv/bin/python -m pytest -q -m "alone and not full" && exit $$first

coverage: setup ## print which lines the unit tests run, under any Python
	@.venv/bin/python -m pytest -q -n auto --maxprocesses=8 --cov --cov-report=term tests/unit

pythons: setup ## run the unit tests under each Python from 3.11 to 3.14 that is here, and name the others
	@.venv/bin/tox run

test-full: ## run the tests with real services too (it installs nginx, docker, libvirt and such; starts none)
	@$(PYTHON) scripts/setup --tests --services
	@.venv/bin/python -m pytest -q -m full; status=$$?; test $$status -eq 5 || exit $$status  # 5: there are none

check: setup ## lint, format and types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

format: setup ## reformat the code in place
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

bench: setup ## measure the tracers' slow-down, the log importer, start-up, open and the plots (minutes)
	@.venv/bin/python scripts/bench

docs: setup ## build the book into site/: README, docs and examples as web pages
	@.venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt mkdocs-material
	@rm -rf build/book && mkdir -p build/book && cp -r *.md docs examples build/book/
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet
	@echo "the book: site/index.html"

clean: ## remove what was built; .venv and demo/ too
	rm -rf .venv .tox .coverage demo dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
