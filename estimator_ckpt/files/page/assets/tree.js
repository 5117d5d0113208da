"use strict";
// A tree of scopes or objects. Its lists of branches are those of hierarchy.py.

const NONE = [];

/** The branches of a tree, with what is below each, and where each tensor stands. */
class Hierarchy {
  constructor({ title, nodes }, names) {
    this.title = title;
    this.nodes = nodes;
    this.names = names;
  }

  /** Makes what the tree is used by; a tree that nobody looks at costs nothing. */
  prepare() {
    if (this.parent) return;
    const { nodes } = this;
    this.parent = nodes.parent;
    this.see = new Map(nodes.see);
    this.children = new Array(this.parent.length).fill(NONE);
    for (let node = 1; node < this.parent.length; node += 1) {
      const above = this.parent[node];
      if (this.children[above] === NONE) this.children[above] = [node];
      else this.children[above].push(node);
    }
    // Of several objects over the same bytes, the first counts them.
    this.nodeOf = new Int32Array(this.names.length).fill(-1);
    for (let node = 0; node < this.parent.length; node += 1) {
      for (const id of this.own(node)) if (this.nodeOf[id] < 0) this.nodeOf[id] = node;
    }
    this.size = new Float64Array(this.parent.length);
    this.tensors = new Int32Array(this.parent.length);
  }

  /** The tensors that a branch is or holds itself. */
  own(node) {
    const own = this.nodes.own[node];
    return own === null ? NONE : typeof own === "number" ? [own] : own;
  }

  /** Those of them that count here. */
  counted(node) {
    return this.own(node).filter((id) => this.nodeOf[id] === node);
  }

  below(node) {
    return this.children[node];
  }

  label(node) {
    return this.nodes.label[node] === 0 ? this.names[this.own(node)[0]] : this.nodes.label[node];
  }

  /** Adds up what the branches hold of the tensors that are shown. */
  measure(isShown, sizeOf) {
    this.size.fill(0);
    this.tensors.fill(0);
    for (let id = 0; id < this.nodeOf.length; id += 1) {
      if (isShown[id] && this.nodeOf[id] >= 0) {
        this.size[this.nodeOf[id]] += sizeOf[id];
        this.tensors[this.nodeOf[id]] += 1;
      }
    }
    for (let node = this.parent.length - 1; node >= 0; node -= 1) {
      if (node) {
        this.size[this.parent[node]] += this.size[node];
        this.tensors[this.parent[node]] += this.tensors[node];
      }
    }
  }

  /** A branch and those above it, the root first. */
  way(node) {
    const found = [];
    for (let each = node; each >= 0; each = this.parent[each]) found.unshift(each);
    return found;
  }

  path(node) {
    return this.way(node).slice(1).map((each) => this.label(each)).join("/");
  }
}

class Tree {
  /** Args: as of Rows; `onSelect` is called with a tensor, `onOpen` with a branch. */
  constructor({ label, onSelect, onOpen, mark }) {
    this.open = new Set([0]);
    this.onSelect = onSelect;
    this.onOpen = onOpen;
    this.markOf = mark;
    this.rows = new Rows({
      role: "tree", label, header: null,
      make: (place) => this.row(place),
      onMove: (place) => this.went(place),
      onKey: (key, place) => this.key(key, place),
    });
    this.element = this.rows.element;
  }

  /** Sets the tree that is shown, its first levels open. */
  show(hierarchy) {
    if (this.hierarchy !== hierarchy) {
      this.hierarchy = hierarchy;
      this.open = new Set([0]);
      // As many levels as are seen at once.
      let lines = hierarchy.below(0).length, level = hierarchy.below(0);
      while (level.length) {
        const next = level.flatMap((node) => hierarchy.below(node));
        lines += next.length;
        if (lines > 14) break;
        for (const node of level) this.open.add(node);
        level = next;
      }
    }
    this.arrange();
  }

  isShown(node) {
    const target = this.hierarchy.see.get(node);
    return this.hierarchy.tensors[target === undefined ? node : target] > 0 || this.showsAll;
  }

