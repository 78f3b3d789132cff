"""What figures share: pyplot without a screen, colours that everyone can tell apart, safe names."""

import functools
import math
import pathlib
import unicodedata
from typing import Any

# Okabe and Ito 2008, "Color Universal Design", in the order in which figures take them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # beside the colours, for prints in gray
GRAY = "#595959"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LONGEST = 160  # characters of a name


def pyplot() -> Any:
    """Returns matplotlib's pyplot; `$` in a text is a dollar sign."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["text.parse_math"] = False
    plt.rcParams["svg.hashsalt"] = "crnn_jax"  # the same figure is the same file
    return plt


def save(figure: Any, path: pathlib.Path, dpi: int = 160) -> None:
    """Writes the figure as what the path's name says, .png or .svg, and nothing of the time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, dpi=dpi, metadata=metadata)


def shown_name(name: str, length: int = 24) -> str:
    """Returns a name of a user's (a class, a file) as a figure can show it, on one line.

    Too long a name keeps both of its ends. A character that the figures' font lacks is written as
    its code point (U+1F984), so that two names of such characters stay two names.
    """
    text = "".join(map(_drawable, unicodedata.normalize("NFC", name)))
    if len(text) > length:
        tail = (length - 1) // 3
        text = f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"
    # A legend leaves out what begins with "_"; a hair space before it cannot be seen.
    return f"\u200a{text}" if text.startswith("_") else text


def fitted_name(name: str, room: float, size: float, tail: str = "") -> str:
    """Returns a name as `shown_name` does, as much of it as there is room for, then the tail.

    Args:
      name: a user's text.
      room: points.
      size: the font's, points.
      tail: what follows the name and is kept in full, such as " (90%)".
    """
    length = len(shown_name(name, _LONGEST))
    while length > 1 and text_width(shown_name(name, length) + tail, size) > room:
        length -= 1
    return shown_name(name, length) + tail


def text_width(text: str, size: float) -> float:
    """Returns the width of one line of text in points, at most; `size` is that of its font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    width, _, _ = TextToPath().get_text_width_height_descent(text, FontProperties(size=size), False)
    return 1.04 * width  # drawn small, letters are set to whole pixels and become wider


def _drawable(character: str) -> str:
    if character.isspace():
        return " "
    if unicodedata.category(character)[0] != "C" and ord(character) in _characters():
        return character
    return f"U+{ord(character):04X}"


@functools.cache
def _characters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def label_decades(axis: Any) -> None:
    """Writes the ticks of a logarithmic axis as powers of ten; matplotlib would as mathematics."""
    from matplotlib import ticker

    def text(value: float, place: int | None) -> str:
        del place
        return "10" + f"{math.log10(value):.0f}".translate(_RAISED)

    axis.set_major_locator(ticker.LogLocator())
    axis.set_major_formatter(text)
    axis.set_minor_formatter(ticker.NullFormatter())


def engineering(value: float) -> str:
    """Returns three digits and a prefix: "1.23 M" of 1,230,000; below a thousand all digits."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            scaled = value / size
            digits = max(0, 2 - (scaled >= 9.995) - (scaled >= 99.95))
            return f"{scaled:.{digits}f} {prefix}"
    return f"{value:.0f} "
