"use strict";
// A directory of checkpoints: a time line, a table, and norms from one to the next.

function directorySection(data) {
  const all = data.checkpoints;
  const places = new Map(data.best.map((place) => [place.path, place]));
  for (const each of all) {
    each.name = each.path.slice(each.path.lastIndexOf("/") + 1);
    each.best = each.best.map(({ path, rank }) => {
      const { metric, checkpoints } = places.get(path);
      return { rank, metric, value: checkpoints[rank - 1].metrics[metric], among: places.size > 1 ? path.slice(path.lastIndexOf("/") + 1) : "" };
    });
  }
  const size = all.reduce((sum, each) => sum + each.bytes, 0);
  const notes = [
    ...data.gone.map((path) => ["listed and not there", path]),
    ...data.leftovers.map((left) => ["left over, or being written", left]),
  ];
  const parts = [
    facts([
      ["path", name(data.path)], ["checkpoints", plural(all.length, "checkpoint") + ", " + bytes(size)],
      ["best by", data.best.map(({ metric, mode }, place) => [place ? ", " : "", name(metric), " (" + mode + ")"])],
    ]),
    problemBox(data.problems),
    all.length ? timeLine(data) : null,
    all.length ? checkpointTable(data) : null,
    notes.length ? element("ul", { class: "notes" }, notes.map(([what, which]) => element("li", {}, what + ": ", name(which)))) : null,
  ];
  let norms = null;
  if (data.norms && data.norms.name.length && all.length > 1) {
    norms = new Norms(data);
    parts.push(norms.element);
  }
  return { element: section("Checkpoints", parts), norms };
}

/** Where each checkpoint stands, from 0 to 1: by its step, or by its time. */
function placesOf(all) {
  const hasSteps = all.every((each) => each.step !== null) && new Set(all.map((each) => each.step)).size > 1;
  const values = all.map((each) => (hasSteps ? each.step : each.saved));
  const low = Math.min(...values), high = Math.max(...values);
  return { unit: hasSteps ? "step" : "time", places: values.map((value) => (high > low ? (value - low) / (high - low) : 0.5)) };
}

/** What is to be known of a checkpoint besides its step, in words. */
function marksOf(each) {
  const marks = [];
  if (each.latest) marks.push("latest");
  else if (each.listed) marks.push("listed");
  for (const { rank, among } of each.best) marks.push("best" + (among ? " in " + visible(among) : "") + (rank > 1 ? ", number " + rank : ""));
  if (each.format === null) marks.push("damaged");
  else if (each.problems.length) marks.push(plural(each.problems.length, "problem"));
  return marks;
}

function stepText(each) {
  return each.step === null ? "no step" : "step " + count(each.step);
}

function timeLine(data) {
  const all = data.checkpoints;
  const { unit, places } = placesOf(all);
  const frame = element("div", {});
  new ResizeObserver(() => frame.replaceChildren(timeLineDrawn(all, unit, places, frame.clientWidth))).observe(frame);
  return element("figure", { class: "timeline" }, frame,
    element("figcaption", {},
      "By " + unit + "; areas are bytes. ",
      [["tf1", "TF1"], ["tf2", "TF2"], ["dual", "dual"], ["bad", "with problems"]].map(([kind, text]) => (
        element("span", { class: "key" }, element("span", { class: "dot " + kind, "aria-hidden": "true" }), text, " "))),
      "A ring is the latest, a star one of the best."));
}

