# make demo: train, evaluate and look at the result. make test: run the tests. make docs: the site.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= runs/demo

.PHONY: setup demo test test-slow docs torture lint clean

setup: $(VENV)/ready

$(VENV)/ready: requirements.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e '.[html,export,completion,timm,app,test]'
	-npm install --silent --no-save axe-core@4  # of the tests that look at pages in a browser
	touch $@

demo: setup
	$(BIN)/python train.py --dataset digits --mode coarse --output-dir $(DEMO) --overwrite
	$(BIN)/python eval.py --model_path $(DEMO)/model_best.pth.tar --partition test --untrained \
		--json $(DEMO)/test.json
	$(BIN)/python tsne.py --model_path $(DEMO)/model_best.pth.tar --partition test
	@echo "The trained model, its scores (test.json), both t-SNE pictures and the logs are in $(DEMO):"
	@ls $(DEMO)

test: setup
	$(BIN)/python -m pytest -n auto -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -n auto -m slow

$(VENV)/ready-docs: $(VENV)/ready
	$(BIN)/pip install -q -e '.[docs]'
	touch $@

# Into build/site. The variable leaves out what Material for MkDocs says of its own future.
docs: $(VENV)/ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q
	@echo "The pages are in build/site; index.html is the first."

# Everything that hurts, at full length: about an hour and a half on two cores.
torture: setup
	ANCOR_TORTURE=1 $(BIN)/python -m pytest -n auto -rP tests/robustness

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) build node_modules *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
