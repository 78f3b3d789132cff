"""The architecture as a part of the page: its text is text, nothing acts or is asked for."""

import json
import re
from xml.etree import ElementTree

import pytest

from crnn_jax.report.architecture import architecture_figure, architecture_svg
from crnn_jax.report.drawing import pyplot
from crnn_jax.report.page import make_page


def drawings(page):
    """The drawings of a page, of which each has to be XML that is whole."""
    found = re.findall(r'<svg class="drawing".*?</svg>', page.decode(), re.DOTALL)
    return [ElementTree.fromstring(drawing) for drawing in found]


@pytest.fixture
def page(make_workdir, tmp_path, architecture):
    workdirs = [make_workdir(tmp_path / name) for name in ("a", "b")]
    for workdir in workdirs:
        (workdir / "architecture.json").write_text(json.dumps(architecture))
        architecture_figure(architecture, workdir / "architecture.png")
    return make_page([str(path) for path in workdirs], "/nonexistent")


def test_each_run_has_a_drawing_and_no_picture_of_it(page):
    found = drawings(page)
    assert len(found) == 2
    assert page.count(b"data:image/webp") == 2  # a mistake of each run
    for drawing in found:
        spoken = drawing.attrib["aria-label"]
        assert drawing.attrib["role"] == "img"
        assert spoken.startswith("Architecture of folder_<script>")
        assert spoken.endswith("; 1.23 k parameters, 5.68 kFLOP an example")


def test_nothing_in_a_drawing_acts_or_is_asked_for(page):
    items = [item for drawing in drawings(page) for item in drawing.iter()]
    assert {item.tag for item in items} == {"svg", "path", "text"}
    names = {name for item in items for name in item.attrib}
    assert names.isdisjoint({"id", "style", "href", "src", "clip-path"})
    assert not any(name.startswith("on") for name in names)
    assert b"\xe2\x80\xae" not in page  # U+202E would turn the text behind it around
    assert b"<script>document" not in page


def test_a_drawing_says_what_the_figure_says(architecture):
    texts = [text.text for text in ElementTree.fromstring(architecture_svg(architecture))]
    joined = "".join(text or "" for text in texts)
    assert "617 parameters" in texts
    assert "h₁" in texts
    assert "h₁₀₀₀₀₀₀₀₀₀₀₀₀" in texts
    assert '<script>document.title="owned"</script>"\'&U+202E' in joined.replace("\n", "")
    assert "1.23 k parameters, 5.68 kFLOP an example" in str(texts[-1])


def test_captions_look_as_in_the_figure(architecture):
    items = list(ElementTree.fromstring(architecture_svg(architecture)))
    title = next(item for item in items if item.text == "fully connected")
    fact = next(item for item in items if item.text == "617 parameters")
    assert (title.get("font-weight"), title.get("font-size")) == ("700", "9")
    assert (fact.get("font-weight"), fact.get("font-size")) == (None, "8")
    assert (fact.get("text-anchor"), fact.get("fill")) == ("middle", "#595959")
    assert any(item.get("fill") == "#f6ce8b" for item in items)
    assert not any(item.get("fill") == "#ffffff" for item in items)  # it would hide a dark page


def test_the_same_model_is_the_same_small_text(architecture):
    stages = architecture["stages"] * 3
    text = architecture_svg({**architecture, "stages": stages})
    assert text == architecture_svg({**architecture, "stages": stages})
    assert len(text) < 40_000
    assert pyplot().get_fignums() == []


def test_a_drawing_beyond_the_limit_is_left_out(page, make_workdir, tmp_path, monkeypatch):
    size = len(re.findall(rb'<svg class="drawing".*?</svg>', page, re.DOTALL)[0].decode())
    for limit, number in ((size - 1, 0), (size, 1)):
        monkeypatch.setattr("crnn_jax.report.page._PICTURES", limit)
        workdir = make_workdir(tmp_path / str(limit))
        (workdir / "report_test" / "report.json").unlink()
        (workdir / "architecture.json").write_bytes((tmp_path / "a/architecture.json").read_bytes())
        left = make_page([str(workdir)], "/nonexistent")
        assert len(drawings(left)) == number
        assert b"<h3>Architecture</h3>" in left


@pytest.mark.parametrize("stages", [[], [{}], None])
def test_a_file_of_another_version_shows_its_picture(make_workdir, tmp_path, architecture, stages):
    workdir = make_workdir(tmp_path / "a")
    architecture_figure(architecture, workdir / "architecture.png")
    (workdir / "architecture.json").write_text(json.dumps({**architecture, "stages": stages}))
    page = make_page([str(workdir)], "/nonexistent")
    assert drawings(page) == []
    assert page.count(b'<img class="paper"') == 1
    assert pyplot().get_fignums() == []
