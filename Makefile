# make repro  set up and run the pipeline        make test  set up and run the tests
# make tables  the papers' tables, from what is in git  make published  the revision for dvc metrics diff published
# make plans   the papers' plans and lists of runs, from published.csv and conf/
# make lint   ruff and mypy                      make benchmark  speed and memory, printed
# make lock   resolve requirements.in into requirements.txt
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: repro test tables published plans lint benchmark lock setup clean

repro: setup
	dvc repro

test: setup  ## a file stays in one process: its tests may share a clone
	pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

tables: setup
	python -m stages.tables
	python -m stages.tables --papers

published: setup
	python -m stages.longtail.papers.published_revision

plans: setup
	python -m stages.launch --update

lint: setup
	ruff check .
	ruff format --check .
	mypy

benchmark: setup
	python -m tests.benchmarks.training
	python -m tests.benchmarks.recipes

lock: setup
	uv pip compile -q requirements.in --universal --python-version 3.11 --no-header --output-file requirements.txt

setup: .venv/ready  ## .venv with everything in requirements.txt

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.txt)"
	uv pip install --quiet --compile-bytecode --python .venv/bin/python --requirements requirements.txt
	touch $@

clean:  ## what a stage can make again; the DVC cache stays
	rm -rf .scratch data/raw data/splits data/representation data/classifier dvc_plots
