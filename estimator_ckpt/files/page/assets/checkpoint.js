"use strict";
// One checkpoint: what it is, its explorer, and what is known of a tensor.

const COLOURS = ["weights", "slots", "optimizer", "averages", "other"];
const FORMATS = { tf1: "name-based (TF1)", tf2: "object-based (TF2)", dual: "dual: by name (TF1) and by object (TF2)" };
const KEY_END = "/.ATTRIBUTES/VARIABLE_VALUE";

/** A component of an object path as it stands in keys. */
function escaped(text) {
  return text.replaceAll(".", "..").replaceAll("/", ".S");
}

/** A checkpoint's tensors by row, from the columns of checkpoint_section.py. */
class Tensors {
  constructor(columns) {
    this.total = columns.name.length;
    this.name = columns.name;
    this.bytes = columns.bytes;
    this.category = columns.category;
    this.of = columns.of;
    this.offset = columns.offset;
    this.slices = columns.slices;
    for (const each of ["dtype", "shape", "slot", "optimizer", "file", "trouble"]) this[each] = column(columns[each]);
    this.codedPaths = column(columns.paths);
    this.codedKeys = column(columns.keys);
    this.hasPaths = columns.paths.distinct.some((paths) => paths.length);
    this.hasTrouble = columns.trouble.distinct.some((trouble) => trouble);
  }

  paths(id) {
    const own = this.name[id];
    return this.codedPaths(id).map((path) => (
      path === 0 ? "var_list/" + escaped(own) : path === 1 ? own.replaceAll(".", "..") : path));
  }

  /** The path that says most: the name itself, where it is one of them. */
  path(id) {
    const place = this.codedPaths(id).indexOf(1);
    return this.paths(id)[Math.max(place, 0)];
  }

  keys(id) {
    const paths = this.paths(id);
    return this.codedKeys(id).map((key) => (
      typeof key === "string" ? key : key === 0 ? this.name[id] : paths[key - 1] + KEY_END));
  }

  /** What has bytes: data file, offset, bytes, and for a slice, which. */
  parts(id) {
    return this.slices[id] || [[this.file(id), this.offset[id], this.bytes[id]]];
  }
}

/** The rows that are folded under each: slots and averages under their variable. */
function foldedUnder(of) {
  const children = new Map();
  of.forEach((variable, id) => {
    if (variable < 0 || of[variable] >= 0) return;
    if (!children.has(variable)) children.set(variable, []);
    children.get(variable).push(id);
  });
  return children;
}

/** Columns of what `--values` found. */
function valueColumns(values) {
  const column = (title, list, width) => ({
    title, right: true, width: width || "minmax(5rem, 7rem)",
    // The least of texts says nothing in a column; it stands in the detail.
    cell: (id) => (Number.isNaN(Number(list[id])) ? "" : number(list[id])), sort: (id) => (list[id] === null || Number.isNaN(Number(list[id])) ? null : Number(list[id])),
  });
  return [
    column("Min", values.min), column("Max", values.max), column("Mean", values.mean), column("Std", values.std),
    column("Zeros", values.zeros), column("NaN", values.nans, "4.5rem"), column("Inf", values.infinities, "4.5rem"),
  ];
}

function checkpointModel(data) {
  const tensors = new Tensors(data.tensors);
  const { values } = data;
  const { total } = tensors;
  const columns = [
    { title: "Name", width: "minmax(14rem, 3fr)", narrow: true, cell: (id) => scopedName(tensors.name[id]), sort: (id) => tensors.name[id] },
    tensors.hasPaths ? {
      title: "Object path", width: "minmax(8rem, 2fr)", sort: (id) => tensors.path(id),
      cell: (id) => { const path = tensors.path(id); return path === undefined ? "" : scopedName(path); },
    } : null,
    { title: "Type", width: "6rem", narrow: true, cell: (id) => tensors.dtype(id) },
    { title: "Shape", width: "minmax(6rem, 9rem)", narrow: true, cell: (id) => shapeText(tensors.shape(id)), sort: (id) => tensors.shape(id).reduce((a, b) => a * b, 1) },
    { title: "Bytes", width: "6.5rem", right: true, narrow: true, cell: (id) => bytes(tensors.bytes[id]), sort: (id) => tensors.bytes[id] },
    ...(values ? valueColumns(values) : []),
    { title: "File", width: "4.5rem", right: true, cell: (id) => [...new Set(tensors.parts(id).map((part) => part[0]))].join(", "), sort: (id) => tensors.parts(id)[0][0] },
    { title: "Offset", width: "8rem", right: true, cell: (id) => (tensors.slices[id] ? plural(tensors.slices[id].length, "part") : count(tensors.offset[id])), sort: (id) => tensors.parts(id)[0][1] },
    tensors.hasTrouble ? { title: "Data", width: "6rem", cell: (id) => (tensors.trouble(id) || "").toUpperCase() } : null,
  ].filter((column) => column);
  const categories = data.categories.map((title, place) => ({ title, colour: COLOURS[place], about: "Show or hide: " + title.toLowerCase() }));
  return {
    total, columns, categories, children: foldedUnder(tensors.of),
    hint: values ? "name, path, [3, 4], nan or inf" : "name, path or [3, 4]",
    sizeOf: tensors.bytes,
    categoryOf: tensors.category,
    hierarchies: data.trees.map((tree) => new Hierarchy(tree, tensors.name)),
    nameOf: (id) => tensors.name[id],
    colourOf: (id) => COLOURS[tensors.category[id]],
    titleOf: (id) => data.categories[tensors.category[id]].toLowerCase(),
    texts: (id) => [tensors.name[id], ...tensors.paths(id), ...tensors.keys(id), tensors.dtype(id)],
    shapesOf: (id) => [tensors.shape(id)],
    special: (word) => specialWord(word, values),
    detail: (id) => tensorDetail(tensors, data, id),
  };
}

