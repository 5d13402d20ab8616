"""The notebook of the examples, executed."""

import nbformat
from conftest import ROOT
from nbclient import NotebookClient

NOTEBOOK = ROOT / "examples" / "from_python.ipynb"


def test_the_notebook_runs_and_draws_heat_maps():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    stored = [cell for cell in notebook.cells if cell.get("outputs")]
    assert not stored, "outputs are made when it is executed"

    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert all(output.output_type != "error" for output in outputs)
    html = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert sum("<svg" in shown for shown in html) >= 2
    assert any("<table" in shown for shown in html)
