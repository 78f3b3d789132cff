"""Pictures and tables are made of the files again, and the files stay."""

import json
import pathlib
import shutil

import pytest

from crnn_jax.studies import redraw

RESULTS = pathlib.Path(__file__).parent.parent.parent / "results"


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("anytime_digits_crnn.json", {".md", ".png"}),
        ("scaling/digits_crnn_weak.json", {".png"}),
    ],
)
def test_what_is_made_beside_a_file(tmp_path, name, made):
    path = pathlib.Path(shutil.copy(RESULTS / name, tmp_path))
    redraw.main([str(path)])
    assert path.read_bytes() == (RESULTS / name).read_bytes()
    assert {other.suffix for other in tmp_path.iterdir()} == {".json", *made}
    if ".md" in made:
        kept = (RESULTS / name).with_suffix(".md").read_text()
        assert path.with_suffix(".md").read_text() == kept


OTHERS = (
    [],
    {"study": "none"},
    {"study": ["ablation"]},
    {"study": "saliency"},
    {"study": "ablation", "command": "", "rows": 5},
    {"study": "ablation", "command": "a", "rows": 5},
    {"mode": 1, "points": 2, "one_device": 3},
)


@pytest.mark.parametrize("content", ["{", None, *map(json.dumps, OTHERS)])
def test_what_is_no_study_s_is_one_line(tmp_path, capsys, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit) as stop:
        redraw.main([str(path)])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected a study's JSON file, found" in line
