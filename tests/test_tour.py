"""The tour in docs/tour.ipynb runs, cell after cell."""

import json
import pathlib

import matplotlib as mpl
import pytest

pytestmark = pytest.mark.long

TOUR = pathlib.Path(__file__).parent.parent / "docs" / "tour.ipynb"


def test_every_cell_runs(tmp_path, monkeypatch):
    cells = [c for c in json.loads(TOUR.read_text())["cells"] if c["cell_type"] == "code"]
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    for number, cell in enumerate(cells):
        source = "".join(cell["source"]).replace("plt.show()", "plt.close()")
        exec(compile(source, f"{TOUR.name}, cell {number}", "exec"), found)
    assert (tmp_path / "runs" / "tour" / "model.safetensors").exists()
    assert found["small"].evaluate("test")["accuracy"] > 0.5


def test_the_list_of_models_is_as_shown():
    import crnn_jax

    cells = [c for c in json.loads(TOUR.read_text())["cells"] if c["cell_type"] == "code"]
    (cell,) = [c for c in cells if "".join(c["source"]).endswith("list_models()")]
    assert "".join(cell["outputs"][0]["data"]["text/plain"]) == repr(crnn_jax.list_models())
