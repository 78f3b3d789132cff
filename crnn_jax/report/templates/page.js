"use strict";
// Values under the pointer, and, of a page that is served, the newest page. Names are only ever text.
(() => {
  const tip = document.getElementById("tip");

  function short(value) {
    const size = Math.abs(value);
    if (size >= 1e6 || (size > 0 && size < 1e-4)) return value.toExponential(2);
    return String(Number(value.toPrecision(5)));
  }

  function show(text, left, top) {
    tip.textContent = text;
    tip.hidden = false;
    const room = document.documentElement.clientWidth;
    const wide = tip.offsetWidth;
    const start = left + 14 + wide < room ? left + 14 : Math.max(4, left - wide - 14);
    tip.style.left = `${Math.min(start, Math.max(4, room - wide - 4)) + window.scrollX}px`;
    tip.style.top = `${top + 14 + window.scrollY}px`;
  }

  function hide(svg) {
    tip.hidden = true;
    if (!svg) return;
    const cursor = svg.querySelector(".cursor");
    if (cursor) cursor.setAttribute("d", "");
    const pick = svg.querySelector(".pick");
    if (pick) pick.setAttribute("visibility", "hidden");
  }

  // Returns the data of a chart, read once.
  function dataOf(svg, name) {
    if (!svg.chartData) svg.chartData = JSON.parse(svg.dataset[name]);
    return svg.chartData;
  }

  // Returns where a point of the window lies in the chart's own units.
  function inside(svg, event) {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  function nearest(points, x) {
    let best = points[0];
    for (const point of points) if (Math.abs(point[0] - x) < Math.abs(best[0] - x)) best = point;
    return best;
  }

  function showLines(svg, x, left, top) {
    const data = dataOf(svg, "lines");
    const [x0, , x1, y1] = data.box;
    const [low, high] = data.range;
    const clamped = Math.min(Math.max(x, x0), x1);
    const wanted = low + ((clamped - x0) / (x1 - x0)) * (high - low);
    // A line says something between its first and its last point, and a little beside them.
    const slack = 0.03 * (high - low);
    const covers = (points) => points[0][0] - slack <= wanted && wanted <= points[points.length - 1][0] + slack;
    const all = data.series.map((series) => [series.name, nearest(series.points, wanted), covers(series.points)]);
    const some = all.filter(([, , covered]) => covered);
    const shown = some.length ? some : all;
    const away = (entry) => Math.abs(entry[1][0] - wanted);
    const at = shown.reduce((a, b) => (away(b) < away(a) ? b : a))[1][0];
    const place = x0 + ((at - low) / (high - low)) * (x1 - x0);
    svg.querySelector(".cursor").setAttribute("d", `M${place.toFixed(1)} ${data.box[1]}V${y1}`);
    svg.chartPlace = place;
    const lines = shown.slice(0, 12).map(([name, point]) => {
      const where = Math.abs(point[0] - at) > 0.01 * (high - low) ? ` (at ${short(point[0])})` : "";
      return `${name}: ${short(point[1])}${where}`;
    });
    if (shown.length > 12) lines.push(`and ${shown.length - 12} more`);
    show([`${data.x} ${short(at)}`, ...lines].join("\n"), left, top);
  }

  function showCell(svg, column, row, left, top) {
    const data = dataOf(svg, "heat");
    const pick = svg.querySelector(".pick");
    if (row < 0 || column < 0 || row >= data.rows.length || column >= data.columns.length) return hide(svg);
    svg.chartPlace = [column, row];
    pick.setAttribute("x", data.edge[0] + column * data.cell);
    pick.setAttribute("y", data.edge[1] + row * data.cell);
    pick.setAttribute("visibility", "visible");
    const text = data.texts[row][column] || "-";
    show(`${data.axes[0]}: ${data.rows[row]}\n${data.axes[1]}: ${data.columns[column]}\n${text}`, left, top);
  }

  function point(event) {
    const target = event.target instanceof Element ? event.target : null;
    const svg = target && target.closest("svg[data-lines], svg[data-heat]");
    const told = target && target.closest("[data-tip]");
    if (told) return show(told.dataset.tip, event.clientX, event.clientY);
    if (!svg) return hide();
    const [x, y] = inside(svg, event);
    if (svg.dataset.lines) return showLines(svg, x, event.clientX, event.clientY);
    const data = dataOf(svg, "heat");
    const [left, top] = data.edge;
    showCell(svg, Math.floor((x - left) / data.cell), Math.floor((y - top) / data.cell), event.clientX, event.clientY);
  }

  function step(event) {
    const svg = event.target instanceof Element && event.target.closest("svg[data-lines], svg[data-heat]");
    if (!svg) return;
    if (event.key === "Escape") return hide(svg);
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    if (svg.dataset.heat) {
      const data = dataOf(svg, "heat");
      const [column, row] = svg.chartPlace || [-move[0], -move[1]];
      const next = (at, by, count) => Math.min(Math.max(at + by, 0), count - 1);
      return showCell(svg, next(column, move[0], data.columns.length), next(row, move[1], data.rows.length), box.left, box.bottom);
    }
    const data = dataOf(svg, "lines");
    const [x0, , x1] = data.box;
    const [low, high] = data.range;
    const xs = data.series.flatMap((series) => series.points.map(([x]) => x)).sort((a, b) => a - b);
    const places = [...new Set(xs.map((x) => x0 + ((x - low) / (high - low)) * (x1 - x0)))];
    const now = svg.chartPlace === undefined ? x0 - 1 : svg.chartPlace;
    const after = places.find((place) => place > now + 0.05);
    const before = places.filter((place) => place < now - 0.05).pop();
    const to = move[0] + move[1] > 0 ? after : before;
    showLines(svg, to === undefined ? now : to, box.left, box.bottom);
  }

  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);
  document.addEventListener("keydown", step);
  document.addEventListener("focusout", (event) => hide(event.target instanceof Element ? event.target.closest("svg") : null));
  document.addEventListener("pointerout", (event) => {
    const svg = event.target instanceof Element && event.target.closest("svg[data-lines], svg[data-heat]");
    if (svg && !svg.contains(event.relatedTarget)) hide(svg);
  });
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const part of opened) part.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });

  if (!document.body.dataset.live) return;
  let version = null;
  async function refresh() {
    const live = document.getElementById("live");
    try {
      const now = await (await fetch("version", { cache: "no-store" })).text();
      if (version !== null && now !== version) {
        const text = await (await fetch("./", { cache: "no-store" })).text();
        const fresh = new DOMParser().parseFromString(text, "text/html");
        const open = [...document.querySelectorAll("details")].map((part) => part.open);
        document.querySelector("main").replaceWith(fresh.querySelector("main"));
        document.querySelectorAll("details").forEach((part, index) => {
          if (index < open.length) part.open = open[index];
        });
        document.querySelector("header p").replaceWith(fresh.querySelector("header p"));
        tip.hidden = true;
      }
      version = now;
    } catch {
      if (live) live.textContent = "not refreshed: the program that served this page has ended";
    }
    window.setTimeout(refresh, 2000);
  }
  refresh();
})();