function timeLineDrawn(all, unit, places, wide) {
  const high = 86, edge = 40, line = 46;
  const largest = Math.max(...all.map((each) => each.bytes), 1);
  const shapes = [drawn("line", { x1: edge, y1: line, x2: wide - edge, y2: line, class: "axis" })];
  let lastLabel = -Infinity;
  all.forEach((each, place) => {
    const x = edge + places[place] * (wide - 2 * edge);
    const radius = 4 + 8 * Math.sqrt(each.bytes / largest);
    const kind = each.format === null || each.problems.length ? "bad" : each.format;
    const title = drawn("title", {}, [visible(each.name), stepText(each), each.format || "damaged", bytes(each.bytes), ...marksOf(each)].join(", "));
    shapes.push(drawn("circle", { cx: x, cy: line, r: radius, class: "point " + kind }, title));
    if (each.latest) shapes.push(drawn("circle", { cx: x, cy: line, r: radius + 4, class: "ring" }));
    if (each.best.length) shapes.push(drawn("text", { x, y: line - radius - 8, class: "star", "text-anchor": "middle" }, "\u2605"));
    if (x - lastLabel > 70) {
      shapes.push(drawn("text", { x, y: high - 6, "text-anchor": "middle" }, each.step === null ? "?" : count(each.step)));
      lastLabel = x;
    }
  });
  const label = "Time line of " + plural(all.length, "checkpoint") + " by " + unit + "; the table below has them all";
  return drawn("svg", { viewBox: "0 0 " + wide + " " + high, role: "img", "aria-label": label }, shapes);
}

function checkpointTable(data) {
  const all = data.checkpoints;
  const table = new Table({
    label: "Checkpoints",
    columns: [
      { title: "Checkpoint", width: "minmax(10rem, 2fr)", narrow: true, cell: (id) => name(all[id].name), sort: (id) => (all[id].step === null ? all[id].saved : all[id].step) },
      { title: "Step", width: "7rem", right: true, narrow: true, cell: (id) => (all[id].step === null ? "" : count(all[id].step)), sort: (id) => all[id].step },
      { title: "Format", width: "6rem", narrow: true, cell: (id) => all[id].format || "damaged" },
      { title: "Age", width: "7rem", right: true, cell: (id) => (all[id].saved ? age(data.now - all[id].saved) : ""), sort: (id) => -all[id].saved },
      { title: "Bytes", width: "7rem", right: true, narrow: true, cell: (id) => bytes(all[id].bytes), sort: (id) => all[id].bytes },
      { title: "State", width: "minmax(8rem, 1fr)", cell: (id) => marksOf(all[id]).join(", ") },
      data.best.length ? {
        title: "Metric", width: data.best.length > 1 ? "14rem" : "8rem", right: true, sort: (id) => (all[id].best.length ? all[id].best[0].value : null),
        cell: (id) => all[id].best.map(({ metric, value }) => (data.best.length > 1 ? visible(metric) + " " : "") + number(value)).join(", "),
      } : null,
      all.some((each) => each.problems.length) ? { title: "Problems", width: "minmax(12rem, 2fr)", cell: (id) => (all[id].problems.length ? name(all[id].problems.join("; ")) : "") } : null,
    ].filter((column) => column),
    onSelect: () => {},
  });
  table.element.classList.add("short");
  // It is drawn once it is part of the page.
  requestAnimationFrame(() => table.show(all.map((_, id) => id)));
  return table.element;
}

