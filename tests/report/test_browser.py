"""The page in a browser: script, widths, names. Needs Chromium; axe looks too, with $AXE_CORE.

A frame in a page of our own holds the page, since Chromium's own window may be no phone's. What is
found there is written as JSON into the outer page, which Chromium prints.
"""

import html
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from crnn_jax.report.page import make_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = os.environ.get("AXE_CORE", "")  # the path of axe.min.js, of npm's package axe-core
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here"),
]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--virtual-time-budget=20000 --dump-dom"
).split()

PRINTED = 718  # pixels of a line on A4 with margins of 10 mm
PROBE = """
const found = { errors: [], violations: [], serious: [] };
const frame = document.querySelector("iframe");
frame.addEventListener("load", async () => {
  const inner = frame.contentWindow, page = frame.contentDocument;
  page.addEventListener("securitypolicyviolation", (e) => found.violations.push(e.blockedURI));
  inner.addEventListener("error", (event) => found.errors.push(String(event.message)));
  const tip = page.getElementById("tip");
  function told(svg, x, y) {
    svg.scrollIntoView();
    const box = svg.getBoundingClientRect();
    svg.dispatchEvent(new inner.PointerEvent("pointermove", {
      bubbles: true, clientX: box.left + x * box.width, clientY: box.top + y * box.height,
    }));
    return tip.hidden ? null : tip.textContent;
  }
  found.title = page.title;
  found.width = [page.documentElement.scrollWidth, page.documentElement.clientWidth];
  const curves = [...page.querySelectorAll("#curves .chart")];
  found.end_of_charts = Math.max(...curves.map((chart) => chart.getBoundingClientRect().right));
  found.start = told(page.querySelector("svg[data-lines]"), 0.13, 0.5);
  found.end = told(page.querySelector("svg[data-lines]"), 0.97, 0.5);
  found.cell = told(page.querySelector("svg[data-heat]"), 0.88, 0.7);
  found.bar = told(page.querySelector("[data-tip]"), 0.5, 0.5);
  const aligned = (cell) => inner.getComputedStyle(cell).textAlign.replace("start", "left");
  found.tables = [...page.querySelectorAll("#studies table.wide")].map((table) => ({
    headers: [...table.tHead.rows[0].cells].map(aligned),
    cells: [...table.tBodies[0].rows].map((row) => [...row.cells].map(aligned)),
    height: table.tBodies[0].rows[0].offsetHeight,
  }));
  const svg = page.querySelector("svg[data-lines]");
  svg.dispatchEvent(new inner.KeyboardEvent("keydown", { bubbles: true, key: "Escape" }));
  found.hidden = tip.hidden;
  inner.dispatchEvent(new inner.Event("beforeprint"));
  found.closed = page.querySelectorAll("details:not([open])").length;
  if (inner.axe) {
    const results = await inner.axe.run(page);
    found.serious = results.violations.filter((v) => ["serious", "critical"].includes(v.impact));
    found.serious = found.serious.map((v) => v.id + ": " + v.nodes[0].html.slice(0, 200));
  }
  for (const rule of page.styleSheets[0].cssRules) {  // as it is printed
    if (rule.media && rule.media.mediaText === "print") rule.media.mediaText = "all";
  }
  frame.width = PRINTED;
  const long = [...page.querySelectorAll("#studies table.wide td.long")];
  found.printed = {
    narrowest: Math.min(...long.map((cell) => cell.offsetWidth)),
    widest: Math.max(...[...page.querySelectorAll("#studies table")].map((t) => t.offsetWidth)),
  };
  document.getElementById("found").textContent = JSON.stringify(found);
});
"""


def look(page, folder, width):
    """Returns what the probe finds of a page in a frame of that width."""
    inner = page.decode()
    if AXE:  # the page's policy rightly refuses a second script
        inner = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", inner)
        inner = inner.replace("<head>", f"<head><script>{pathlib.Path(AXE).read_text()}</script>")
    frame = f'<iframe width="{width}" height="800" srcdoc="{html.escape(inner)}"></iframe>'
    probe = PROBE.replace("PRINTED", str(PRINTED))
    outer = folder / "outer.html"
    outer.write_text(
        f"<!DOCTYPE html><script>addEventListener('DOMContentLoaded', () => {{{probe}}})</script>"
        f"<pre id=found></pre>{frame}"
    )
    profile = f"--user-data-dir={folder / 'profile'}"
    window = f"--window-size={width + 100},1000"
    command = [CHROMIUM, *FLAGS, profile, window, outer.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    text = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert text is not None
    assert text[1], done.stderr[-2000:]
    return json.loads(html.unescape(text[1]))


@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_works_and_fits(make_workdir, tmp_path, width):
    workdirs = [str(make_workdir(tmp_path / name)) for name in ("a", "b")]
    page = make_page(workdirs, str(pathlib.Path(__file__).parents[2] / "results"))
    found = look(page, tmp_path, width)
    assert found["errors"] == []
    assert found["violations"] == []
    assert found["serious"] == []
    assert "owned" not in found["title"]
    assert found["width"][0] <= found["width"][1] == width
    assert found["end_of_charts"] > width - 60  # no part of the page stays empty
    assert found["start"].splitlines()[:2] == ["epoch 0.5", "a train: 2"]
    assert "a validation: 1.25" in found["end"]
    assert found["cell"].startswith("true: dog\npredicted: <script>")
    assert found["bar"].startswith("a: train 5.0 s")
    for table in found["tables"]:
        assert all(cells == table["headers"] for cells in table["cells"])
        assert width > 390 or table["height"] < 40  # one line: what is long is out of sight
    assert len(found["tables"]) == 2
    assert found["printed"]["narrowest"] > 60
    assert found["printed"]["widest"] <= PRINTED
    assert found["hidden"] is True
    assert found["closed"] == 0
