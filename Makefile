# Everything here needs Python 3.11+ and make; uv is used where it is installed.
PORT ?= 8000
STORE ?= sqlite:///holdfast.db
SITE ?=
VENV ?= .venv
BENCH_VENV ?= .venv-bench
BIN := $(VENV)/bin
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help run test check format soak bench docs clean setup

help: ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: ## start the server on SQLite: make run PORT=8000 STORE=sqlite:///holdfast.db SITE=https://alice.example
	@sh tools/setup.sh $(VENV) all
	@exec $(BIN)/holdfast serve --port $(PORT) --store '$(STORE)' --chat $(if $(SITE),--site '$(SITE)')

test: setup ## run the tests, with servers of their own on free ports
	$(BIN)/python -m pytest $(ARGS)

check: setup ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture

format: setup ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

soak: setup ## the full figures: kills and faults on every engine, into docs/benchmarks.md
	HOLDFAST_SOAK=1 $(BIN)/python -m pytest -m soak -q tests $(ARGS)

bench: ## every speed figure, side by side with its peers, into docs/benchmarks.md
	@sh tools/setup.sh $(BENCH_VENV) redis,postgres,sqlalchemy,serve,webmention bench/requirements.txt
	$(BENCH_VENV)/bin/python -m bench.persist --write $(ARGS)
	$(BENCH_VENV)/bin/python -m bench.channels --write $(ARGS)
	$(BENCH_VENV)/bin/python -m bench.webmention --write $(ARGS)

docs: setup ## the documentation site, into site/
	$(BIN)/zensical build

setup:
	@sh tools/setup.sh $(VENV) dev

clean: ## remove what was built; stores stay
	rm -rf $(VENV) $(BENCH_VENV) site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
