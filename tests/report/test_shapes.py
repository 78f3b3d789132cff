"""A record of another shape is named in one line; it never ends a report in a traceback."""

import copy
import json
import math
import shutil

import pytest

from crnn_jax.errors import UserError
from crnn_jax.report import shapes
from crnn_jax.report.page import make_page
from tests.report.conftest import lines


def places(value, path=()):
    """Yields the path of each value in nested objects and lists."""
    yield path
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from places(inner, (*path, key))


def changed(value, path, new):
    """Returns the value with `new` at the path; without what is there where `new` is Ellipsis."""
    if not path:
        return new
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    if new is ...:
        del inner[path[-1]]
    return value


@pytest.mark.parametrize(
    ("file", "refused"),
    [("config.json", 7), ("dataset.json", 10), ("result.json", 55), ("starts.jsonl", 0)],
)
def test_any_change_of_a_record_is_shown_or_one_line(make_workdir, tmp_path, file, refused):
    path = make_workdir(tmp_path / "a") / file
    shutil.rmtree(path.parent / "report_test")  # it takes long, and has a check of its own
    text = path.read_text()
    value = json.loads(text)
    messages = []
    for place in list(places(value)):
        for new in (None, [], "x", -1, ...) if place else (None, [], "x", 5, {}):
            made = changed(value, place, new)
            path.write_text(lines([made]) if file.endswith("l") else json.dumps(made))
            try:
                make_page([str(path.parent)], "none")
            except UserError as error:
                messages.append(str(error))
    assert len(messages) == refused
    assert all(str(path) in message for message in messages)


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ({"loss": 0.5, "accuracy": 0.75, "num_correct": 9, "num_examples": 12}, True),
        ({"loss": 0.5, "mean_iou": 0.75}, True),
        ({"loss": 0.5}, False),
        ({"loss": 0.5, "num_correct": 9, "num_examples": 12}, False),
        ({"accuracy": math.nan}, False),
        ({"accuracy": "0.75"}, False),
        ({"accuracy": 0.75, "num_correct": 9}, False),
        ({"accuracy": 0.75, "num_correct": 9, "num_examples": 8}, False),
        ({"accuracy": 0.75, "num_correct": 0, "num_examples": 0}, False),
        (None, False),
    ],
)
def test_a_split_s_score_is_a_number_with_counts_that_fit(value, good):
    assert shapes.is_summary(value) == good


def test_the_message_names_what_it_is(tmp_path):
    facts = {"steps": 5, "mfu": ["x" * 99]}
    expected = r"a' expects 'mfu' to be a number or null, found \['x{38}\.\.\.: bring back a copy"
    with pytest.raises(UserError, match=expected):
        shapes.check(tmp_path / "a", facts, shapes.RESULT)
    with pytest.raises(UserError, match="expects 'epochs', found none"):
        shapes.check(tmp_path / "a", facts, {}, ("steps", "epochs"))
    assert shapes.check(tmp_path / "a", {"mfu": None}, shapes.RESULT) == {"mfu": None}
