# Everything that CI runs.
check: lint types layers docs-check test

lint:
    ruff check .
    ruff format --check .

types:
    mypy

layers:
    lint-imports

test:
    pytest

docs:
    python scripts/make_cli_docs.py

docs-check:
    python scripts/make_cli_docs.py --check

fix:
    ruff check --fix .
    ruff format .
