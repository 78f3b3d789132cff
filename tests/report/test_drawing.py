"""Names and numbers as figures show them."""

import pytest

from crnn_jax.report.drawing import engineering, pyplot, shown_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat", "cat"),
        ("$a_b$ <i>", "$a_b$ <i>"),
        ("two\nlines", "two□lines"),
        ("\U0001f984 é", "□ é"),
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
