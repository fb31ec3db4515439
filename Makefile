# `make demo` runs the main job, `make test` the tests, `make check` the checks; each sets up what it needs.
VENV ?= .venv
PY = $(VENV)/bin/python
FIND = $(if $(PIP_FIND_LINKS),--find-links "$(PIP_FIND_LINKS)")

.PHONY: demo test test-slow test-cluster check clean

demo: $(VENV)/.ready
	$(VENV)/bin/aiflow demo

test: $(VENV)/.ready
	$(PY) -m pytest --numprocesses auto --maxprocesses 4

# What takes tens of seconds each: `make test` would be too long with it.
test-slow: $(VENV)/.ready
	$(PY) -m pytest -m slow --numprocesses auto --maxprocesses 4

# Clusters whose nodes are network namespaces, and jobs on them: minutes each, as root.
test-cluster: $(VENV)/.ready
	$(PY) -m pytest -m cluster tests/cluster

check: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	MYPYPATH=$$($(PY) .ci/tree.py) $(VENV)/bin/mypy -p aiflow
	PYTHONPATH=$$($(PY) .ci/tree.py) $(VENV)/bin/lint-imports
	$(PY) .ci/wheel.py

# uv is four times as fast as pip; without it pip does the same.
$(VENV)/.ready: pyproject.toml setup.py constraints.txt
	test -x $(PY) || python3 -m venv $(VENV)
	$(PY) -m pip install -q uv && \
	  $(VENV)/bin/uv pip install -q --python $(PY) --compile-bytecode $(FIND) -c constraints.txt -e ".[dev]" || \
	  $(PY) -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info runs
