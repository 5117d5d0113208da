"use strict";
// A warm start: from where each variable began, what was left, and what nearly matched.

function warmStartSection(data) {
  const started = data.started, left = data.left_in_graph, unused = data.left_in_checkpoint;
  const shape = (row) => (row.shape ? shapeText(row.shape) : "?");
  const text = (title, of, width, narrow) => ({ title, width, narrow, cell: (row) => (of(row) ? name(String(of(row))) : ""), sort: (row) => of(row) });
  const named = (title, of, width) => ({ title, width, narrow: true, cell: (row) => scopedName(String(of(row) || "")), sort: (row) => of(row) });
  const kinds = [text("Type", (row) => row.dtype, "6rem", true), { title: "Shape", width: "minmax(6rem, 9rem)", narrow: true, cell: shape, sort: shape }];
  const hasVocabulary = started.some((row) => row.vocabulary);
  const vocabulary = ({ vocabulary: change }) => (!change ? "" : change.entries_kept === undefined
    ? count(change.entries) + " entries" : count(change.entries_kept) + " of " + count(change.entries) + " entries kept");
  const near = left.filter((row) => row.nearest).length;
  const search = element("input", { type: "search", id: freshId("search"), placeholder: "variable, tensor or reason", autocomplete: "off", spellcheck: "false" });
  const tables = [
    [started, "Started", [
      named("Variable", (row) => row.variable, "minmax(12rem, 3fr)"), named("From", (row) => row.from, "minmax(12rem, 3fr)"), ...kinds,
      text("Matched by", (row) => row.matched_by, "minmax(8rem, 2fr)"),
      hasVocabulary ? { title: "Vocabulary", width: "13rem", cell: vocabulary } : null]],
    [left, "Not started", [
      named("Variable", (row) => row.name, "minmax(12rem, 3fr)"), ...kinds, text("Why", (row) => row.reason, "minmax(12rem, 3fr)", true),
      near ? named("Nearest of its kind", (row) => row.nearest, "minmax(12rem, 3fr)") : null]],
    [unused, "Not used of the checkpoint", [
      named("Tensor", (row) => row.name, "minmax(12rem, 3fr)"), ...kinds, text("Why", (row) => row.reason, "minmax(12rem, 3fr)", true)]],
  ].filter(([rows]) => rows.length).map(([rows, title, columns]) => {
    const byId = (column) => ({ ...column, cell: (id) => column.cell(rows[id]), sort: (id) => (column.sort || column.cell)(rows[id]) });
    const table = new Table({ label: title, columns: columns.filter((column) => column).map(byId), onSelect: () => {} });
    table.element.classList.add("short");
    const hay = rows.map((row) => JSON.stringify(Object.values(row)).toLowerCase());
    const heading = element("h3", {});
    const show = () => {
      const wanted = search.value.trim().toLowerCase();
      const ids = rows.map((_, id) => id).filter((id) => hay[id].includes(wanted));
      heading.textContent = title + ", " + (ids.length === rows.length ? count(rows.length) : count(ids.length) + " of " + count(rows.length));
      table.show(ids);
    };
    return { element: element("div", {}, heading, table.element), show };
  });
  const start = () => tables.forEach((table) => table.show());
  search.addEventListener("input", calm(120, start));
  const total = started.length + left.length;
  const share = total ? (100 * started.length) / total : 0;
  const bar = element("div", {
    class: "share", role: "img", "aria-label": count(started.length) + " of " + plural(total, "variable") + " started",
  }, element("div", { class: "weights" }));
  bar.firstChild.style.width = share.toFixed(2) + "%";
  return {
    start,
    element: section("Warm start",
      facts([
        ["from", name(String(data.checkpoint))],
        ["started", count(started.length) + " of " + plural(total, "variable")],
        ["nearly matched", near ? count(near) : null],
        ["not used", plural(unused.length, "tensor")],
      ]),
      bar, problemBox(data.problems.map(String)),
      element("div", { class: "tools" }, element("label", { for: search.id }, "Find in these"), search),
      tables.map((table) => table.element)),
  };
}
