# Two commands carry the course: `make course` runs every lesson and builds the site, `make test` proves that all of it works.
# Another interpreter or folder: `make test PYTHON=python3.12 VENV=/tmp/env`. Some lessons only: `make course LESSONS=01_checklist`.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
BUILD = $(CURDIR)/build
READY = $(VENV)/.ready

# Compiled files are worth keeping: without them every start of a kernel compiles torch again.
unexport PYTHONDONTWRITEBYTECODE
# Programs that would write below HOME write below build/ instead, so a missing or read-only HOME is no matter,
# and nobody's own IPython start-up files can change a result.
CACHE = $(BUILD)/cache
ISOLATED = mkdir -p "$(CACHE)/ipython" "$(CACHE)/matplotlib" "$(CACHE)/numba" && env JUPYTER_CONFIG_DIR="$(CACHE)/jupyter" \
	JUPYTER_DATA_DIR="$(CACHE)/jupyter" JUPYTER_RUNTIME_DIR="$(CACHE)/jupyter/runtime" IPYTHONDIR="$(CACHE)/ipython" \
	MPLCONFIGDIR="$(CACHE)/matplotlib" NUMBA_CACHE_DIR="$(CACHE)/numba"

# Two files at a time, each whole in one process: the cells of a notebook share a kernel, and tests share what they trained.
TWO = -n 2 --dist loadfile
# Each of the two has one core: comparisons run in the lesson's own process, and no library starts threads.
ONE_CORE = LOKY_MAX_CPU_COUNT=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
NBVAL = --nbval-lax --nbval-current-env --nbval-cell-timeout=300 --nbval-kernel-startup-timeout=180

.PHONY: help site course test lab bench claims redraw evidence audit clean

help:
	@echo "make site     draw the lessons as they are, with their outputs, in build/site (seconds)"
	@echo "make course   run every lesson and build the site in build/site (TDNN_BUDGET=smoke is the quick look)"
	@echo "make test     unit tests, and every notebook at the smallest budget"
	@echo "make lab      open the lessons in JupyterLab"
	@echo "make bench    time the course's own code and write benchmarks/RESULTS.md"
	@echo "make claims   run every lesson afresh at the standard budget and keep outputs, times and verdicts in notebooks/"
	@echo "make redraw LESSONS=NAME  draw a lesson anew after a change of words or figures; what make claims trained is kept"
	@echo "make evidence run what the evidence bank misses and keep it in notebooks/bank; MINUTES=N ends it in time"
	@echo "make audit SEED=N  run rows of the bank again that your seed draws; ROWS=K says how many"
	@echo "make clean    remove build/ and what was unpacked (the environment in $(VENV) and the data stay)"

site: $(READY)
	@$(BIN)/python -m course pages notebooks "$(BUILD)/site"

course: $(READY)
	@$(ISOLATED) $(BIN)/python -m course run "$(BUILD)/executed" $(LESSONS); status=$$?; \
	$(BIN)/python -m course pages "$(BUILD)/executed" "$(BUILD)/site" && exit $$status

test: $(READY)
	@rm -rf "$(BUILD)/test-runs"
	@$(ISOLATED) $(ONE_CORE) TDNN_BUDGET=smoke TDNN_RUNS="$(BUILD)/test-runs" $(BIN)/python -m pytest $(TWO) $(NBVAL) notebooks tests

lab: $(READY)
	@$(BIN)/jupyter lab notebooks

bench: $(READY)
	@$(ISOLATED) $(BIN)/python -m benchmarks

claims: $(READY)
	@rm -rf "$(BUILD)/claims-runs"
	@$(ISOLATED) TDNN_BUDGET=standard TDNN_RUNS="$(BUILD)/claims-runs" $(BIN)/python -m course run notebooks $(LESSONS); status=$$?; \
	$(BIN)/python -m course readme && $(BIN)/python -m course claims && exit $$status

redraw: $(READY)
	@$(ISOLATED) $(BIN)/python -m course redraw $(LESSONS) && $(BIN)/python -m course readme && $(BIN)/python -m course claims

evidence: $(READY)
	@$(ISOLATED) $(BIN)/python -m course evidence $(LESSONS) $(if $(MINUTES),--minutes $(MINUTES))

audit: $(READY)
	@$(ISOLATED) $(BIN)/python -m course audit $(if $(SEED),--seed $(SEED)) $(if $(ROWS),--rows $(ROWS))

clean:
	rm -rf build data/unpacked .pytest_cache .ruff_cache

# The environment is built once; it is renewed when one of these files changes.
$(READY): requirements.txt pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		echo "The course needs Python 3.10 or newer. Name one: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || { echo "Making the environment in $(VENV)"; $(PYTHON) -m venv $(VENV) >/dev/null 2>&1; } || { \
		echo "Python could not make an environment in $(VENV). On Debian or Ubuntu: sudo apt install python3-venv, then run make again."; \
		rm -f $(BIN)/python; exit 1; }
	@echo "Installing what the course needs. The first time takes minutes, and about 6 GB on Linux, where pip brings the CUDA build of PyTorch."
	@echo "No GPU? Stop here with Ctrl-C; the README tells how to get the CPU build, which is far smaller. (Log: $(VENV)/install.log)"
	@$(BIN)/python -m pip install --upgrade pip > $(VENV)/install.log 2>&1 || echo "pip could not be renewed; going on with the one that is here."
	@$(BIN)/python -m pip install -c constraints.txt -r requirements.txt >> $(VENV)/install.log 2>&1 || { \
		echo "The proven versions do not fit this machine; installing the newest that do."; \
		$(BIN)/python -m pip install -r requirements.txt >> $(VENV)/install.log 2>&1; } || { \
		tail -n 5 $(VENV)/install.log; echo "The installation failed. Check the network and the disk, then run make again."; exit 1; }
	@touch $@
	@echo "The environment is ready."
