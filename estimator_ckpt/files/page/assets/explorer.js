"use strict";
// A treemap, a table and a tree of the same tensors: what is selected in one is in all.

/**
 * Makes an explorer.
 *
 * `model` has, for tensors numbered from 0 to `total` - 1: `nameOf(id)`, `sizeOf` (a
 * list), `categoryOf` (a list of numbers), `categories` (each `title`, `colour`, a class,
 * and `about`), `colourOf(id)`, `titleOf(id)`, `texts(id)` (what a search looks in),
 * `shapesOf(id)`, `special(word)` (what a word like "nan" finds: a function or null),
 * `columns`, `children`, `hierarchies`, and `detail(id)` (elements).
 */
class Explorer {
  constructor(model) {
    this.model = model;
    model.isShown = new Uint8Array(model.total).fill(1);
    this.hiddenCategories = new Set();
    this.detail = element("div", { class: "detail", id: freshId("detail") });
    const select = (from) => (id) => this.select(id, from);
    this.table = new Table({ label: "Tensors", columns: model.columns, children: model.children, onSelect: select("table") });
    this.treemap = new Treemap({ model, onSelect: select("treemap") });
    this.tree = new Tree({
      label: "Tree", onSelect: select("tree"), mark: (id) => model.colourOf(id),
      onOpen: (node) => this.treemap.goTo(node, false),
    });
    this.search = element("input", {
      type: "search", id: freshId("search"), placeholder: model.hint, autocomplete: "off", spellcheck: "false",
      oninput: calm(120, () => this.filter()),
    });
    this.found = element("p", { class: "found" });
    this.hierarchy = model.hierarchies[0];
    this.element = element(
      "div", { class: "explorer" },
      element("div", { class: "tools", role: "search" },
        element("label", { for: this.search.id }, "Find"), this.search, this.legend(), this.choice(), this.found),
      element("div", { class: "panes" },
        element("div", { class: "pane maps" },
          this.pane("Bytes", this.treemap.element), this.pane("Tree", this.tree.element)),
        element("div", { class: "pane lists" },
          this.pane("Tensors", this.table.element), this.pane("Selected", this.detail))));
    this.detail.append(element("p", { class: "empty" }, "Nothing is selected yet."));
  }

  pane(title, content) {
    return section(title, content);
  }

  legend() {
    const { model } = this;
    const counts = model.categories.map(() => 0);
    for (let id = 0; id < model.total; id += 1) counts[model.categoryOf[id]] += 1;
    return element("div", { class: "legend", role: "group", "aria-label": "Show" }, model.categories.map((category, place) => (
      counts[place] ? element("button", {
        type: "button", "aria-pressed": "true", title: category.about,
        onclick: (event) => this.toggle(place, event.currentTarget),
      }, element("span", { class: "dot " + category.colour, "aria-hidden": "true" }), category.title, " ", element("small", {}, count(counts[place]))) : null
    )));
  }

  toggle(category, button) {
    const hides = !this.hiddenCategories.has(category);
    if (hides) this.hiddenCategories.add(category);
    else this.hiddenCategories.delete(category);
    button.setAttribute("aria-pressed", String(!hides));
    this.filter();
  }

  choice() {
    const { hierarchies } = this.model;
    if (hierarchies.length < 2) return null;
    const id = freshId("by");
    return element("div", { class: "by" }, element("label", { for: id }, "Group by"),
      element("select", { id, onchange: (event) => this.group(event.target.selectedIndex) },
        hierarchies.map((each) => element("option", {}, each.title.toLowerCase()))));
  }

  group(place) {
    this.hierarchy = this.model.hierarchies[place];
    this.arrange();
    if (this.selected !== undefined) this.select(this.selected, null);
  }

  /** Draws everything, once it is part of the page. */
  start() {
    if (this.model.sortedBy !== undefined) this.table.sorted = { column: this.model.sortedBy, down: true };
    this.table.drawHeader();
    this.filter();
  }

  filter() {
    const { model } = this;
    const matches = this.matcher(this.search.value);
    const ids = [];
    let size = 0;
    for (let id = 0; id < model.total; id += 1) {
      const isShown = !this.hiddenCategories.has(model.categoryOf[id]) && (!matches || matches(id));
      model.isShown[id] = isShown ? 1 : 0;
      if (isShown) {
        ids.push(id);
        size += model.sizeOf[id];
      }
    }
    const all = ids.length === model.total ? "" : " of " + count(model.total);
    this.found.textContent = count(ids.length) + all + (model.total === 1 ? " tensor, " : " tensors, ") + bytes(size)
      + (this.remark ? ". " + this.remark : "");
    if (ids.length !== model.total || this.wasFiltered) say(this.found.textContent);
    this.wasFiltered = ids.length !== model.total;
    this.table.show(ids);
    this.arrange();
  }

  arrange() {
    const { hierarchy, model } = this;
    hierarchy.prepare();
    hierarchy.measure(model.isShown, model.sizeOf);
    this.tree.showsAll = !this.wasFiltered;
    this.tree.show(hierarchy);
    this.treemap.show(hierarchy);
  }

  /** What a search finds: a word of `special`, a shape, or a part of a name or path. */
  matcher(typed) {
    const { model } = this;
    const text = typed.trim().toLowerCase();
    this.remark = "";
    if (!text) return null;
    const special = model.special(text);
    if (special) {
      this.remark = special.remark || "";
      return (id) => (special.finds && special.finds(id)) || this.haystack(id).includes(text);
    }
    const shape = shapePattern(text);
    if (shape) {
      return (id) => model.shapesOf(id).some((each) => fits(each, shape)) || this.haystack(id).includes(text);
    }
    const words = text.split(/\s+/);
    return (id) => {
      const hay = this.haystack(id);
      return hay.includes(text) || words.every((word) => hay.includes(word));
    };
  }

  haystack(id) {
    this.hay = this.hay || [];
    if (this.hay[id] === undefined) this.hay[id] = this.model.texts(id).join("\n").toLowerCase();
    return this.hay[id];
  }

  select(id, from) {
    this.selected = id;
    if (from === "table") this.table.selected = id;
    else this.table.select(id);
    if (from !== "tree") this.tree.select(id);
    this.treemap.select(id);
    this.detail.replaceChildren(...this.model.detail(id));
    if (from === "treemap") say("Selected " + visible(this.model.nameOf(id)));
    if (this.onSelect) this.onSelect(id);
  }
}

/** The shape that was typed, as "[3, ?]" or "3x4"; null where it is none. */
function shapePattern(text) {
  const inner = /^[[(]\s*(.*?)\s*,?\s*[\])]$/.exec(text);
  const plain = /^[\d?]+(\s*[x\u00d7,]\s*[\d?]+)+$/.exec(text);
  if (!inner && !plain) return null;
  const parts = (inner ? inner[1] : text).split(/[x\u00d7,\s]+/).filter((part) => part);
  return parts.every((part) => /^(\d+|\?)$/.test(part)) ? parts : null;
}

function fits(shape, pattern) {
  return shape.length === pattern.length && pattern.every((part, axis) => part === "?" || Number(part) === shape[axis]);
}
