# One command from a clone to a result: make train

CONFIG ?= configs/digits.py:crnn
comma := ,
# configs/cifar10.py:crnn,seed=1 trains in runs/cifar10_crnn_seed_1.
NAME := $(patsubst configs_%,%,$(subst /,_,$(subst =,_,$(subst $(comma),_,$(subst :,_,$(subst .py:,_,$(CONFIG)))))))
WORKDIR ?= runs/$(NAME)
VENV ?= .venv
# Which Python makes the environment; empty: the best one found.
PYTHON ?=
ARGS ?=
# Which versions are installed; constraints-lowest.txt holds the oldest that are supported.
CONSTRAINTS ?= constraints.txt

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check install --quiet --constraint $(CONSTRAINTS)
SETTINGS := pyproject.toml $(CONSTRAINTS)

.PHONY: help train test test-long test-distributed test-installed test-pages test-gpu smoke faults lint docs doctor clean
.NOTPARALLEL:

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18
	@echo 'Settings: CONFIG=$(CONFIG) WORKDIR=$(WORKDIR) ARGS= PYTHON= VENV=$(VENV)'

train: $(VENV)/.installed  ## Train CONFIG in WORKDIR; ARGS="--config.KEY=VALUE ..." changes keys.
	$(RUN) -m crnn_jax.main '--config=$(CONFIG)' '--workdir=$(WORKDIR)' $(ARGS)

test: $(VENV)/.installed-test  ## Run the tests; ARGS="-m slow" runs the slow ones.
	$(RUN) -m pytest -n 2 -m 'not slow and not long and not gpu and not distributed and not installed and not pages' $(ARGS)

test-long: $(VENV)/.installed-test  ## Run the tests that train: resumes, devices, tasks, studies.
	$(RUN) -m pytest -n 2 -m 'long and not slow and not distributed' $(ARGS)

test-distributed: $(VENV)/.installed-test  ## Run the tests on many meshes and of several processes.
	$(RUN) -m pytest -n 2 --dist loadfile -m distributed $(ARGS)

test-installed: $(VENV)/.installed-test  ## Install a wheel in an empty environment of each Python, and try it.
	$(RUN) -m pytest -m installed $(ARGS)

test-pages: $(VENV)/.installed-test  ## Execute the blocks of every page of docs/: a quarter of an hour.
	$(RUN) -m pytest -n 2 -m pages $(ARGS)

test-gpu: $(VENV)/.installed-test  ## Run the tests that need a GPU.
	TEST_PLATFORM=cuda $(RUN) -m pytest -m gpu $(ARGS)

smoke: $(VENV)/.installed-test  ## Run the few tests that every supported Python must pass.
	$(RUN) -m pytest -n 2 -m smoke $(ARGS)

faults: $(VENV)/.installed-test  ## Kill, damage and mistype: 4,600 faults, twenty minutes; writes results/faults.json.
	JAX_PLATFORMS=cpu XLA_FLAGS=--xla_backend_optimization_level=0 $(RUN) -m tests.faults.campaign results/faults.json $(ARGS)

lint: $(VENV)/.installed-dev  ## Check format, style, types, and that the tables are those of results/.
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright --pythonpath $(RUN)
	$(VENV)/bin/shellcheck launch/*.sh .ci/run
	$(RUN) -m crnn_jax.report.tables --check README.md docs/results.md docs/performance.md docs/imagenet.md docs/scaling.md docs/video.md docs/segmentation.md docs/faults.md docs/explain.md docs/export.md docs/finetune.md docs/first_run.md docs/serve.md
	$(RUN) -m crnn_jax.help_config --check docs/config.md

docs: $(VENV)/.installed-dev  ## Build the site in docs/_build; a warning or a broken link is an error.
	JAX_PLATFORMS=cpu $(VENV)/bin/sphinx-build -b html -d docs/_build/trees -W --keep-going -q docs docs/_build/site
	@echo 'open docs/_build/site/index.html'

doctor: $(VENV)/.installed  ## Say whether this installation can train.
	$(RUN) -m crnn_jax.doctor

clean:  ## Delete the environments and caches, not the runs.
	rm -rf $(VENV) .venv-* build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# An interrupted installation has no stamp and is done again; a half-made environment is remade.
$(VENV)/bin/pip:
	@python='$(PYTHON)'; [ -n "$$python" ] || python=$$(sh .ci/find_python) || exit 1; \
	echo "making $(VENV) with $$python"; \
	"$$python" -m venv --clear $(VENV) || \
	{ rm -rf $(VENV); echo "$$python cannot make a virtual environment: name another with PYTHON=" >&2; exit 1; }

$(VENV)/.installed: $(SETTINGS) | $(VENV)/bin/pip
	@echo 'installing into $(VENV), once: a minute or two'
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: $(SETTINGS) | $(VENV)/bin/pip
	@echo 'installing into $(VENV) what the tests need, once: a minute or two'
	@$(PIP) --editable '.[test]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-dev: $(SETTINGS) | $(VENV)/bin/pip
	@echo 'installing into $(VENV) what the checks need, once: a minute or two'
	@$(PIP) --editable '.[test,dev]'
	@touch $(VENV)/.installed $(VENV)/.installed-test $@
