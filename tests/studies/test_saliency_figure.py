"""Names of any kind stay in their columns, and every axis says what it shows."""

import numpy as np
import pytest

from crnn_jax.studies.saliency_figure import Row, draw
from tests.names import HOSTILE


def row(name, *, true=None):
    steps = {
        "class": [name, "b", name], "probability": [0.1, 0.5, 0.9], "relevance": [0.2, 0.5, 0.3],
        "true_probability": [0.3, 0.2, 0.1], "attention": None,
    }  # fmt: skip
    facts = {"image": name, "class": name, "probability": 0.9, "steps": steps}
    if true is not None:
        facts["true"] = true
    return Row(np.zeros((8, 8, 1), np.uint8), {"gradient": np.ones((8, 8))}, facts)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sideways", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_any_kind_do_no_harm(drawn, tmp_path, name, sideways):
    for true in (None, name, f"not {name}"):
        draw(tmp_path / "a.png", [row(name, true=true)], (), sideways=sideways)
        texts, figure = drawn()
        page = figure.bbox
        facts, image, _, steps = (axis.get_window_extent() for axis in figure.axes)
        assert any(text.endswith("(90%)") for text, _ in texts)
        for text, place in texts:
            assert page.x0 <= place.x0 <= place.x1 <= page.x1, text
            assert page.y0 <= place.y0 <= place.y1 <= page.y1, text
            if place.x0 < facts.x1:
                assert place.x1 < image.x0, text
            if place.x0 > steps.x1:
                assert steps.y0 < place.y0 < place.y1 < steps.y1, text


def test_a_name_of_usual_length_is_shown_in_full(drawn, tmp_path):
    name = "German short-haired pointer"
    draw(tmp_path / "a.png", [row(name, true=f"no {name}")], (), sideways=False)
    assert {f"{name} (90%)", f"no {name}"} <= {text for text, _ in drawn()[0]}


@pytest.mark.parametrize("sideways", [False, True])
def test_every_axis_of_steps_has_its_numbers_and_names(drawn, tmp_path, sideways):
    draw(tmp_path / "a.png", [row("a"), row("b")], (), sideways=sideways)
    _, figure = drawn()
    first, last = figure.axes[3], figure.axes[7]
    numbers = ["1", "2", "3"] if sideways else ["0", "0.5", "1"]
    for axis in (first, last):
        assert [tick.get_text() for tick in axis.get_xticklabels()] == numbers
        assert axis.get_ylabel() == ("probability" if sideways else "step")
    assert last.get_xlabel() == ("step" if sideways else "probability")
