"""A figure of matplotlib's as an <svg> inside the page, whose policy allows no style attribute.

Its texts stay texts, in the page's own font. Nothing in it has an id, so a page may hold many.
"""

import io
import re
from html import escape
from typing import Any
from xml.etree import ElementTree

from crnn_jax.report.drawing import pyplot

_PIXELS = 1.6  # of the page in a point: captions are as large as the page's own small text
_KEPT = ("d", "x", "y")  # attributes
_STYLED = ("fill", "stroke", "stroke-width", "stroke-linecap", "text-anchor")
_NUMBER = re.compile(r"-?\d+\.\d+")


def inline_svg(figure: Any, spoken: str) -> str:
    """Returns the paths and texts of a figure, which has nothing else, on no ground.

    Args:
      figure: of matplotlib's; its texts are of one line and level.
      spoken: what a screen reader says of it.
    """
    buffer = io.BytesIO()
    with pyplot().rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True)
    whole = ElementTree.fromstring(buffer.getvalue())
    parts = [_part(item) for item in whole.iter() if _tag(item) in ("path", "text")]
    width = _PIXELS * float(whole.attrib["viewBox"].split()[2])
    return (
        f'<svg class="drawing" viewBox="{_short(whole.attrib["viewBox"])}" width="{width:.0f}" '
        f'role="img" aria-label="{escape(spoken)}">{"".join(parts)}</svg>'
    )


def _tag(item: ElementTree.Element) -> str:
    return item.tag.rpartition("}")[2]


def _part(item: ElementTree.Element) -> str:
    """Returns an element with its style as attributes, which the policy lets pass."""
    style = item.get("style", "")
    found = {name: _short(item.attrib[name]) for name in _KEPT if name in item.attrib}
    found |= {name: value for name, value in re.findall(r"([\w-]+): ([^;]+)", style)
              if name in _STYLED}  # fmt: skip
    if size := re.search(r"([\d.]+)px", style):  # in "font-size", or in "font" of older versions
        found["font-size"] = size[1]
    if re.search(r"\b(700|bold)\b", style):
        found["font-weight"] = "700"
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in found.items())
    return f"<{_tag(item)}{attributes}>{escape(item.text or '')}</{_tag(item)}>"


def _short(numbers: str) -> str:
    """Returns numbers with two digits behind the point, on one line."""
    rounded = _NUMBER.sub(lambda number: f"{round(float(number[0]), 2):g}", numbers)
    return re.sub(r"\s+", " ", rounded).strip()
