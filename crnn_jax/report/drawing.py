"""What figures share: pyplot without a screen, colours that everyone can tell apart, safe names."""

import functools
import pathlib
import unicodedata
from typing import Any

# Okabe and Ito 2008, "Color Universal Design", in the order in which figures take them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # beside the colours, for prints in gray
GRAY = "#595959"


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

    Too long a name keeps both of its ends; what is no visible character, or is not in the figures'
    font, becomes a box.
    """
    text = "".join(c if _is_drawable(c) else "□" for c in unicodedata.normalize("NFC", name))
    if len(text) > length:
        tail = (length - 1) // 3
        text = f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"
    # A legend leaves out what begins with "_"; a hair space before it cannot be seen.
    return f"\u200a{text}" if text.startswith("_") else text


def _is_drawable(character: str) -> bool:
    return unicodedata.category(character)[0] != "C" and ord(character) in _characters()


@functools.cache
def _characters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def engineering(value: float) -> str:
    """Returns three digits and a prefix: "1.23 M" of 1,230,000; below a thousand all digits."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            scaled = value / size
            digits = max(0, 2 - (scaled >= 9.995) - (scaled >= 99.95))
            return f"{scaled:.{digits}f} {prefix}"
    return f"{value:.0f} "
