# The human's interface; `make` lists the targets. Every command below sets up what it needs first.
#   make rewrite CONFIG=configs/mine.yaml ARGS="run.workers=4"
# A command's own exit code (0 done, 1 failed, 2 usage or configuration, 130 interrupted) is that of
# `.venv/bin/prewrite …`; make itself exits 2 whenever that is not 0, and says "Error CODE".

CONFIG ?= configs/quickstart.yaml
PYTHON := .venv/bin/python
MODEL := models/smollm2-135m-instruct

# A variable that is misspelt, or that a target does not read, would run something else than what was
# asked for. USES_NAME: the targets that read NAME.
USES_CONFIG := rewrite plan judge judge-report train evaluate improve reproduce
USES_SET := report
USES_RUN := report
USES_ARGS := $(USES_CONFIG) ablation report test bench prove lock
USES_PREWRITE_DEVICE := $(filter-out lock,$(USES_ARGS)) lint docs setup $(MODEL)
USES_TORCH_CPU_INDEX := $(USES_PREWRITE_DEVICE)
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
ACCEPTED = $(foreach name,CONFIG SET RUN ARGS PREWRITE_DEVICE TORCH_CPU_INDEX,$(if $(filter $(goal),$(USES_$(name))),$(name)))
$(foreach goal,$(or $(MAKECMDGOALS),help),$(foreach name,$(GIVEN),$(if $(filter $(name),$(ACCEPTED)),,\
  $(error make $(goal): found the variable $(name); accepted: $(or $(strip $(ACCEPTED)),none)))))
$(if $(and $(filter report,$(MAKECMDGOALS)),$(SET),$(RUN)),$(error make report: found SET and RUN; accepted: one of them))

.DEFAULT_GOAL := help
.PHONY: rewrite plan judge judge-report train evaluate improve reproduce ablation report test lint bench prove docs setup lock clean help
MAKEFLAGS += --no-print-directory

rewrite: $(MODEL)  ## Rewrite and judge a corpus into scored shards (CONFIG=…, ARGS="key=value …")
	@$(PYTHON) -m prewrite rewrite --config "$(CONFIG)" $(ARGS)

plan: $(MODEL)  ## Say what a whole run will cost, from a minute of it (CONFIG=…, ARGS="key=value …")
	@$(PYTHON) -m prewrite plan --config "$(CONFIG)" $(ARGS)

judge: $(MODEL)  ## Score a shard set (CONFIG=…, ARGS="key=value …")
	@$(PYTHON) -m prewrite judge --config "$(CONFIG)" $(ARGS)

judge-report: $(MODEL)  ## Measure how far the judge can be trusted (CONFIG=…, ARGS="key=value …")
	@$(PYTHON) -m prewrite judge report --config "$(CONFIG)" $(ARGS)

train: $(MODEL)  ## Train a model on scored shards (CONFIG=…, ARGS="key=value …")
	@$(PYTHON) -m prewrite train --config "$(CONFIG)" $(ARGS)

evaluate: $(MODEL)  ## Judge and measure trained models on held-out texts (CONFIG=…, ARGS="key=value …")
	@$(PYTHON) -m prewrite evaluate --config "$(CONFIG)" $(ARGS)

improve: $(MODEL)  ## Improve judge, rewriter and policy in rounds (CONFIG=configs/improve.yaml, ARGS=…)
	@$(PYTHON) -m prewrite improve --config "$(if $(filter file,$(origin CONFIG)),configs/improve.yaml,$(CONFIG))" $(ARGS)

reproduce: $(MODEL)  ## Print the paper's tables, printed and measured (CONFIG=configs/reproduce/…, ARGS=…)
	@$(PYTHON) -m prewrite reproduce --config "$(if $(filter file,$(origin CONFIG)),configs/reproduce/tiny.yaml,$(CONFIG))" $(ARGS)

ablation: $(MODEL)  ## Train and compare all variants of configs/ablations at tiny scale (ARGS="--only a,b")
	@$(PYTHON) -m prewrite ablation $(ARGS)

report: setup  ## Show a set or a run as one HTML page (SET=… or RUN=…, ARGS="--to …")
	@$(PYTHON) -m prewrite $(if $(RUN),train,shards) report $(or $(RUN),$(SET),$(error give SET=… or RUN=…)) $(ARGS)

test: $(MODEL)  ## Run the tests, two files at a time (ARGS="-k name -x …" goes to pytest)
	@OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: setup  ## Check style, types, names of types and the floors of the architecture
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PYTHON) -m scripts.homonyms

bench: $(MODEL)  ## Measure, and write benchmarks/RESULTS.md
	@$(PYTHON) -m benchmarks $(ARGS)

prove: $(MODEL)  ## Show that a rewriter and a judge learn, at toy scale (ARGS="--only judge --seeds 0")
	@$(PYTHON) -m benchmarks.prove $(ARGS)

docs: setup  ## Build the documentation as a site in site/, generated pages renewed
	@$(PYTHON) -m scripts.pages
	@$(PYTHON) -m sphinx -q -W --keep-going -c docs -d site/.doctrees . site
	@echo "site/index.html"

setup:  ## Make .venv for this machine (PREWRITE_DEVICE=cpu|gpu overrides)
	@scripts/setup.sh

lock:  ## Resolve requirements/*.lock from pyproject.toml, keeping pins that fit (ARGS=--upgrade)
	@scripts/lock.sh $(ARGS)

clean:  ## Remove the environment, the model and caches (data/ stays)
	rm -rf .venv models .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache
	rm -rf *.egg-info build site
	find . -name __pycache__ -prune -exec rm -rf {} +

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

# The quick-start model, converted once out of an installed package; it appears whole or not at all.
$(MODEL): | setup
	@$(PYTHON) -m scripts.quickstart_model $@
