"""The page of runs: what stands on it, that nothing of it acts, and that it asks for nothing."""

import base64
import hashlib
import html.parser
import json
import pathlib
import re
import time

import numpy as np
import pytest
from PIL import Image

from crnn_jax.errors import UserError
from crnn_jax.report.__main__ import main
from crnn_jax.report.page import config_differences, long_columns, make_page, state_of, wilson
from crnn_jax.report.run_files import changed_at, read_runs, short_names

RESULTS = pathlib.Path(__file__).parents[2] / "results"


class Page(html.parser.HTMLParser):
    """The elements of a page, and what it says."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def text(self):
        return "\n".join(self.texts)


def page_of(*workdirs, results="/nonexistent", **more):
    return make_page([str(path) for path in workdirs], str(results), **more)


@pytest.fixture
def page(make_workdir, tmp_path, architecture):
    workdirs = make_workdir(tmp_path / "a"), make_workdir(tmp_path / "b", width=8, extra=1)
    for workdir in workdirs:
        (workdir / "architecture.json").write_text(json.dumps(architecture))
    return page_of(*workdirs)


def test_the_page_says_how_a_result_was_made(page):
    text = Page(page).text
    for expected in (
        "75.00%", "9 of 12", "python -m crnn_jax.main -x", "abc", "CPU: test", "f00d", "1,234",
        "validation part 0.1", "finished: 20 steps, 2 epochs", "could not be read: 1.",
        "No temperature: no validation part",
    ):  # fmt: skip
        assert expected in text, expected


def test_names_are_text_and_nothing_else(page):
    parsed = Page(page)
    assert len(parsed.all("script")) == 1
    assert '<script>document.title="owned"</script>' in parsed.text
    assert "\u202e" not in page.decode()  # it would turn the text behind it around
    handlers = [
        name for _, attributes in parsed.elements for name in attributes if name[:2] == "on"
    ]
    assert handlers == []


def test_what_the_script_tells_has_no_control_characters(make_workdir, tmp_path):
    parsed = Page(page_of(make_workdir(tmp_path / "a\u202eb"), make_workdir(tmp_path / "c")))
    lines = [json.loads(svg["data-lines"]) for svg in parsed.all("svg") if "data-lines" in svg]
    heat = [json.loads(svg["data-heat"]) for svg in parsed.all("svg") if "data-heat" in svg]
    told = [series["name"] for chart in lines for series in chart["series"]]
    told += [name for chart in heat for name in chart["rows"] + chart["columns"]]
    assert "a\\u202eb train" in told
    assert [name for name in told if not name.isprintable()] == []


def test_the_page_asks_for_nothing(page):
    parsed, text = Page(page), page.decode()
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "action", "data"):
            if name in attributes and tag != "li":
                assert re.match(r"(data:|#)", attributes[name]), (tag, attributes[name])
    assert "@import" not in text
    assert "url(" not in text
    text = re.sub(r"^ *// .*$", "", text, flags=re.MULTILINE)  # comments of the script
    assert "//" not in re.sub(r"data:image/webp;base64,[\w+/=]*", "", text)


def test_the_policy_allows_this_script_alone(page):
    parsed = Page(page)
    (policy,) = [m["content"] for m in parsed.all("meta") if "http-equiv" in m]
    script = re.search(r"<script>(.*?)</script>\n</body>", page.decode(), re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    assert all("style" not in attributes for _, attributes in parsed.elements)


def test_a_chart_carries_its_values(page):
    charts = [json.loads(svg["data-lines"]) for svg in Page(page).all("svg") if "data-lines" in svg]
    loss = charts[0]
    assert loss["x"] == "epoch"
    named = {series["name"]: series["points"] for series in loss["series"]}
    assert named["a train"] == [[0.5, 2.0], [1.0, 1.0]]
    assert named["b validation"] == [[1.0, 1.25]]


def test_a_picture_is_never_read_from_outside_its_report(page):
    pictures = [image["src"] for image in Page(page).all("img")]
    assert len(pictures) == 2  # examples/3.png of each run, not the path that report.json has
    assert all(src.startswith("data:image/webp;base64,") for src in pictures)


def test_masks_have_a_legend_of_their_colours(make_workdir, tmp_path):
    workdir = make_workdir(tmp_path / "a")
    assert not [mark for mark in Page(page_of(workdir)).all("rect") if mark.get("fill")]
    path = workdir / "report_test" / "report.json"
    facts = json.loads(path.read_text())
    facts["legend"] = [{"name": "<b>road", "rgb": [1, 2, 3]}, {"name": "tree", "rgb": [255, 0, 9]}]
    path.write_text(json.dumps(facts))
    parsed = Page(page_of(workdir))
    colours = [mark["fill"] for mark in parsed.all("rect") if mark.get("fill")]
    assert colours == ["rgb(1 2 3)", "rgb(255 0 9)"]
    assert "<b>road" in parsed.text


def test_configs_side_by_side(make_workdir, tmp_path):
    runs = read_runs(
        [str(make_workdir(tmp_path / "a")), str(make_workdir(tmp_path / "b", width=8, extra=1))]
    )
    assert config_differences(runs) == [("model.extra", ["-", "1"]), ("model.width", ["4", "8"])]
    assert config_differences(runs[:1]) == []


def test_a_header_has_the_class_of_its_column(make_workdir, tmp_path):
    assert long_columns([["on", "n"], ["a", 1], ["a" * 29, "b" * 28]]) == [True, False]
    assert long_columns([["on"], ["a", "b" * 29]]) == [False, True]
    (tmp_path / "results").mkdir()
    content = (RESULTS / "table1_cifar10_cpu.json").read_text()
    (tmp_path / "results" / "table1.json").write_text(content)
    text = page_of(make_workdir(tmp_path / "a"), results=tmp_path / "results").decode()
    assert '<th scope="col" class="long">on</th>' in text
    assert '<th scope="col">epochs</th>' in text


def test_a_run_that_is_still_training(make_workdir, tmp_path):
    workdir = make_workdir(tmp_path / "a", finished=False)
    (run,) = read_runs([str(workdir)])
    assert state_of(run) == "no result yet: at step 10, epoch 1 of 2 epochs"
    text = Page(page_of(workdir)).text
    assert "no result yet" in text
    assert "evaluate --report" in text


def test_an_older_run_has_a_page_too(make_workdir, tmp_path):
    workdir = make_workdir(tmp_path / "a")
    (workdir / "starts.jsonl").unlink()
    data = json.loads((workdir / "dataset.json").read_text())
    del data["splits"]
    (workdir / "dataset.json").write_text(json.dumps(data))
    assert "not stored: the run is of an older version" in Page(page_of(workdir)).text


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("config.json", None, "expected a run with"),
        ("result.json", "{", "cannot be read as JSON"),
        ("report_test/report.json", '{"split": "test"}', "expects a report of this version"),
        ("report_test/examples/3.png", "no picture", "cannot be read as a picture"),
    ],
)
def test_a_damaged_file_is_one_line(make_workdir, tmp_path, capsys, file, content, expected):
    workdir = make_workdir(tmp_path / "a")
    if content is None:
        (workdir / file).unlink()
    else:
        (workdir / file).write_text(content)
    with pytest.raises(SystemExit) as raised:
        main([f"--workdir={workdir}", f"--out={tmp_path / 'page.html'}"])
    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert expected in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written_is_one_line(make_workdir, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([f"--workdir={make_workdir(tmp_path / 'a')}", f"--out={tmp_path}/no/page.html"])
    assert "--out expects a file that can be written" in capsys.readouterr().err


def test_twenty_runs_are_a_small_page_soon(make_workdir, tmp_path, architecture):
    noise = np.random.default_rng(0).integers(0, 256, (280, 380, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    workdirs = []
    for number in range(20):
        workdir = make_workdir(tmp_path / f"run_{number}", width=number)
        metrics = [{"step": s, "train/loss": 1 / s, "train/accuracy": 0.1} for s in range(1, 2000)]
        (workdir / "metrics.jsonl").write_text("".join(f"{json.dumps(m)}\n" for m in metrics))
        for study in ("saliency", "anytime", "robustness"):
            (workdir / f"{study}.png").symlink_to(tmp_path / "noise.png")
            (workdir / f"{study}.json").write_text(json.dumps({"study": study, "command": ""}))
        (workdir / "architecture.json").write_text(json.dumps(architecture))
        workdirs.append(workdir)
    started = time.process_time()  # of this process: others may keep the cores busy
    page = page_of(*workdirs)
    assert time.process_time() - started < 20
    assert page.count(b'<svg class="drawing"') == 20
    assert 2e6 < len(page) < 3e6  # of 5: one picture in three has room


def test_short_names_tell_runs_apart(tmp_path):
    paths = [tmp_path / "x" / "seed_0", tmp_path / "y" / "seed_0", tmp_path / "y" / "seed_1"]
    assert short_names(paths) == ["x/seed_0", "y/seed_0", "y/seed_1"]
    assert short_names(paths[1:]) == ["seed_0", "seed_1"]


def test_wilson_s_interval():
    assert wilson(9312, 10000) == (
        pytest.approx(0.92607, abs=1e-5),
        pytest.approx(0.93599, abs=1e-5),
    )
    assert wilson(12, 12)[1] == 1.0
    assert wilson(12, 12)[0] == pytest.approx(0.7575, abs=1e-4)


def test_the_page_is_made_anew_when_a_run_has_written_more(make_workdir, tmp_path):
    import os

    workdir = make_workdir(tmp_path / "a")
    before = changed_at([str(workdir)])
    os.utime(workdir / "metrics.jsonl", (before + 5, before + 5))
    assert changed_at([str(workdir)]) == before + 5
    os.utime(workdir / "report_test" / "report.json", (before + 9, before + 9))
    assert changed_at([str(workdir)]) == before + 9
    os.utime(workdir / "result.json", (before + 12, before + 12))
    assert changed_at([str(workdir)]) == before + 12


def test_without_jinja2_it_says_what_to_install(make_workdir, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[report\]"'):
        page_of(make_workdir(tmp_path / "a"))
