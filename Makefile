# Two commands set everything up on a fresh machine with Python 3.11 or newer: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO ?= demo

.PHONY: install demo test check format bench docs constraints clean web web-check

install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install -c constraints.txt -e ".[local,tensorflow,hosted,langchain,telemetry,examples,dev]"
	touch $(READY)

demo: $(READY)
	$(BIN)/ragtune run --project $(DEMO) --documents examples/documents --questions examples/questions \
		--set train.max_answers=200 --set evaluate.max_questions=90 --set evaluate.control_questions=30

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python examples/check_questions.py
	$(BIN)/python docs/make_reference.py --check
	@test -z "$$(git ls-files -co --exclude-standard 'tests/*.py' | sed 's|.*/||' | grep '^test_' | sort | uniq -d)" \
		|| { echo "two files of tests have one name, which pytest refuses to collect: rename one"; exit 1; }

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[bench]"
	$(BIN)/python benchmarks/run.py

docs: $(READY)
	$(BIN)/python docs/make_reference.py

web/node_modules/.ready: web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	touch $@

# The pages that `ragtune serve` shows: built from web/ into the package, and committed.
web: web/node_modules/.ready
	cd web && npm run build

web-check: web
	@git diff --exit-code --stat -- src/ragtune/serve/web && test -z "$$(git status --porcelain -- src/ragtune/serve/web)" \
		|| { echo "src/ragtune/serve/web is not what web/ builds: run 'make web' and commit it"; exit 1; }

constraints:
	echo torch==2.13.0 | uv pip compile - pyproject.toml --universal --python-version 3.11 --no-header --no-annotate --all-extras -o constraints.txt

clean:
	rm -rf $(VENV) $(DEMO) .mypy_cache .ruff_cache .pytest_cache
