"use strict";
// Two checkpoints: what became of each tensor, and how far it went.

const STATUSES = {
  same: ["Same", "same"],
  changed: ["Changed", "change-2"],
  shape: ["Other shape or type", "optimizer"],
  renamed: ["Renamed", "renamed"],
  only_in_a: ["Only in A", "slots"],
  only_in_b: ["Only in B", "averages"],
};
// Up to which relative distance each class of change goes.
const CHANGES = [
  [0.01, "Changed by < 1 %"], [0.1, "Changed by < 10 %"], [0.5, "Changed by < 50 %"], [Infinity, "Changed by \u2265 50 %"],
];

function comparisonModel(data) {
  const total = data.name.length;
  const { distances } = data;
  const relative = (id) => {
    const found = distances && distances[id];
    return found && found[1] !== null ? Number(found[1]) : null;
  };
  const categories = [];
  const start = {};
  for (const status of data.statuses) {
    start[status] = categories.length;
    const [title, colour] = STATUSES[status];
    if (status === "changed" && distances) CHANGES.forEach(([, each], place) => categories.push({ title: each, colour: "change-" + place }));
    // Also with values: strings, and what has no norm to compare with.
    categories.push({ title: status === "changed" && distances ? "Changed, not measured" : title, colour });
  }
  for (const category of categories) category.about = "Show or hide: " + category.title.toLowerCase();
  const categoryOf = data.status.map((status, id) => {
    const first = start[data.statuses[status]];
    if (data.statuses[status] !== "changed" || !distances) return first;
    const far = relative(id);
    return first + (far === null ? CHANGES.length : CHANGES.findIndex(([limit]) => far < limit));
  });
  const both = (list, id, text) => {
    const [a, b] = list[id];
    if (a === null || b === null) return text(a === null ? b : a);
    return text(a) === text(b) ? text(a) : text(a) + " \u2192 " + text(b);
  };
  const shapes = (id) => both(data.shape, id, shapeText);
  const types = (id) => both(data.type, id, (type) => type);
  const percent = (id) => { const far = relative(id); return far === null ? "" : number(100 * far) + " %"; };
  const measure = (title, place) => ({
    title, right: true, width: "7rem", cell: (id) => (distances[id] ? number(distances[id][place]) : ""),
    sort: (id) => (distances[id] && distances[id][place] !== null ? Number(distances[id][place]) : null),
  });
  // What is gravest, first: what is gone, what came, what has another shape.
  const weight = { same: 0, renamed: 1, changed: 2, shape: 3, only_in_b: 4, only_in_a: 5 };
  const hasRenamed = Object.keys(data.was).length > 0;
  const columns = [
    { title: "Name", width: "minmax(14rem, 3fr)", narrow: true, cell: (id) => scopedName(data.name[id]), sort: (id) => data.name[id] },
    hasRenamed ? { title: "In A", width: "minmax(9rem, 2fr)", cell: (id) => (data.was[id] === undefined ? "" : scopedName(data.was[id])), sort: (id) => data.was[id] } : null,
    { title: "What", width: "10rem", narrow: true, right: false, cell: (id) => categories[categoryOf[id]].title, sort: (id) => weight[data.statuses[data.status[id]]] },
    distances ? { title: "Change", width: "7rem", right: true, narrow: true, cell: percent, sort: relative } : null,
    distances ? measure("Norm", 0) : null,
    distances ? measure("Largest", 2) : null,
    distances ? measure("Elements", 3) : null,
    { title: "Type", width: "7rem", cell: types },
    { title: "Shape", width: "minmax(7rem, 10rem)", cell: shapes },
    { title: "Bytes", width: "6.5rem", right: true, cell: (id) => bytes(data.bytes[id]), sort: (id) => data.bytes[id] },
  ].filter((column) => column);
  const wanted = distances ? "Change" : "What";
  return {
    total, columns, categories, categoryOf,
    sortedBy: columns.findIndex((column) => column.title === wanted),
    hint: "name or [3, 4]",
    children: new Map(),
    sizeOf: data.bytes,
    hierarchies: data.trees.map((tree) => new Hierarchy(tree, data.name)),
    nameOf: (id) => data.name[id],
    colourOf: (id) => categories[categoryOf[id]].colour,
    titleOf: (id) => categories[categoryOf[id]].title.toLowerCase(),
    texts: (id) => [data.name[id], data.was[id] || "", types(id)],
    shapesOf: (id) => data.shape[id].filter((shape) => shape !== null),
    special: () => null,
    detail: (id) => {
      const found = distances && distances[id];
      return [
        element("h3", {}, name(data.name[id])),
        facts([
          ["what", element("span", { class: "dot " + categories[categoryOf[id]].colour, "aria-hidden": "true" }), categories[categoryOf[id]].title],
          ["name in A", data.was[id] === undefined ? null : name(data.was[id])],
          ["type", types(id)], ["shape", shapes(id)], ["bytes", bytes(data.bytes[id])],
          ["norm of the difference", found ? number(found[0]) : null],
          ["of the norm in A", found ? percent(id) : null],
          ["largest difference", found ? number(found[2]) : null],
          ["elements that differ", found ? count(found[3]) : null],
        ]),
      ];
    },
  };
}

function comparisonSection(data) {
  const side = (letter, { path, format, step, tensors, bytes: size }) => [
    letter, name(path), ", " + FORMATS[format] + (step === null ? "" : ", step " + count(step)) + ", " + plural(tensors, "tensor") + ", " + bytes(size),
  ];
  const counts = data.statuses
    .map((status, place) => [STATUSES[status][0], data.status.filter((each) => each === place).length])
    .filter(([, amount]) => amount).map(([title, amount]) => [title, count(amount)]);
  const explorer = new Explorer(comparisonModel(data));
  return {
    explorer,
    element: section("What differs",
      facts([side("A", data.a), side("B", data.b)]), facts(counts),
      data.distances ? null : element("p", { class: "found" }, "Values are compared by their checksums. How far they are from each other, --values says."),
      problemBox(data.problems), explorer.element),
  };
}
