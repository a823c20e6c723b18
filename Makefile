# What can be done with Pointsman; `make help` shows it. Needs nothing but what deploy/check-machine checks.

PYTHON ?= python3
SOAK_SECONDS ?= 300
VENV := .venv
BIN := $(VENV)/bin
FOLDERS := src/edge src/control/clicks src/control/moves
COMPILED := $(foreach folder,$(FOLDERS) src/wire,$(wildcard $(folder)/*.pyx $(folder)/*.pxd $(folder)/*.h)) setup.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test fuzz lint build bench bench-short soak annotate clean

help: ## show what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/built ## run everything on this machine; Ctrl-C stops it
# The leash ends the launcher, and with it the stack, when this make is killed.
	@exec $(BIN)/python -I -S src/control/dev/leash.py --parent=$$PPID --signal=15 -- $(BIN)/pointsman dev

test: $(VENV)/built ## run all tests against real servers
	@$(BIN)/python -m pytest -n 2 --dist loadfile

fuzz: $(VENV)/built ## search for inputs that upset the HTTP parser, FUZZ_SECONDS long (600); needs clang
	@$(BIN)/python -m tests.edge.fuzz

lint: $(VENV)/built ## check the style and the types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

build: $(VENV)/built ## make the sdist and the wheel in dist/
	@$(BIN)/python -m build --no-isolation

bench: $(VENV)/built ## measure (about three hours, an idle machine) and write benchmarks/README.md
	@$(BIN)/python -m benchmarks.micro
	@$(BIN)/python -m benchmarks.macro
	@$(BIN)/python -m benchmarks.idle
	@$(BIN)/python -m benchmarks.attack
	@$(BIN)/python -m benchmarks.soak
	@$(BIN)/python -m benchmarks.scale
	@$(BIN)/python -m benchmarks.eviction
	@$(BIN)/python -m benchmarks.clicks
	@$(BIN)/python -m benchmarks.moves
	@$(BIN)/python -m benchmarks.reshard
	@$(BIN)/python -m benchmarks.reshard --faults
	@$(BIN)/python -m benchmarks.freshness
	@$(BIN)/python -m benchmarks.render

bench-short: $(VENV)/built ## a short run of the benchmarks, to see that they work and hold their ratios
	@$(BIN)/python -m benchmarks.micro --short
	@$(BIN)/python -m benchmarks.macro --short
	@$(BIN)/python -m benchmarks.idle --short
	@$(BIN)/python -m benchmarks.attack --short
	@$(BIN)/python -m benchmarks.soak --short
	@$(BIN)/python -m benchmarks.scale --short
	@$(BIN)/python -m benchmarks.eviction --short
	@$(BIN)/python -m benchmarks.clicks --short
	@$(BIN)/python -m benchmarks.moves --short
	@$(BIN)/python -m benchmarks.reshard --short
	@$(BIN)/python -m benchmarks.freshness --short

soak: $(VENV)/built ## load the edge fully for SOAK_SECONDS (300), and see that its memory stays flat
	@$(BIN)/python -m benchmarks.soak --seconds $(SOAK_SECONDS)

annotate: $(VENV)/built ## show in build/annotate/*.html which compiled lines still call Python
	@mkdir -p build/annotate
	@for file in $(wildcard $(FOLDERS:=/*.pyx)); do \
		$(BIN)/cython -3 --annotate -I src "$$file" -o "build/annotate/$$(basename "$$file" .pyx).c" || exit 1; \
	done
	@ls build/annotate/*.html

clean: ## remove what was built and installed; the data in .pointsman stay
	@rm -rf $(VENV) build dist src/*.egg-info $(FOLDERS:=/*.so) $(FOLDERS:=/*.c)
	@find src tests benchmarks -name __pycache__ -type d -exec rm -rf {} +

# The environment, with the versions in constraints.txt. Made anew when what is installed changes.
$(VENV)/installed: constraints.txt pyproject.toml deploy/check-machine
	@deploy/check-machine $(PYTHON)
	@echo "installing the dependencies and compiling (a minute or two)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt cython setuptools
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev,test]'
	@touch $@

# The compiled modules, in place. Made anew when a source of theirs changes.
$(VENV)/built: $(VENV)/installed $(COMPILED)
	@$(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@