  arrange() {
    const { hierarchy } = this;
    const kept = this.lines && this.rows.active >= 0 ? this.lines[this.rows.active] : -1;
    this.lines = [];
    this.levels = [];
    const stack = hierarchy.below(0).slice().reverse().map((node) => [node, 1]);
    while (stack.length) {
      const [node, level] = stack.pop();
      if (!this.isShown(node)) continue;
      this.lines.push(node);
      this.levels.push(level);
      if (this.open.has(node)) {
        const below = hierarchy.below(node);
        for (let each = below.length - 1; each >= 0; each -= 1) stack.push([below[each], level + 1]);
      }
    }
    this.places = new Map(this.lines.map((node, place) => [node, place]));
    this.rows.active = this.places.has(kept) ? this.places.get(kept) : -1;
    this.rows.refresh(this.lines.length);
  }

  row(place) {
    const { hierarchy } = this;
    const node = this.lines[place], level = this.levels[place];
    const hasBelow = hierarchy.below(node).length > 0;
    const isOpen = this.open.has(node);
    const target = hierarchy.see.get(node);
    const own = hierarchy.own(node);
    const fold = element("button", {
      type: "button", class: "fold", tabindex: "-1", "aria-hidden": "true",
      onclick: () => this.fold(node, !isOpen),
    }, isOpen ? "\u25be" : "\u25b8");
    const content = target === undefined
      ? element("span", { class: "amount" },
        hierarchy.tensors[node] > 1 ? plural(hierarchy.tensors[node], "tensor") + ", " : "",
        hierarchy.tensors[node] ? bytes(hierarchy.size[node]) : "")
      : element("span", { class: "see" }, "is ", name(hierarchy.path(target)));
    const made = element(
      "div",
      {
        class: "row leaf", role: "treeitem", "aria-level": level, "data-node": node,
        "aria-expanded": hasBelow ? String(isOpen) : null,
      },
      hasBelow ? fold : element("span", { class: "fold" }),
      own.length ? element("span", { class: "dot " + this.markOf(own[0]), "aria-hidden": "true" }) : null,
      name(hierarchy.label(node) || "(no name)", { class: "label" }), content);
    made.style.setProperty("--level", Math.min(level, 20) - 1);
    return made;
  }

  fold(node, open) {
    if (open) this.open.add(node);
    else this.open.delete(node);
    this.arrange();
  }

  went(place) {
    const node = this.lines[place];
    const own = this.hierarchy.own(node);
    if (own.length) this.onSelect(own[0]);
    else if (this.hierarchy.see.has(node)) this.reveal(this.hierarchy.see.get(node), true);
    else this.onOpen(node);
  }

  key(key, place) {
    const node = this.lines[place];
    const hasBelow = this.hierarchy.below(node).length > 0;
    const isOpen = this.open.has(node);
    if (key === "ArrowRight" && hasBelow && !isOpen) this.fold(node, true);
    else if (key === "ArrowLeft" && hasBelow && isOpen) this.fold(node, false);
    else if (key === "ArrowLeft" && this.levels[place] > 1) {
      this.rows.activate(this.places.get(this.hierarchy.parent[node]), true);
    } else if ((key === "Enter" || key === " ") && hasBelow) this.fold(node, !isOpen);
    else return false;
    return true;
  }

  /** Goes to a branch, and opens those above it. */
  reveal(node, move) {
    for (const above of this.hierarchy.way(node).slice(1, -1)) this.open.add(above);
    this.arrange();
    if (this.places.has(node)) this.rows.activate(this.places.get(node), move);
  }

  /** Goes to a tensor that was selected elsewhere. */
  select(id) {
    const { hierarchy } = this;
    const place = this.rows.active;
    if (place >= 0 && this.lines && hierarchy.own(this.lines[place]).includes(id)) return;
    if (hierarchy.nodeOf[id] >= 0) this.reveal(hierarchy.nodeOf[id], false);
  }
}
