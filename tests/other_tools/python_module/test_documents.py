"""The notebook of the examples and the Python of the documents, executed."""

import re

import nbformat
import pytest
from conftest import GOLDEN, ROOT
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


# Names in the documents, with those in the repository that stand for them.
READERS = {
    "base_checkpoints/d20": str(GOLDEN / "head"),
    "sae_outputs": str(GOLDEN / "head/saes/topk"),
    "blocks.10.hook_resid_post": "blocks.1.hook_resid_post",
    "4232": "91",
}


@pytest.mark.parametrize(
    ("document", "blocks"), [("docs/from-python.md", 2), ("crates/python/README.md", 1)]
)
def test_the_python_of_a_document_runs(document, blocks, golden_model, capsys):
    text = (ROOT / document).read_text()
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(found) == blocks

    for block in found:
        for readers, ours in READERS.items():
            block = block.replace(readers, ours)
        exec(compile(block, document, "exec"), {"input_ids": [[3, 1, 4]]})

    assert " dog" in capsys.readouterr().out
