# Everything runs in .venv, which 'make setup' creates; 'make demo' and 'make test' set it up by themselves.

PYTHON ?= python3
DATA ?=
VENV := .venv
RUN := $(VENV)/bin
PLUGINS := $(wildcard plugins/*)
# Their programs are in no package: each is checked by the name by which it is run.
PROGRAMS := $(wildcard plugins/*/benchmarks/*.py plugins/*/benchmarks/*/*.py plugins/*/testing/*.py)
# Named by packages, and needed by none of what is used of them: a second OpenCV, and what evo draws and stores with.
UNUSED := opencv-python natsort numexpr seaborn

# A sourced ROS 2 installation must not mix with the packages in .venv.
unexport PYTHONPATH PYTHONHOME LD_LIBRARY_PATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH
unexport ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION RMW_IMPLEMENTATION _ROS_WHEELS_BOOTSTRAP_COMPLETE
# Without its caches Python compiles torch in every process again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz soak lint config docs site policy lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Create .venv and build the ROS 2 interfaces; does nothing when both are up to date
	@$(PYTHON) tools/setup_environment.py

demo: setup ## Map a place, localize a camera in it, write a report; real frames with DATA=<folder>
	@$(RUN)/visloc demo $(if $(DATA),--data "$(DATA)")

# One process more than there are processors: tests of nodes wait for each other.
test: setup ## Run all tests, the lint checks included
	@$(RUN)/pytest --numprocesses $$(( $$(nproc) + 1 )) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

fuzz: setup ## Search for hours for inputs that break the package; EXAMPLES=<number> for each search
	@FUZZ_EXAMPLES=$(or $(EXAMPLES),20000) $(RUN)/pytest --timeout 0 \
		test/hostile test/core/test_map_history.py $(wildcard plugins/*/test/test_hostile_*.py plugins/*/test/*_history.py)

soak: setup ## Run all nodes for an hour, and report deaths and growing memory; DURATION=<seconds>
	@$(RUN)/python -m benchmarks.soak --seconds $(or $(DURATION),3600) --plot out/soak.png

lint: setup ## Check style, types and spelling
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy visloc_ros benchmarks testing $(PLUGINS)
	$(if $(PROGRAMS),MYPYPATH=$$(echo $(PLUGINS) | tr ' ' :) $(RUN)/mypy $(addprefix -m ,$(subst /,.,$(PROGRAMS:.py=))))
	$(RUN)/codespell
	$(RUN)/hadolint containers/*.Dockerfile

config: setup ## Write config/<node>.yaml from the options in the code
	@$(RUN)/python -m visloc_ros.nodes.default_parameters config

docs: setup ## Write docs/ros_interface.md from the nodes
	@$(RUN)/python -m visloc_ros.nodes.interface docs/ros_interface.md

site: setup ## Write the documentation as a site, site/index.html; which loads nothing from other hosts
	@NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --strict

policy: setup ## Write security/visloc.policy.xml, the rights of the nodes (SROS 2), from the nodes
	@$(RUN)/python -m visloc_ros.nodes.security_policy security/visloc.policy.xml --without-plugins

lock: setup ## Resolve the requirements into requirements.lock; UPGRADE=1 moves all pins to the newest versions
	$(RUN)/uv pip compile --universal --python-version 3.10 --generate-hashes $(addprefix --no-emit-package ,$(UNUSED)) \
	  --custom-compile-command "make lock" \
	  $(if $(UPGRADE),--upgrade) --quiet requirements.in $(wildcard plugins/*/requirements.in) --output-file requirements.lock

clean: ## Remove .venv, build outputs and caches
	rm -rf $(VENV) build install log site .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
