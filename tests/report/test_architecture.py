"""The page is as high as what is written on it, and no text touches another."""

import itertools

import pytest

from crnn_jax.report.architecture import architecture_figure

HOSTILE = ("configs/a.py:b", "$_<\U0001f984", "long " * 60)


def stage(kind, title, output, notes=(), steps=None):
    return {"kind": kind, "title": title, "notes": list(notes), "output": output, "steps": steps,
            "parameters": 1234, "flops": 5678}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("config", HOSTILE)
@pytest.mark.parametrize("num_notes", [0, 3, 9])
def test_no_text_touches_another(drawn, tmp_path, config, num_notes):
    notes = [f"note {number} of the block" for number in range(num_notes)]
    stages = [
        stage("input", "input", [32, 32, 3]),
        stage("block", "4 × block", [8, 8, 64], notes, 8),
        stage("recurrence", "GRU 1024", [8, 64], notes, 8),
        stage("head", "fully connected", [10]),
    ]
    content = {"config": config, "parameters": 1, "flops": 2, "stages": stages}
    architecture_figure(content, tmp_path / "a.png")
    texts, figure = drawn()
    page = figure.bbox
    for text, place in texts:
        assert page.x0 <= place.x0 <= place.x1 <= page.x1, text
        assert page.y0 <= place.y0 <= place.y1 <= page.y1, text
    for (one, place), (other, there) in itertools.combinations(texts, 2):
        apart = place.x1 < there.x0 or there.x1 < place.x0
        # Letters of a caption's lines reach a little into the space between lines.
        assert apart or place.y0 > there.y1 - 4 or there.y0 > place.y1 - 4, (one, other)
    assert texts[-1][1].y0 < 40  # the page ends below its last line
