"""Names and numbers as figures show them."""

import pytest

from crnn_jax.report.drawing import (
    engineering,
    fitted_name,
    label_decades,
    pyplot,
    shown_name,
    text_width,
)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat", "cat"),
        ("$a_b$ <i>", "$a_b$ <i>"),
        ("two\nlines", "two lines"),
        ("\U0001f984 é", "U+1F984 é"),
        ("e\u0301", "é"),  # one name in both Unicode forms
        ("_private", "\u200a_private"),
        ("a" * 30 + "end", "a" * 16 + "…" + "aaaaend"),
    ],
)
def test_names(name, shown):
    assert shown_name(name) == shown


def test_a_dollar_is_a_dollar():
    plt = pyplot()
    figure = plt.figure()
    as_it_is = figure.text(0, 0, "$a$").get_window_extent().width
    dollars = figure.text(0, 0, "$$").get_window_extent().width
    letter = figure.text(0, 0, "a").get_window_extent().width
    plt.close(figure)
    assert as_it_is > max(dollars, letter)  # as mathematics it would be the letter alone


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7 "), (999, "999 "), (999.6, "1.00 k"), (26012, "26.0 k"), (123456, "123 k"),
     (1.234e9, "1.23 G")],
)  # fmt: skip
def test_engineering(value, text):
    assert engineering(value) == text


@pytest.mark.parametrize("name", ["cat", "W" * 60, "long " * 12, "\U0001f984" * 9, "_" * 40, ""])
@pytest.mark.parametrize(("room", "size"), [(60, 7), (90, 8.5)])
def test_a_fitted_name_is_no_wider_than_its_room(name, room, size):
    plt = pyplot()
    figure = plt.figure(dpi=100)
    text = fitted_name(name, room, size, " (90%)")
    drawn = figure.text(0, 0, text, fontsize=size)
    assert text.endswith(" (90%)")
    assert drawn.get_window_extent().width <= 100 / 72 * room
    assert text_width(text, size) >= 0.8 * room or text == f"{shown_name(name, 80)} (90%)"
    plt.close(figure)


def test_decades_are_written_without_mathematics():
    plt = pyplot()
    figure, axis = plt.subplots()
    axis.set(yscale="log", ylim=(0.05, 2e11))
    label_decades(axis.yaxis)
    shown = {text.get_text() for text in axis.get_yticklabels()}
    plt.close(figure)
    assert {"10⁻¹", "10⁹"} <= shown
