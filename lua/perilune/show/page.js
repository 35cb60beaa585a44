// What the page of a run does beyond being read: curves with values under the cursor and zoom,
// the answer browser, and, when it is served by `perilune watch`, new rows as they come and buttons.
//
// The page is whole without it. Text of runs goes in as text nodes alone, never as markup. Nothing
// is loaded from anywhere; a live page talks to the address that it came from.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("pl-data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);

  // ---- Elements, numbers ----------------------------------------------------------------------
  function fill(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === false || value == null) continue;
      if (key === "on") for (const [name, f] of Object.entries(value)) node.addEventListener(name, f);
      else node.setAttribute(key, value === true ? "" : value);
    }
    for (const child of children.flat(9)) {
      if (child == null || child === false) continue;
      node.append(child.nodeType ? child : document.createTextNode(String(child)));
    }
    return node;
  }
  const h = (tag, attributes, ...children) =>
    fill(document.createElement(tag), attributes, children);
  const s = (tag, attributes, ...children) =>
    fill(document.createElementNS(SVG, tag), attributes, children);
  const clear = (node) => { while (node.firstChild) node.firstChild.remove(); return node; };

  function show(x) {
    if (typeof x !== "number") return String(x);
    if (x === 0 || Number.isInteger(x) && Math.abs(x) < 1e7) return String(x);
    const size = Math.abs(x);
    return size >= 1e7 || size < 1e-4 ? x.toExponential(3) : String(+x.toPrecision(4));
  }
  function tickText(x, step) {
    if (Math.abs(x) < step * 1e-6) return "0";
    if (Math.abs(x) >= 1e9) return x.toExponential(1);
    for (const [unit, mark] of [[1e6, "M"], [1e3, "k"]])
      if (Math.abs(x) >= unit && step >= unit / 1e3 && Math.abs(x) >= 1e4)
        return +(x / unit).toFixed(3) + mark;
    if (step < 1e-4) return x.toExponential(Math.max(0, Math.ceil(Math.log10(Math.abs(x) / step))));
    return x.toFixed(Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
  }
  function ticks(low, high, about, least) {
    const raw = Math.max(least, (high - low) / Math.max(1, about));
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * ([1, 2, 5].find((f) => raw <= f * power * 1.0000001) || 10);
    const list = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9 && list.length < 50; i++)
      list.push(i * step);
    return [list, step];
  }
  function range(low, high, margin) {
    if (!(low <= high)) return [0, 1];
    if (low === high) {
      const half = Math.abs(low) * 0.05 || 1;
      return [low - half, high + half];
    }
    return [low - (high - low) * margin, high + (high - low) * margin];
  }
  function seconds(x) {
    if (x < 90) return Math.round(x) + " s";
    const m = Math.floor(x / 60);
    return m < 90 ? m + " min" : Math.floor(m / 60) + " h " + (m % 60) + " min";
  }

  // ---- Curves ---------------------------------------------------------------------------------
  const view = { axis: "step", smooth: 0, zoom: {}, hidden: new Set() };
  const charts = [];

  // Seconds at a step of a run, between the rows that tell.
  function timeAt(run, step) {
    const [xs, ys] = run.time;
    let a = 0, b = xs.length - 1;
    if (b < 0) return NaN;
    while (b - a > 1) { const m = a + b >> 1; if (xs[m] <= step) a = m; else b = m; }
    if (xs[b] === xs[a]) return ys[a];
    return ys[a] + (ys[b] - ys[a]) * Math.min(1, Math.max(0, (step - xs[a]) / (xs[b] - xs[a])));
  }
  const place = (run, step) => view.axis === "time" ? timeAt(run, step) : step;

  function smoothed(ys) {
    const keep = view.smooth;
    let sum = 0, weight = 0;
    return ys.map((y) => {
      sum = keep * sum + (1 - keep) * y;
      weight = keep * weight + 1 - keep;
      return sum / weight;
    });
  }

  // The series of a chart: {name, run, color, dash, xs, ys, steps, broken}.
  function seriesOf(chart) {
    const list = [];
    for (const r of chart.runs) {
      const run = data.runs[r];
      if (view.hidden.has(r)) continue;
      chart.metrics.forEach((metric, m) => {
        if (chart.kind === "order") {
          if (m > 0) return;
          const [xs, ys, steps] = run.order;
          list.push({ name: run.name, run, color: run.color, steps, xs, ys, broken: [] });
          return;
        }
        const found = run.metrics[metric];
        if (!found) return;
        const label = chart.metrics.length > 1 ? (m ? "held out" : "training") : "";
        const name = chart.runs.length > 1 ? run.name + (m ? ", " + label : "") : label || chart.title;
        list.push({ name, run, color: chart.runs.length > 1 ? run.color : 1 + m, dash: m > 0,
          steps: found[0], xs: found[0].map((step) => place(run, step)), ys: found[1],
          broken: found[2] || [] });
      });
    }
    return list;
  }

  // Path through the points in view, cut where a value is missing, two points a pixel column.
  function pathOf(one, ys, X, Y, low, high) {
    let text = "", pen = "M", b = 0, column = null, lowest, highest;
    const put = (i) => { text += pen + X(one.xs[i]).toFixed(1) + " " + Y(ys[i]).toFixed(1); pen = "L"; };
    const flush = () => {
      if (column == null) return;
      put(Math.min(lowest, highest));
      if (lowest !== highest) put(Math.max(lowest, highest));
      column = null;
    };
    for (let i = 0; i < one.xs.length; i++) {
      while (b < one.broken.length && one.broken[b] < one.steps[i]) { flush(); pen = "M"; b++; }
      if (one.xs[i + 1] < low || one.xs[i - 1] > high) { flush(); pen = "M"; continue; }
      const c = Math.floor(X(one.xs[i]));
      if (c !== column) { flush(); column = c; lowest = highest = i; }
      else if (ys[i] < ys[lowest]) lowest = i;
      else if (ys[i] > ys[highest]) highest = i;
    }
    flush();
    return text;
  }

  function extent(lists, pick, low, high) {
    let a = Infinity, b = -Infinity;
    for (const one of lists) {
      const values = pick(one);
      for (let i = 0; i < values.length; i++) {
        if (one.xs[i] < low || one.xs[i] > high) continue;
        if (values[i] < a) a = values[i];
        if (values[i] > b) b = values[i];
      }
    }
    return [a, b];
  }

  function marksOf(chart) {
    const list = [];
    if (chart.kind === "order") return list;
    for (const r of chart.runs) {
      const run = data.runs[r];
      if (view.hidden.has(r)) continue;
      const who = chart.runs.length > 1 ? run.name + ": " : "";
      for (const a of run.alarms)
        list.push({ x: place(run, a.step), step: a.step, kind: "alarm", text: who + a.text });
      for (const c of run.changes)
        list.push({ x: place(run, c.step), step: c.step, kind: "change", text: who + c.text });
    }
    return list;
  }

  const zoomKey = (chart) => chart.kind === "order" ? chart.id : chart.group + view.axis;

  const widthOf = (chart) => Math.max(240, chart.box.clientWidth);

  function draw(chart) {
    chart.stale = false;
    const width = widthOf(chart), height = 250;
    const list = chart.series = seriesOf(chart);
    const marks = chart.marks = marksOf(chart);
    const named = list.length > 1;
    const zoom = view.zoom[zoomKey(chart)];
    const top = 10, bottom = height - 24;
    const least = view.axis === "step" && chart.kind !== "order" ? 1 : 0; // there is no half step
    let [xLow, xHigh] = zoom ? zoom.x
      : range(...extent(list, (o) => o.xs, -Infinity, Infinity), chart.kind === "order" ? 0.04 : 0);
    if (least && list.length > 0 && xHigh - xLow < 1)
      [xLow, xHigh] = [Math.floor(xLow), Math.ceil(xHigh)];
    const curves = list.map((o) => view.smooth && chart.kind !== "order" ? smoothed(o.ys) : o.ys);
    const [yLow, yHigh] = zoom && zoom.y ? zoom.y
      : range(...extent(list, (o) => o.ys, xLow, xHigh), 0.06);
    const [yTicks, yStep] = ticks(yLow, yHigh, (bottom - top) / 40, 0);
    const texts = yTicks.map((y) => tickText(y, yStep));
    const left = 14 + 7 * Math.max(1, ...texts.map((t) => t.length)), right = width - 10;
    const X = (x) => left + (x - xLow) / (xHigh - xLow) * (right - left);
    const Y = (y) => bottom - (y - yLow) / (yHigh - yLow) * (bottom - top);
    Object.assign(chart, { X, Y, left, right, top, bottom, xLow, xHigh, yLow, yHigh, width });
    const svg = s("svg", { class: "pl live", viewBox: `0 0 ${width} ${height}`, width, height,
      tabindex: 0, role: "img",
      "aria-label": chart.title + ". Arrow keys move along the curve, plus and minus zoom, " +
        "Escape shows all." });
    const clip = "c" + chart.number;
    svg.append(s("clipPath", { id: clip },
      s("rect", { x: left, y: top - 4, width: right - left + 4, height: bottom - top + 8 })));
    yTicks.forEach((y, i) => svg.append(
      s("path", { class: "grid", d: `M${left} ${Y(y).toFixed(1)}H${right}` }),
      s("text", { class: "end", x: left - 7, y: Y(y) + 4 }, texts[i])));
    svg.append(s("path", { class: "axis", d: `M${left} ${bottom}H${right}` }));
    const [xTicks, xStep] = ticks(xLow, xHigh, (right - left) / 80, least);
    xTicks.forEach((x) => svg.append(
      s("path", { class: "axis", d: `M${X(x).toFixed(1)} ${bottom}v4` }),
      s("text", { class: "mid", x: Math.min(X(x), right - 8), y: bottom + 18 },
        view.axis === "time" && chart.kind !== "order" ? seconds(x) : tickText(x, xStep))));
    const body = s("g", { "clip-path": `url(#${clip})` });
    for (const mark of marks) {
      if (mark.x < xLow || mark.x > xHigh) continue;
      const x = X(mark.x);
      body.append(s("path", { class: "mark " + mark.kind, d: `M${x} ${top}V${bottom}` }),
        s("path", { class: "flag " + mark.kind, d: mark.kind === "alarm"
          ? `M${x - 5} ${top - 3}h10l-5 9z` : `M${x} ${top - 4}l5 5l-5 5l-5-5z` },
        s("title", {}, mark.text)));
    }
    list.forEach((one, k) => {
      const color = " c" + one.color, dash = one.dash ? " dash" : "";
      if (chart.kind === "order") {
        body.append(s("path", { class: "line faint" + color,
          d: one.xs.map((x, i) => (i ? "L" : "M") + X(x).toFixed(1) + " " + Y(one.ys[i]).toFixed(1)).join("") }));
        const each = Math.max(1, Math.floor(one.xs.length / 600));
        one.xs.forEach((x, i) => {
          if (i % each && i < one.xs.length - 1) return;
          body.append(s("circle", { class: "f" + one.color, cx: X(x).toFixed(1),
            cy: Y(one.ys[i]).toFixed(1), r: i === one.xs.length - 1 ? 5 : 3,
            "fill-opacity": (0.2 + 0.8 * i / Math.max(1, one.xs.length - 1)).toFixed(2) }));
        });
      } else {
        if (view.smooth) body.append(s("path", { class: "line faint" + color + dash,
          d: pathOf(one, one.ys, X, Y, xLow, xHigh) }));
        if (one.xs.length === 1) body.append(s("circle", { class: "f" + one.color,
          cx: X(one.xs[0]), cy: Y(one.ys[0]), r: 3.5 }));
        else body.append(s("path", { class: "line" + color + dash,
          d: pathOf(one, curves[k], X, Y, xLow, xHigh) }));
        for (const step of one.broken.slice(0, 400)) {
          const x = X(place(one.run, step));
          body.append(s("path", { class: "broken", d: `M${x - 3} ${bottom - 8}l6 6m0-6l-6 6` },
            s("title", {}, "step " + step + ": not a number")));
        }
      }
    });
    chart.over = s("g", { class: "over" });
    svg.append(body, chart.over);
    if (!list.some((one) => one.xs.length)) svg.append(s("text", { class: "mid", x: (left + right) / 2,
      y: (top + bottom) / 2 }, list.some((one) => one.broken.length)
      ? "no value is a number" : "no values yet"));
    const focused = document.activeElement === chart.svg;
    if (chart.svg) chart.svg.replaceWith(svg); else clear(chart.box).append(svg, chart.tip);
    chart.svg = svg;
    listen(chart);
    if (focused) svg.focus();
    clear(chart.legend);
    if (named) for (const one of list) chart.legend.append(
      h("span", { class: "key" }, s("svg", { class: "pl", viewBox: "0 0 18 8", width: 18, height: 8 },
        s("path", { class: "line c" + one.color + (one.dash ? " dash" : ""), d: "M0 4h18" })), one.name));
    chart.all.hidden = !zoom;
    if (chart.cursor != null) point(chart, chart.cursor, false);
  }

  // ---- The cursor -----------------------------------------------------------------------------
  // Nearest point of a chart to a place of the screen: {k, i}.
  function nearest(chart, px, py) {
    let best = null, least = Infinity;
    chart.series.forEach((one, k) => one.xs.forEach((x, i) => {
      const dx = chart.X(x) - px, dy = chart.Y(one.ys[i]) - py;
      const d = chart.kind === "order" ? dx * dx + dy * dy : Math.abs(dx) + Math.abs(dy) * 1e-3;
      if (d < least) { least = d; best = { k, i }; }
    }));
    return best;
  }

  function lineOf(one, value) {
    return h("div", { class: "row" }, h("i", { class: "dot b" + one.color }), h("b", {}, show(value)),
      " ", one.name);
  }

  // Puts the cursor at a point and tells its values; `say` also to a screen reader.
  function point(chart, at, say) {
    const one = chart.series[at.k];
    if (!one || one.xs[at.i] == null) { leave(chart); return; }
    chart.cursor = at;
    const { X, Y, top, bottom } = chart, step = one.steps[at.i], x = one.xs[at.i];
    clear(chart.over);
    clear(chart.tip);
    const head = view.axis === "time" && chart.kind !== "order"
      ? "step " + show(step) + ", " + seconds(x) : "step " + show(step);
    chart.tip.append(h("div", { class: "head" }, head));
    if (chart.kind === "order") {
      chart.over.append(s("circle", { class: "ring", cx: X(x), cy: Y(one.ys[at.i]), r: 6 }));
      chart.tip.append(lineOf(one, one.ys[at.i]), h("div", { class: "row" }, "KL ", h("b", {}, show(x))));
    } else {
      chart.over.append(s("path", { class: "cursor", d: `M${X(x)} ${top}V${bottom}` }));
      const many = chart.series.length > 12;
      for (const other of many ? [one] : chart.series) {
        let i = 0;
        for (let j = 1; j < other.xs.length; j++)
          if (Math.abs(other.xs[j] - x) < Math.abs(other.xs[i] - x)) i = j;
        if (other.xs[i] == null) continue;
        chart.over.append(s("circle", { class: "f" + other.color, cx: X(other.xs[i]),
          cy: Y(other.ys[i]), r: 4 }));
        chart.tip.append(lineOf(other, other.ys[i]));
      }
      for (const mark of chart.marks)
        if (Math.abs(X(mark.x) - X(x)) < 4)
          chart.tip.append(h("div", { class: "row " + mark.kind }, mark.text));
    }
    chart.tip.hidden = false;
    const wide = chart.tip.offsetWidth;
    const px = X(x) + 14 + wide > chart.width ? X(x) - 14 - wide : X(x) + 14;
    chart.tip.style.left = Math.max(0, px) + "px";
    if (say) byId("pl-said").textContent = chart.title + ", " + chart.tip.innerText.replace(/\n+/g, ", ");
  }
  function leave(chart) {
    chart.cursor = null;
    clear(chart.over);
    chart.tip.hidden = true;
  }

  function zoomTo(chart, x, y) {
    if (x && !(x[1] > x[0])) return;
    if (x) view.zoom[zoomKey(chart)] = { x, y: chart.kind === "order" ? y : null };
    else delete view.zoom[zoomKey(chart)];
    for (const other of charts)
      if (other === chart || chart.kind !== "order" && zoomKey(other) === zoomKey(chart)) draw(other);
  }

  function move(chart, by) {
    const at = chart.cursor || { k: 0, i: by > 0 ? -1 : (chart.series[0] || { xs: [] }).xs.length };
    const one = chart.series[at.k];
    if (!one || !one.xs.length) return;
    const i = Math.min(one.xs.length - 1, Math.max(0, at.i + by));
    point(chart, { k: at.k, i }, true);
  }

  function press(chart, event) {
    const one = chart.series[chart.cursor ? chart.cursor.k : 0];
    const far = event.shiftKey ? 10 : 1;
    if (event.ctrlKey || event.metaKey || event.altKey || !one) return;
    if (event.key === "ArrowRight") move(chart, far);
    else if (event.key === "ArrowLeft") move(chart, -far);
    else if (event.key === "Home") move(chart, -1e9);
    else if (event.key === "End") move(chart, 1e9);
    else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const n = chart.series.length, k = chart.cursor ? chart.cursor.k : 0;
      const next = (k + (event.key === "ArrowUp" ? n - 1 : 1)) % n;
      point(chart, { k: next, i: Math.min(chart.cursor ? chart.cursor.i : 0,
        chart.series[next].xs.length - 1) }, true);
    } else if (event.key === "+" || event.key === "=" || event.key === "-") {
      const middle = chart.cursor ? one.xs[chart.cursor.i] : (chart.xLow + chart.xHigh) / 2;
      const by = event.key === "-" ? 2 : 0.5;
      const y = chart.cursor ? one.ys[chart.cursor.i] : (chart.yLow + chart.yHigh) / 2;
      zoomTo(chart, [middle - (middle - chart.xLow) * by, middle + (chart.xHigh - middle) * by],
        [y - (y - chart.yLow) * by, y + (chart.yHigh - y) * by]);
    } else if (event.key === "Escape" || event.key === "0") {
      leave(chart);
      zoomTo(chart, null);
    } else return;
    event.preventDefault();
  }

  function listen(chart) {
    const svg = chart.svg;
    let from = null;
    const at = (event) => {
      const box = svg.getBoundingClientRect();
      return [(event.clientX - box.left) * chart.width / box.width,
        (event.clientY - box.top) * 250 / box.height];
    };
    const value = (p) => [
      chart.xLow + (p[0] - chart.left) / (chart.right - chart.left) * (chart.xHigh - chart.xLow),
      chart.yLow + (chart.bottom - p[1]) / (chart.bottom - chart.top) * (chart.yHigh - chart.yLow)];
    svg.addEventListener("pointermove", (event) => {
      const p = at(event);
      if (!from) {
        const found = nearest(chart, p[0], p[1]);
        if (found) point(chart, found, false);
        return;
      }
      clear(chart.over).append(chart.kind === "order"
        ? s("rect", { class: "drag", x: Math.min(p[0], from[0]), y: Math.min(p[1], from[1]),
          width: Math.abs(p[0] - from[0]), height: Math.abs(p[1] - from[1]) })
        : s("rect", { class: "drag", x: Math.min(p[0], from[0]), y: chart.top,
          width: Math.abs(p[0] - from[0]), height: chart.bottom - chart.top }));
    });
    svg.addEventListener("pointerdown", (event) => {
      if (event.button === 0) { from = at(event); svg.setPointerCapture(event.pointerId); }
    });
    svg.addEventListener("pointerup", (event) => {
      const begin = from, end = at(event);
      from = null;
      clear(chart.over);
      if (!begin || Math.abs(end[0] - begin[0]) < 6) return;
      const a = value(begin), b = value(end);
      zoomTo(chart, [Math.max(chart.xLow, Math.min(a[0], b[0])), Math.min(chart.xHigh, Math.max(a[0], b[0]))],
        Math.abs(end[1] - begin[1]) < 6 ? [chart.yLow, chart.yHigh]
          : [Math.min(a[1], b[1]), Math.max(a[1], b[1])]);
    });
    svg.addEventListener("pointercancel", () => { from = null; clear(chart.over); });
    svg.addEventListener("pointerleave", () => { if (!from) leave(chart); });
    svg.addEventListener("blur", () => leave(chart));
    svg.addEventListener("dblclick", () => zoomTo(chart, null));
    svg.addEventListener("keydown", (event) => press(chart, event));
  }

  function makeChart(spec, number) {
    const figure = byId(spec.id);
    if (!figure) return;
    const chart = { ...spec, number, cursor: null };
    chart.box = h("div", { class: "box" });
    chart.tip = h("div", { class: "tip", hidden: true });
    chart.legend = h("div", { class: "legend" });
    chart.all = h("button", { type: "button", class: "small", hidden: true,
      on: { click: () => { zoomTo(chart, null); chart.svg.focus(); } } }, "Show all");
    clear(figure).append(
      h("figcaption", {}, h("b", {}, spec.title), " ", h("span", {}, spec.unit), chart.all),
      chart.legend, chart.box);
    charts.push(chart);
    chart.box.append(chart.tip);
    draw(chart);
    near.observe(chart.box);
  }

  let waiting = false;
  function drawAll() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      for (const chart of charts)
        if (chart.near && chart.box.clientWidth > 0) draw(chart);
        else chart.stale = true;
    });
  }

  // Charts far from the window are drawn when they come near it.
  const near = new IntersectionObserver((list) => {
    for (const one of list) {
      const chart = charts.find((c) => c.box === one.target);
      chart.near = one.isIntersecting;
      if (chart.near && chart.stale && chart.box.clientWidth > 0) draw(chart);
    }
  }, { rootMargin: "400px" });
  addEventListener("beforeprint", () => { for (const c of charts) if (c.box.clientWidth > 0) draw(c); });

  // Several rows a second make one picture of them.
  let due = null;
  function drawSoon() {
    due ??= setTimeout(() => { due = null; drawAll(); }, 500);
  }

  function controls() {
    const bar = byId("pl-controls");
    if (!bar || !charts.length) return;
    const axis = h("select", { on: { change: (e) => { view.axis = e.target.value; drawAll(); } } },
      h("option", { value: "step" }, "step"), h("option", { value: "time" }, "time"));
    const smooth = h("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: 0,
      on: { input: (e) => { view.smooth = +e.target.value; drawAll(); } } });
    bar.append(h("label", {}, "over ", axis), h("label", {}, "smooth ", smooth));
    if (charts.some((chart) => chart.runs.length > 1)) bar.append(h("fieldset", {}, h("legend", {}, "runs"),
      data.runs.map((run, r) => h("label", {}, h("input", { type: "checkbox", checked: true,
        on: { change: (e) => { view.hidden[e.target.checked ? "delete" : "add"](r); drawAll(); } } }),
      h("i", { class: "dot b" + run.color }), run.name))));
    bar.append(h("span", { class: "note" }, "Drag, or + and -, to zoom; double click or Escape shows all."));
    bar.hidden = false;
  }

  // ---- Answers --------------------------------------------------------------------------------
  const scale = {}; // of each figure of tokens: the size that is shown at full colour
  const figures = ["kl", "advantage", "value"];
  function measureScale() {
    for (const name of figures) {
      const sizes = [];
      for (const run of data.runs) for (const sample of run.samples)
        if (Array.isArray(sample[name])) for (const x of sample[name])
          if (typeof x === "number") sizes.push(Math.abs(x));
      sizes.sort((a, b) => a - b);
      scale[name] = sizes.length ? sizes[Math.floor(sizes.length * 0.98)] || sizes[sizes.length - 1] : 0;
    }
  }

  const browse = { text: "", run: "", color: "kl", together: false, most: 10 };
  const lower = (x) => String(x == null ? "" : x).toLowerCase();

  function chosen() {
    const list = [], words = lower(browse.text);
    data.runs.forEach((run, r) => {
      if (browse.run !== "" && +browse.run !== r) return;
      for (const sample of run.samples) {
        const score = typeof sample.score === "number" ? sample.score : null;
        if (words && !lower(sample.prompt).includes(words) && !lower(sample.answer).includes(words)) continue;
        if (browse.low != null && !(score >= browse.low && score != null)) continue;
        if (browse.high != null && !(score <= browse.high && score != null)) continue;
        if (browse.first != null && sample.step < browse.first) continue;
        if (browse.last != null && sample.step > browse.last) continue;
        list.push({ run, sample, score });
      }
    });
    return list;
  }

  function tokensOf(sample) {
    const values = sample[browse.color], tokens = sample.tokens;
    const known = figures.filter((name) => Array.isArray(sample[name]));
    const said = h("div", { class: "said", "aria-live": "polite" });
    const spans = tokens.map((text, i) => {
      const span = h("span", { class: "token" }, text);
      const value = values[i];
      if (typeof value === "number" && scale[browse.color] > 0) {
        const part = Math.min(1, Math.abs(value) / scale[browse.color]) * 0.6;
        span.style.backgroundColor = `rgba(${value > 0 ? "221,100,38" : "47,111,222"},${part.toFixed(3)})`;
      } else if (typeof value === "string") span.className = "token broken";
      return span;
    });
    let at = -1;
    const tell = (i) => {
      if (at >= 0) spans[at].classList.remove("at");
      at = i;
      if (i < 0) { said.textContent = ""; return; }
      spans[i].classList.add("at");
      said.textContent = "token " + (i + 1) + ": " +
        known.map((name) => name + " " + show(sample[name][i])).join(", ");
    };
    spans.forEach((span, i) => span.addEventListener("pointerenter", () => tell(i)));
    const rest = sample.lengths_cut ? " …" : null;
    return [h("div", { class: "text tokens", tabindex: 0, role: "group",
      "aria-label": "answer by tokens; arrow keys move",
      on: { keydown: (event) => {
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!by) return;
        event.preventDefault();
        tell(Math.min(spans.length - 1, Math.max(0, at + by)));
      }, blur: () => tell(-1), pointerleave: () => tell(-1) } }, spans, rest), said];
  }

  function answerOf({ run, sample, score }) {
    const colored = Array.isArray(sample.tokens) && Array.isArray(sample[browse.color]);
    const answer = sample.answer == null ? "" : String(sample.answer);
    const more = Object.entries(sample).filter(([key, value]) => typeof value === "number" &&
      !["step", "score"].includes(key)).map(([key, value]) => key + " " + show(value));
    return h("div", { class: "answer" },
      h("div", { class: "who" }, h("b", {}, (data.runs.length > 1 ? run.name + ", " : "") + "step " + show(sample.step)),
        score == null ? null : h("i", {}, show(score)), sample.held_out ? h("span", {}, "held out") : null,
        more.length ? h("span", {}, more.join(", ")) : null),
      colored ? tokensOf(sample)
        : h("div", { class: /\S/.test(answer) ? "text" : "text empty" }, /\S/.test(answer) ? answer : "no answer"));
  }

  function card(prompt, list) {
    return h("div", { class: "card" }, h("div", { class: "prompt" }, prompt == null ? "" : String(prompt)),
      h("div", { class: "answers" }, list.map(answerOf)));
  }

  function drawAnswers() {
    const list = chosen(), out = clear(byId("pl-answers"));
    let cards;
    if (browse.together) {
      const by = new Map();
      for (const one of list) {
        const key = String(one.sample.prompt);
        if (!by.has(key)) by.set(key, []);
        by.get(key).push(one);
      }
      cards = [...by.entries()].sort((a, b) => b[1].length - a[1].length);
    } else cards = list.map((one) => [one.sample.prompt, [one]]).reverse();
    for (const [prompt, some] of cards.slice(0, browse.most)) out.append(card(prompt, some));
    if (cards.length > browse.most) out.append(h("button", { type: "button",
      on: { click: () => { browse.most += 40; drawAnswers(); } } }, "Show more"));
    byId("pl-count").textContent = list.length + " of " +
      data.runs.reduce((n, run) => n + run.samples.length, 0) + " answers";
    const legend = clear(byId("pl-scale"));
    if (scale[browse.color]) legend.append(h("span", { class: "swatch down" }), "−" + show(scale[browse.color]),
      h("span", { class: "swatch up" }), "+" + show(scale[browse.color]) + " and beyond");
  }

  function browser() {
    const bar = byId("pl-filter");
    if (!bar) return;
    measureScale();
    const again = () => { browse.most = 10; drawAnswers(); };
    const text = h("input", { type: "search", size: 18, on: { input: (e) => { browse.text = e.target.value; again(); } } });
    const number = (key) => h("input", { type: "number", step: "any", class: "short",
      on: { input: (e) => { browse[key] = e.target.value === "" ? null : +e.target.value; again(); } } });
    const known = figures.filter((name) => scale[name] > 0);
    bar.append(h("label", {}, "text ", text),
      h("span", { class: "pair" }, h("label", {}, "score from ", number("low")), h("label", {}, " to ", number("high"))),
      h("span", { class: "pair" }, h("label", {}, "step from ", number("first")), h("label", {}, " to ", number("last"))));
    if (data.runs.filter((run) => run.samples.length).length > 1) bar.append(h("label", {}, "run ",
      h("select", { on: { change: (e) => { browse.run = e.target.value; again(); } } },
        h("option", { value: "" }, "all"), data.runs.map((run, r) => run.samples.length
          ? h("option", { value: r }, run.name) : null))));
    if (known.length) bar.append(h("label", {}, "colour ", h("select",
      { on: { change: (e) => { browse.color = e.target.value; drawAnswers(); } } },
      known.map((name) => h("option", { value: name }, name)), h("option", { value: "" }, "none"))));
    bar.append(h("label", {}, h("input", { type: "checkbox",
      on: { change: (e) => { browse.together = e.target.checked; again(); } } }), " the same prompt together"),
    h("span", { id: "pl-count", class: "note", role: "status" }), h("span", { id: "pl-scale", class: "note" }));
    browse.color = known[0] || "";
    bar.hidden = false;
    drawAnswers();
  }

  // ---- A page that is fed while it is open ------------------------------------------------------
  const POINTS = 4000; // of a curve that grows; beyond, pairs become their extremes

  function addPoint(found, step, value) {
    found[0].push(step);
    found[1].push(value);
    if (found[0].length <= POINTS) return;
    const xs = [], ys = [];
    for (let i = 0; i < found[0].length; i += 4) {
      const part = [0, 1, 2, 3].map((j) => i + j).filter((j) => j < found[0].length);
      const low = part.reduce((a, b) => found[1][b] < found[1][a] ? b : a);
      const high = part.reduce((a, b) => found[1][b] > found[1][a] ? b : a);
      for (const j of low === high ? [low] : [Math.min(low, high), Math.max(low, high)]) {
        xs.push(found[0][j]);
        ys.push(found[1][j]);
      }
    }
    found[0] = xs;
    found[1] = ys;
  }

  const numbers = { NaN: true, Infinity: true, "-Infinity": true };
  function addRow(run, row) {
    for (const [name, value] of Object.entries(row)) {
      if (name === "step" || name === "time") continue;
      if (typeof value === "number" || numbers[value]) {
        if (!run.metrics[name]) { location.reload(); return; } // a curve more
        if (typeof value === "number") addPoint(run.metrics[name], row.step, value);
        else run.metrics[name][2].push(row.step);
      }
    }
    if (typeof row.time === "number") addPoint(run.time, row.step, row.time);
    const kl = row["objective/kl"], score = row["objective/raw_scores"] ?? row["objective/scores"];
    if (typeof kl === "number" && typeof score === "number") {
      [kl, score, row.step].forEach((x, i) => run.order[i].push(x));
      if (run.order[0].length > POINTS)
        run.order = run.order.map((list) => list.filter((_, i) => i % 2 === list.length % 2));
    }
  }

  function tell(text, bad) {
    const line = byId("pl-answer");
    line.textContent = text;
    line.className = bad ? "bad" : "";
  }

  async function ask(what, more) {
    const run = byId("pl-which") ? +byId("pl-which").value : data.live.run;
    tell("…");
    try {
      const reply = await fetch("do", { method: "POST", headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ do: what, run, ...more }) });
      const got = await reply.json();
      tell(got.text, !got.ok);
    } catch (error) {
      tell("perilune watch does not answer: " + error.message, true);
    }
  }

  function panel() {
    const bar = byId("pl-live");
    const button = (text, what) => h("button", { type: "button", on: { click: () => ask(what) } }, text);
    let sure = false;
    const stop = h("button", { type: "button", class: "danger", on: { click: () => {
      if (!sure) {
        sure = true;
        stop.textContent = "Stop: sure?";
        setTimeout(() => { sure = false; stop.textContent = "Stop"; }, 5000);
        return;
      }
      ask("stop");
    } } }, "Stop");
    const keys = h("datalist", { id: "pl-keys" }, data.live.keys.map((key) => h("option", { value: key })));
    const key = h("input", { list: "pl-keys", size: 16, required: true, autocomplete: "off", spellcheck: "false" });
    const value = h("input", { size: 18, required: true, autocomplete: "off", spellcheck: "false" });
    bar.append(h("div", { id: "pl-state", role: "status" }),
      h("div", { class: "row" }, button("Pause", "pause"), button("Continue", "continue"),
        button("Checkpoint", "checkpoint"), stop),
      h("form", { class: "row", on: { submit: (event) => {
        event.preventDefault();
        ask("set", { key: key.value.trim(), value: value.value.trim() });
      } } }, h("label", {}, "set ", key), h("label", {}, "to ", value), keys,
      h("button", {}, "Change")),
      h("div", { id: "pl-answer", role: "status" }));
    bar.hidden = false;
  }

  function stateLine(state) {
    const run = data.runs[data.live.run];
    const text = [run ? run.name : "", state.state, state.total ? "step " + state.step + " of " + state.total
      : state.step ? "step " + state.step : "", state.left ? seconds(state.left) + " left" : ""];
    byId("pl-state").textContent = text.filter(Boolean).join(" · ");
    document.body.dataset.state = state.state;
  }

  // The last alarm of each kind, with how often it rang; the last changes.
  function shownOf(field, run) {
    if (field !== "alarms") return run[field].slice(-200);
    const kinds = new Map();
    for (const one of run.alarms) {
      const name = one.text.split(":")[0], before = kinds.get(name);
      kinds.set(name, { ...one, count: before ? before.count + 1 : 1, first: before ? before.first : one.step });
    }
    return kinds.values();
  }

  function lists() {
    for (const [id, field, line] of [
      ["pl-alarms", "alarms", (run, one) => h("div", { class: "card alarm" },
        (data.runs.length > 1 ? run.name + ", " : "") + "step " + show(one.step) +
        (one.count > 1 ? " (" + one.count + " times since step " + show(one.first) + ")" : "") + ": " + one.text)],
      ["pl-changes", "changes", (run, one) => h("div", { class: "change" },
        (data.runs.length > 1 ? run.name + ", " : "") + "step " + show(one.step) + ": " + one.text)]]) {
      const box = byId(id);
      if (!box) continue;
      clear(box);
      for (const run of data.runs) for (const one of shownOf(field, run)) box.append(line(run, one));
    }
  }

  // The table of runs anew: state, step and the last figures.
  function overview() {
    const last = (run, names) => {
      const name = names.find((one) => run.metrics[one] && run.metrics[one][1].length);
      return name ? run.metrics[name][1].at(-1) : null;
    };
    const shown = data.figures.filter(([, names]) => data.runs.some((run) => last(run, names) != null));
    const cell = (text) => h("td", {}, text);
    clear(byId("pl-overview")).append(h("div", { class: "card scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, ["run", "state", "step", ...shown.map(([label]) => label)]
        .map((text) => h("th", {}, text)))),
      h("tbody", {}, data.runs.map((run) => h("tr", {}, cell(run.name), cell(run.state), cell(show(run.step)),
        shown.map(([, names]) => cell(last(run, names) == null ? "" : show(last(run, names))))))))));
  }

  function follow() {
    panel();
    stateLine(data.live);
    overview();
    const events = new EventSource("events?after=" + data.live.after);
    const on = (name, f) => events.addEventListener(name, (event) => f(JSON.parse(event.data)));
    let answersDue = null;
    on("rows", (got) => {
      const run = data.runs[got.run];
      for (const row of got.rows) { addRow(run, row); run.step = row.step; }
      overview();
      drawSoon();
    });
    on("samples", (got) => {
      const list = data.runs[got.run].samples;
      if (!byId("pl-answers")) { location.reload(); return; }
      list.push(...got.rows);
      if (list.length > 2000) list.splice(0, list.length - 2000);
      if (answersDue) return;
      answersDue = setTimeout(() => { // not while somebody reads by keyboard or picks a filter
        answersDue = null;
        measureScale();
        if (!byId("pl-answers").contains(document.activeElement)) drawAnswers();
      }, 1000);
    });
    for (const field of ["alarms", "changes"]) on(field, (got) => {
      data.runs[got.run][field].push(...got.rows);
      lists();
      drawAll();
    });
    on("state", (got) => {
      Object.assign(data.live, got);
      data.runs[got.run].state = got.state;
      stateLine(got);
      overview();
    });
    on("reload", () => location.reload());
    events.addEventListener("error", () => {
      byId("pl-state").textContent = "perilune watch does not answer; the page tries again";
      document.body.dataset.state = "lost";
    });
    events.addEventListener("open", () => stateLine(data.live));
    addEventListener("beforeunload", () => events.close());
  }

  // ---- Begin ------------------------------------------------------------------------------------
  data.charts.forEach(makeChart);
  controls();
  browser();
  if (data.live) follow();
  document.documentElement.classList.add("ready");
  for (const more of document.querySelectorAll("details")) more.addEventListener("toggle", drawAll);
  new ResizeObserver(() => {
    if (charts.some((c) => c.box.clientWidth > 0 && widthOf(c) !== c.width)) drawAll();
  }).observe(document.querySelector("main"));
})();
