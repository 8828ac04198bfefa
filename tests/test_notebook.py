"""The notebook runs from its first cell to its last, and says what to do without Fashion-MNIST."""

import re

import pytest

from tests.pages import ROOT

nbformat = pytest.importorskip("nbformat")
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 5
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Run the notebook in an empty folder; return what its cells printed."""
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def execute(notebook) -> str:
        resources = {"metadata": {"path": str(tmp_path)}}
        client.NotebookClient(notebook, timeout=600, resources=resources).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        return "".join(output.get("text", "") for output in outputs)

    return execute


@pytest.mark.slow
def test_every_cell_runs(execute):
    from ancor.data.datasets.fashion_mnist import DEBIAN

    said = execute(nbformat.read(NOTEBOOK, as_version=4))
    accuracies = [float(number) for number in re.findall(r"images a class: ([\d.]+)%", said)]
    assert len(accuracies) == (4 if DEBIAN.is_dir() else 2)
    assert min(accuracies) > 30  # of ten classes
    assert "['0' '1' '2' '7']" in said


@pytest.mark.slow
def test_without_fashion_mnist_its_cells_say_what_to_do(execute):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    first = next(n for n, cell in enumerate(code) if "FASHION, DOWNLOAD = None" in cell.source)
    code[first].source = code[first].source.replace("= None, False", "= '/nowhere', False")
    notebook.cells = [*code[:2], *code[first:]]  # what these cells need of the others
    said = execute(notebook)
    assert "Fashion-MNIST is left out: no train-images-idx3-ubyte" in said
    assert "put the four IDX files there" in said
    assert "Left out: no Fashion-MNIST here" in said
