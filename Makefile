PYTHON ?= python3
# the newest release that a CPU-only build exists for; set TORCH=torch for your platform's default
TORCH ?= torch==2.13.0

.PHONY: demo check test lint format clean

demo: .venv/ready
	.venv/bin/faceinsight demo --out demo.png

# lint and the fast tests: under two minutes on two cores
check: lint
	.venv-test/bin/python -m pytest -q -m "not slow"

# everything
test: lint
	.venv-test/bin/python -m pytest -q

lint: .venv-test/ready
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .

format: .venv-test/ready
	.venv-test/bin/ruff check --fix .
	.venv-test/bin/ruff format .

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check -e '.[demo]'
	touch $@

.venv-test/ready: pyproject.toml
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/pip install -q --disable-pip-version-check '$(TORCH)'
	.venv-test/bin/pip install -q --disable-pip-version-check -e '.[test]'
	touch $@

clean:
	rm -rf .venv .venv-test build *.egg-info
