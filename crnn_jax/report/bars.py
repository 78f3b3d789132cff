"""Charts of the page with a row for each name: stacked bars, and values with their intervals."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from crnn_jax.errors import printable
from crnn_jax.report.charts import COLOURS, WIDTH, nice_ticks, short, text_width


class Measured(NamedTuple):
    """A row of `dot_rows`.

    Attributes:
      name: any characters.
      value: measured.
      half: half of its interval; None where there is none.
      reference: what it is compared with; None where there is nothing.
    """

    name: str
    value: float
    half: float | None
    reference: float | None


def dot_rows(title: str, rows: Sequence[Measured], names: tuple[str, str], unit: str) -> str:
    """Returns a figure with a line a row: a dot with its interval, and a ring at the reference.

    Args:
      title: what the figure shows.
      rows: one or more.
      names: what the values and the references are called.
      unit: written behind a number.
    """
    known = [x for row in rows for x in (row.value, row.reference) if x is not None]
    room = max(0.08 * (max(known) - min(known)), 1e-9)
    low, high = min(known) - room, max(known) + room
    labels, ticks = [printable(row.name)[:14] for row in rows], nice_ticks(low, high)
    left, height = max(84, *(8 + text_width(label) for label in labels)), 28 * len(rows) + 34
    right = WIDTH - max(8, *(text_width(short(tick)) / 2 for tick in ticks))

    def at(value: float) -> float:
        return round(left + (value - low) / (high - low) * (right - left), 1)

    parts = []
    for tick in ticks:
        parts.append(f'<path class="grid" d="M{at(tick)} 0V{height - 30}"/>')
        parts.append(
            f'<text class="tick mid" x="{at(tick)}" y="{height - 14}">{short(tick)}</text>'
        )
    for line, row in enumerate(rows):
        y, tip = 28 * line + 14, [f"{row.name}: {names[0]} {short(row.value)}{unit}"]
        parts.append(f'<text class="tick end" x="{left - 8:.1f}" y="{y + 4}">'
                     f"{escape(labels[line])}</text>")  # fmt: skip
        if row.half is not None:
            ends = f"M{at(row.value - row.half)} {y}H{at(row.value + row.half)}"
            parts.append(f'<path class="line c0" d="{ends}"/>')
            tip[0] += f" ± {short(row.half)}"
        if row.reference is not None:
            parts.append(f'<circle class="ring c1" cx="{at(row.reference)}" cy="{y}" r="5"/>')
            tip.append(f"{names[1]} {short(row.reference)}{unit}")
        parts.append(f'<circle class="dot c0" cx="{at(row.value)}" cy="{y}" r="5"/>')
        told = escape(printable(", ".join(tip)))
        parts.append(f'<rect class="touch" x="0" y="{y - 14}" width="{WIDTH}" height="28" '
                     f'data-tip="{told}"/>')  # fmt: skip
    spoken = ", ".join(f"{row.name} {short(row.value)}{unit}" for row in rows)
    marks = ('<circle class="dot c0" cx="11" cy="6" r="5"/>',
             '<circle class="ring c1" cx="11" cy="6" r="4"/>')  # fmt: skip
    return _figure(title, height, parts, spoken, list(zip(names, marks, strict=True)))


def _figure(
    title: str, height: float, parts: list[str], spoken: str, legend: list[tuple[str, str]]
) -> str:
    entries = "".join(
        f'<li><svg class="sample" viewBox="0 0 22 12" aria-hidden="true">{mark}</svg>'
        f"{escape(printable(name))}</li>"
        for name, mark in legend
    )
    said = escape(printable(f"{title}: {spoken}"))
    return (
        f'<figure class="chart"><figcaption>{escape(printable(title))}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{said}">{"".join(parts)}</svg>'
        f'<ul class="legend">{entries}</ul></figure>'
    )


def stacked_bars(title: str, rows: Sequence[tuple[str, dict[str, float]]], unit: str) -> str:
    """Returns a figure with a bar a row, made of named parts; "" for no rows."""
    rows = [(printable(name), parts) for name, parts in rows if parts]
    if not rows:
        return ""
    names = list(dict.fromkeys(name for _, parts in rows for name in parts))
    longest = max(sum(parts.values()) for _, parts in rows) or 1.0
    height, drawn = 34 * len(rows) + 6, []
    for line, (name, parts) in enumerate(rows):
        x, y, total = 0.0, 34 * line, sum(parts.values())
        label = name if len(name) <= 40 else f"{name[:39]}…"
        drawn.append(f'<text class="tick" x="0" y="{y + 12}">{escape(label)}: '
                     f"{escape(f'{total:,.1f} {unit}')}</text>")  # fmt: skip
        for part, value in parts.items():
            wide = (WIDTH - 2) * value / longest
            tip = escape(f"{name}: {part} {value:,.1f} {unit}, {100 * value / (total or 1):.0f}%")
            colour = f"c{names.index(part) % COLOURS}"
            drawn.append(f'<rect class="bar {colour}" x="{x:.1f}" y="{y + 17}" '
                         f'width="{wide:.1f}" height="13" data-tip="{tip}"/>')  # fmt: skip
            x += wide
    marks = [
        (name, f'<rect class="bar c{index % COLOURS}" width="22" height="12"/>')
        for index, name in enumerate(names)
    ]
    spoken = "; ".join(f"{name} {sum(parts.values()):,.1f} {unit}" for name, parts in rows[:6])
    return _figure(title, height, drawn, spoken, marks)