/** How each tensor's norm went from checkpoint to checkpoint. */
class Norms {
  constructor(data) {
    this.data = data;
    const { name: names, norm } = data.norms;
    const known = (id) => norm[id].filter((value) => value !== null).map(Number);
    const change = (id) => {
      const values = known(id);
      if (values.length < 2) return null;
      const first = values[0], last = values[values.length - 1];
      return first ? last / first : null;
    };
    this.figure = element("div", { class: "norm-figure" });
    this.search = element("input", { type: "search", id: freshId("search"), placeholder: "name", autocomplete: "off", spellcheck: "false", oninput: calm(120, () => this.filter()) });
    this.table = new Table({
      label: "Norms",
      columns: [
        { title: "Name", width: "minmax(14rem, 3fr)", narrow: true, cell: (id) => scopedName(names[id]), sort: (id) => names[id] },
        { title: "First", width: "7rem", right: true, narrow: true, cell: (id) => number(known(id)[0]), sort: (id) => known(id)[0] },
        { title: "Last", width: "7rem", right: true, narrow: true, cell: (id) => number(known(id).pop()), sort: (id) => known(id).pop() },
        { title: "Last / first", width: "7rem", right: true, narrow: true, cell: (id) => number(change(id)), sort: change },
        { title: "Course", width: "10rem", cell: (id) => this.line(id, 140, 22), sort: (id) => { const c = change(id); return c === null ? null : Math.abs(Math.log(c || 1e-300)); } },
      ],
      onSelect: (id) => this.draw(id),
    });
    this.element = section("Norms, from checkpoint to checkpoint",
      element("div", { class: "tools" }, element("label", { for: this.search.id }, "Find a tensor"), this.search),
      element("div", { class: "panes norm-panes" }, element("div", { class: "pane" }, this.table.element), element("div", { class: "pane" }, this.figure)));
    this.byName = new Map(names.map((each, id) => [each, id]));
    requestAnimationFrame(() => { this.filter(); this.draw(0); });
  }

  filter() {
    const wanted = this.search.value.trim().toLowerCase();
    const { name: names } = this.data.norms;
    this.table.show(names.map((_, id) => id).filter((id) => names[id].toLowerCase().includes(wanted)));
  }

  /** Goes to a tensor that was selected elsewhere. */
  select(text) {
    const id = this.byName.get(text);
    if (id === undefined) return;
    this.table.select(id);
    this.draw(id);
  }

  points(id, wide, high) {
    const values = this.data.norms.norm[id].map((value) => (value === null ? null : Number(value)));
    const { places } = placesOf(this.data.checkpoints);
    const finite = values.filter((value) => value !== null && Number.isFinite(value));
    const top = Math.max(...finite, 0) || 1;
    return values.map((value, place) => (
      value === null || !Number.isFinite(value) ? null : [places[place] * wide, high - (value / top) * high, value, place]));
  }

  /** Lines through neighbours that are both known. */
  lines(points) {
    const runs = [[]];
    for (const point of points) {
      if (point) runs[runs.length - 1].push(point[0].toFixed(1) + "," + point[1].toFixed(1));
      else if (runs[runs.length - 1].length) runs.push([]);
    }
    return runs.filter((run) => run.length > 1).map((run) => drawn("polyline", { points: run.join(" "), class: "course" }));
  }

  line(id, wide, high) {
    return drawn("svg", { viewBox: "-2 -2 " + (wide + 4) + " " + (high + 4), width: wide, height: high, "aria-hidden": "true" }, this.lines(this.points(id, wide, high)));
  }

  draw(id) {
    const wide = 480, high = 160;
    const points = this.points(id, wide, high);
    const present = points.filter((point) => point);
    const { name: names } = this.data.norms;
    const all = this.data.checkpoints;
    const dots = present.map(([x, y, value, place]) => drawn("circle", { cx: x, cy: y, r: 4, class: "course-point" },
      drawn("title", {}, visible(all[place].name) + ": " + number(value))));
    const label = "Norm of " + visible(names[id]) + ": " + present.map((point) => stepText(all[point[3]]) + " " + number(point[2])).join(", ");
    const most = present.length ? number(Math.max(...present.map((point) => point[2]))) : "";
    this.figure.replaceChildren(element("figure", { class: "norms" },
      element("p", {}, name(names[id])),
      drawn("svg", { viewBox: "-8 -8 " + (wide + 16) + " " + (high + 16), role: "img", "aria-label": label },
        drawn("line", { x1: 0, y1: high, x2: wide, y2: high, class: "axis" }), this.lines(points), dots),
      element("figcaption", {}, element("span", {}, stepText(all[0])), element("span", {}, "from 0 to " + most), element("span", {}, stepText(all[all.length - 1])))));
  }
}