/** What "nan" and "inf" find. */
function specialWord(word, values) {
  const list = word === "nan" ? "nans" : word === "inf" || word === "infinity" ? "infinities" : null;
  if (!list) return null;
  if (!values) return { remark: "The values were not read (--values), only names are searched" };
  return { finds: (id) => values[list][id] > 0 };
}

/** All that is known of a tensor. */
function tensorDetail(tensors, data, id) {
  const { values } = data;
  const of = tensors.of[id];
  const list = (texts) => element("ul", {}, texts.map((text) => element("li", {}, name(text))));
  const places = tensors.parts(id).map(([file, offset, size, slice]) => {
    const where = data.data_files[file];
    return element("li", {}, where ? name(where.path) : "data file " + file, ", offset " + count(offset) + ", " + bytes(size), slice === undefined ? null : ", slice " + slice);
  });
  const shownPlaces = places.slice(0, 50);
  if (places.length > 50) shownPlaces.push(element("li", {}, "and " + count(places.length - 50) + " more"));
  return [
    element("h3", {}, name(tensors.name[id])),
    facts([
      ["kind", element("span", { class: "dot " + COLOURS[tensors.category[id]], "aria-hidden": "true" }), data.categories[tensors.category[id]]],
      ["of", of >= 0 ? name(tensors.name[of]) : null],
      ["slot", tensors.slot(id) ? name(tensors.slot(id)) : null],
      ["optimizer", tensors.optimizer(id) ? name(tensors.optimizer(id)) : null],
      ["type and shape", tensors.dtype(id) + " " + shapeText(tensors.shape(id))],
      ["bytes", bytes(tensors.bytes[id]) + (tensors.bytes[id] >= 1024 ? " (" + count(tensors.bytes[id]) + ")" : "")],
      ["data", tensors.trouble(id) ? tensors.trouble(id).toUpperCase() : null],
      ["object paths", tensors.hasPaths && tensors.paths(id).length ? list(tensors.paths(id)) : null],
      ["keys", list(tensors.keys(id))],
      ["place", element("ul", {}, shownPlaces)],
    ]),
    ...(values ? valueDetail(values, id) : []),
  ];
}

function valueDetail(values, id) {
  if (values.count[id] === null) return [element("p", { class: "empty" }, "Its values were not read.")];
  return [
    histogram(values, id) || "",
    facts([
      ["values", count(values.count[id])], ["minimum", number(values.min[id])], ["maximum", number(values.max[id])],
      ["mean", number(values.mean[id])], ["standard deviation", number(values.std[id])], ["norm", number(values.norm[id])],
      ["zeros", count(values.zeros[id])], ["NaN", count(values.nans[id])], ["infinite", count(values.infinities[id])],
    ]),
  ];
}

/** A histogram of the finite values. */
function histogram(values, id) {
  const bins = values.bins[id];
  if (!bins || !bins.length || values.low[id] === values.high[id]) return null;
  const most = Math.max(...bins);
  const wide = 480, high = 120, step = wide / bins.length;
  const bars = bins.map((amount, place) => {
    const tall = most ? (amount / most) * high : 0;
    // One value among a million is seen all the same.
    const shown = amount ? Math.max(tall, 1.5) : 0;
    return drawn("rect", { x: place * step + 0.5, y: high - shown, width: step - 1, height: shown, class: "bar" });
  });
  const low = number(values.low[id]), top = number(values.high[id]);
  const label = "Histogram from " + low + " to " + top + "; the fullest of " + bins.length + " bins has " + plural(most, "value");
  return element("figure", { class: "histogram" },
    drawn("svg", { viewBox: "0 0 " + wide + " " + high, role: "img", "aria-label": label, preserveAspectRatio: "none" }, bars),
    element("figcaption", {}, element("span", {}, low), element("span", {}, "fullest bin: " + count(most)), element("span", {}, top)));
}

function checkpointSection(data, heading) {
  const files = data.data_files;
  const present = files.filter((file) => file.bytes !== null);
  const missing = files.length - present.length;
  const cut = files.filter((file) => file.is_cut).length;
  const explorer = new Explorer(checkpointModel(data));
  const made = section(
    heading,
    facts([
      ["path", name(data.path)],
      ["format", FORMATS[data.format] + (data.is_v1 ? ", in files of the old format V1" : "")],
      ["step", data.step === null ? null : count(data.step)],
      ["tensors", count(data.tensors.name.length) + ", " + bytes(data.tensors.bytes.reduce((a, b) => a + b, 0))],
      ["objects", data.objects === null ? null : count(data.objects)],
      ["data files", count(present.length) + ", " + bytes(present.reduce((sum, file) => sum + file.bytes, 0))
        + (missing ? "; " + count(missing) + " MISSING" : "") + (cut ? "; " + count(cut) + " CUT" : "")],
      ["index", data.is_v1 ? null : bytes(data.index_bytes)],
      ["written by", data.tensorflow_version ? "TensorFlow " + data.tensorflow_version : null],
    ]),
    problemBox(data.problems), explorer.element);
  return { element: made, explorer };
}
