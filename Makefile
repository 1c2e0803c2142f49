PYTHON ?= python3
TORCH ?=  # make setup TORCH=cpu: torch without the 2 GB of GPU libraries
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help repro test experiments tables page published plans lint benchmark lock setup clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

repro: setup  ## run the pipeline, and show its result
	@# DVC stops when nobody reads its output any more (make repro | head): what is left is read to the end.
	@if [ -t 1 ]; then dvc repro; else bash -o pipefail -c 'dvc repro | { cat 2> /dev/null; cat > /dev/null; }'; fi
	@(echo && awk '/^\|/ {table = 1} table && !/^\|/ {exit} {print}' reports/table.md) 2> /dev/null || true
	@(echo && echo "More: reports/table.md; dvc plots show draws it. Next: dvc exp run -S method=mfw, then dvc metrics diff") || true

# A test file stays in one process: its tests may share a clone.
test: setup  ## run the tests
	pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

experiments: setup  ## list the experiments with their accuracies, in columns that fit a narrow terminal
	@dvc exp show --no-pager --drop '.*' --keep '^(Experiment|method|acc[.](all|many|few))$$'

tables: setup  ## write the papers' tables from what is in git
	python -m stages.tables
	python -m stages.tables --papers

page: setup  ## write the results page, site/index.html, from what is in git
	python -m stages.page

published: setup  ## tag the revision whose metrics are the papers' numbers
	python -m stages.longtail.papers.published_revision

plans: setup  ## write the papers' plans and lists of runs from published.csv and conf/
	python -m stages.launch --update

lint: setup  ## check the code with ruff and mypy
	ruff check .
	ruff format --check .
	mypy
	lint-imports

benchmark: setup  ## print speed and memory
	python -m tests.benchmarks.training
	python -m tests.benchmarks.recipes
	python -m tests.benchmarks.decoding

lock: setup  ## resolve requirements.in into requirements.txt
	uv pip compile -q requirements.in --universal --python-version 3.11 --no-header --output-file requirements.txt

setup: .venv/ready  ## make .venv with everything in requirements.txt

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.txt)"
	uv pip install --quiet --compile-bytecode --python .venv/bin/python $(if $(strip $(TORCH)),--torch-backend $(strip $(TORCH)) --constraint requirements.txt --requirements requirements.in,--requirements requirements.txt)
	touch $@

clean:  ## remove what a stage can make again; the DVC cache stays
	rm -rf .scratch data/raw data/splits data/representation data/classifier dvc_plots site
