# make run      install into .venv and run the main job on data/sample
# make test     install and run the tests
# make check    formatting, lint, types, import arrows
# make soak     10,000 broken exports; stock-llm up and down five times, its services and runs killed; 50,000 requests through the gateway, one in ten of which goes wrong; new random examples
# make bench    the measurements that the documents quote, after make run, whose model some of them ask: hours
# make up       Prefect, a worker, MLflow and the gateway: stock-llm up
# make docs     write docs/cli.md from the commands' own help, docs/settings.md from the settings' docstrings
# make wheel    the wheel, and the whole line from it in an empty folder
# make pins     the newest versions into constraints.txt and requirements*.txt
# make clean    remove what the main job made (not your data, not the feedback store)
#
# make TORCH=cuda run     a PyTorch with CUDA (default: cuda where nvidia-smi finds a GPU, else cpu)
#                         and llama.cpp with CUDA or Vulkan, where nvcc or the Vulkan SDK is there
# make PYTHON=python3.12  another interpreter
# make LLAMA=ready run    a ready wheel of llama.cpp in place of compiling it (no hash is pinned for it)

BIN := .venv/bin
export TORCH PYTHON LLAMA

.PHONY: run test soak check bench up docs wheel pins clean install

run: install
	$(BIN)/stock-llm run

test: install
	$(BIN)/pytest

soak: install
	$(BIN)/pytest -s -m soak
	UP_AND_DOWN=5 $(BIN)/pytest -m server tests/services/test_up.py
	FUZZ=10000 $(BIN)/pytest --timeout 3600 tests/importers/test_fuzz.py
	$(BIN)/pytest --hypothesis-profile default -m hypothesis

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: run
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

up: install
	$(BIN)/stock-llm up

docs: install
	$(BIN)/python scripts/write_cli_docs.py
	$(BIN)/python scripts/write_settings_docs.py

wheel: install
	$(BIN)/python -m hatchling build --target wheel
	$(BIN)/pytest -m wheel

pins: install
	scripts/pin.sh

clean:
	rm -rf data/artifacts data/private/history data/private/parts data/runs mlflow/mlflow.db* mlflow/artifacts models/ollama

install:
	@scripts/install.sh
