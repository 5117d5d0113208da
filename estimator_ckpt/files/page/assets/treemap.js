"use strict";
// Areas for sizes: the squarified treemap of Bruls, Huizing and van Wijk (2000).

const LEAST_AREA = 60;
const MOST_TILES = 500;
const HEADER = 20;
const GAP = 2;

/** Lays items out, largest first, in a rectangle; gives `[item, x, y, width, height]`. */
function squarify(items, x, y, width, height) {
  const total = items.reduce((sum, item) => sum + item.size, 0);
  const laid = [];
  if (!total || width <= 0 || height <= 0) return laid;
  const scale = (width * height) / total;
  let start = 0;
  while (start < items.length) {
    const short = Math.min(width, height);
    let end = start, area = 0, worst = Infinity;
    while (end < items.length) {
      const more = area + items[end].size * scale;
      const thick = (more / short) ** 2;
      const ratio = Math.max((items[start].size * scale) / thick, thick / (items[end].size * scale));
      if (ratio > worst) break;
      worst = ratio;
      area = more;
      end += 1;
    }
    const thickness = area / short;
    let along = 0;
    for (; start < end; start += 1) {
      const length = (items[start].size * scale) / thickness;
      laid.push(width >= height
        ? [items[start], x, y + along, thickness, length]
        : [items[start], x + along, y, length, thickness]);
      along += length;
    }
    if (width >= height) {
      x += thickness;
      width -= thickness;
    } else {
      y += thickness;
      height -= thickness;
    }
  }
  return laid;
}

class Treemap {
  /**
   * Args:
   *   model: what is shown; `nameOf`, `sizeOf`, `isShown`, `colourOf(id)` (a class).
   *   onSelect: is called with the tensor of a tile.
   */
  constructor({ model, onSelect }) {
    this.model = model;
    this.onSelect = onSelect;
    this.focus = 0;
    this.crumbs = element("ol", {});
    this.area = element("div", {
      class: "treemap", role: "group", "aria-label": "Treemap of bytes. Arrow keys go from tile to tile, Enter goes in, Backspace out.",
      onkeydown: (event) => this.key(event),
    });
    this.element = element("div", { class: "treemap-frame" },
      element("nav", { class: "crumbs", "aria-label": "Where the treemap is" }, this.crumbs), this.area);
    new ResizeObserver(() => this.draw()).observe(this.area);
  }

  show(hierarchy) {
    if (this.hierarchy !== hierarchy) this.focus = 0;
    this.hierarchy = hierarchy;
    while (this.focus && !hierarchy.tensors[this.focus]) this.focus = hierarchy.parent[this.focus];
    this.draw();
  }

  goTo(node, keepsKeyboard) {
    this.focus = node;
    this.draw();
    if (keepsKeyboard && this.tiles.length) this.tiles[0].element.focus();
    const { hierarchy } = this;
    say("Treemap: " + (visible(hierarchy.path(node)) || "all") + ", " + plural(hierarchy.tensors[node], "tensor") + ", " + bytes(hierarchy.size[node]));
  }

  /** What stands side by side in a branch, largest first. */
  items(node) {
    const { hierarchy, model } = this;
    const found = [];
    for (const id of hierarchy.counted(node)) {
      if (model.isShown[id] && model.sizeOf[id] > 0) found.push({ id, size: model.sizeOf[id], label: hierarchy.label(node) });
    }
    for (const below of hierarchy.below(node)) {
      if (hierarchy.size[below] > 0) found.push(this.single({ node: below, size: hierarchy.size[below], label: hierarchy.label(below) }));
    }
    return found.sort((a, b) => b.size - a.size);
  }

  /** Branches that hold but one thing are that thing. */
  single(item) {
    const { hierarchy } = this;
    let { node, label } = item;
    for (;;) {
      if (hierarchy.tensors[node] === 1 && hierarchy.counted(node).length === 1) {
        const [id] = hierarchy.counted(node);
        if (this.model.isShown[id]) return { id, size: item.size, label };
      }
      const below = hierarchy.below(node).filter((each) => hierarchy.size[each] > 0);
      if (below.length !== 1 || hierarchy.size[below[0]] !== item.size) return { ...item, node, label };
      [node] = below;
      label += "/" + hierarchy.label(node);
    }
  }

  layout(width, height) {
    const tiles = [];
    const queue = [{ items: this.items(this.focus), x: 0, y: 0, width, height }];
    while (queue.length) {
      const { items, x, y, width: w, height: h } = queue.shift();
      const total = items.reduce((sum, item) => sum + item.size, 0);
      let least = items.length;
      const room = Math.max(1, MOST_TILES - tiles.length);
      while (least > 1 && (least > room || (items[least - 1].size / total) * w * h < LEAST_AREA)) least -= 1;
      const drawnItems = items.slice(0, least);
      if (least < items.length) {
        const rest = items.slice(least);
        drawnItems.push({ rest: rest.length, size: rest.reduce((sum, item) => sum + item.size, 0), label: "" });
        drawnItems.sort((a, b) => b.size - a.size);
      }
      for (const [item, left, top, wide, high] of squarify(drawnItems, x, y, w, h)) {
        const tile = { item, left, top, wide, high };
        tiles.push(tile);
        if (item.node !== undefined && wide >= 56 && high >= 48 && tiles.length < MOST_TILES) {
          tile.isFrame = true;
          queue.push({
            items: this.items(item.node), x: left + GAP, y: top + HEADER,
            width: wide - 2 * GAP, height: high - HEADER - GAP,
          });
        }
      }
    }
    return tiles;
  }

  draw() {
    if (!this.hierarchy || !this.area.isConnected) return;
    const hadFocus = this.area.contains(document.activeElement);
    this.tiles = this.layout(this.area.clientWidth, this.area.clientHeight)
      .map((tile) => ({ ...tile, element: this.tile(tile) }));
    this.area.replaceChildren(...this.tiles.map((tile) => tile.element));
    if (!this.tiles.length) {
      this.area.append(element("p", { class: "empty" }, "Nothing with bytes is shown."));
    }
    this.buttons = this.tiles.filter((tile) => tile.element.tagName === "BUTTON");
    this.buttons.forEach((tile, place) => tile.element.setAttribute("tabindex", place ? "-1" : "0"));
    if (hadFocus && this.buttons.length) this.buttons[0].element.focus();
    this.drawCrumbs();
    this.mark();
  }

  drawCrumbs() {
    const { hierarchy } = this;
    const way = hierarchy.way(this.focus);
    this.crumbs.replaceChildren(...way.map((node, place) => {
      const label = place ? name(hierarchy.label(node) || "(no name)") : "all";
      const isHere = place === way.length - 1;
      return element("li", {}, isHere
        ? element("span", { "aria-current": "true" }, label, " ", element("small", {}, bytes(hierarchy.size[node])))
        : element("button", { type: "button", onclick: () => this.goTo(node, false) }, label));
    }));
  }

  tile(tile) {
    const { item, left, top, wide, high } = tile;
    const { hierarchy, model } = this;
    const share = hierarchy.size[this.focus] ? (100 * item.size) / hierarchy.size[this.focus] : 0;
    const percent = share >= 0.1 ? share.toFixed(share < 10 ? 1 : 0) + " %" : "";
    const amount = bytes(item.size) + (percent ? ", " + percent : "");
    let label, kind;
    if (item.rest) {
      label = plural(item.rest, "smaller one") + ", " + amount;
      kind = "rest";
    } else if (item.id !== undefined) {
      label = visible(model.nameOf(item.id)) + ", " + amount + ", " + model.titleOf(item.id);
      kind = model.colourOf(item.id);
    } else {
      label = visible(hierarchy.path(item.node)) + ", " + plural(hierarchy.tensors[item.node], "tensor") + ", " + amount + ", go in";
      kind = tile.isFrame ? "frame" : "mixed";
    }
    // Too small to be hit: it is in the table all the same.
    const isButton = !item.rest && wide >= 24 && high >= 24;
    const hasText = wide >= 36 && high >= 17 && !item.rest;
    const made = element(
      isButton ? "button" : "div",
      {
        class: "tile " + kind, title: label.slice(0, 400), "aria-label": isButton ? label : null,
        "aria-hidden": isButton ? null : "true", type: isButton ? "button" : null,
        // A click without a mouse is that of a key.
        onclick: item.rest ? null : (event) => this.choose(item, event.detail === 0),
      },
      hasText ? element("span", { class: "text" }, name(item.label || "(no name)")) : null,
      hasText && !tile.isFrame && high >= 36 && wide >= 64 ? element("span", { class: "text amount" }, bytes(item.size)) : null);
    if (kind === "mixed") made.style.backgroundImage = this.mixture(item.node);
    made.style.left = left + "px";
    made.style.top = top + "px";
    made.style.width = Math.max(1, wide - 1) + "px";
    made.style.height = Math.max(1, high - 1) + "px";
    return made;
  }

  /** Bands of colour for what a branch holds. */
  mixture(node) {
    const { hierarchy, model } = this;
    const sums = new Map();
    const stack = [node];
    while (stack.length) {
      const each = stack.pop();
      for (const id of hierarchy.counted(each)) {
        if (model.isShown[id]) sums.set(model.colourOf(id), (sums.get(model.colourOf(id)) || 0) + model.sizeOf[id]);
      }
      for (const below of hierarchy.below(each)) stack.push(below);
    }
    let done = 0;
    const stops = [...sums].sort((a, b) => b[1] - a[1]).map(([kind, size]) => {
      const from = done;
      done += (100 * size) / hierarchy.size[node];
      return "var(--" + kind + ") " + from.toFixed(1) + "% " + done.toFixed(1) + "%";
    });
    return "linear-gradient(to right, " + stops.join(", ") + ")";
  }

  choose(item, keepsKeyboard) {
    if (item.id !== undefined) this.onSelect(item.id);
    else this.goTo(item.node, keepsKeyboard);
  }

  key(event) {
    const at = this.buttons.findIndex((tile) => tile.element === document.activeElement);
    if (at < 0) return;
    const here = this.buttons[at];
    if ((event.key === "Backspace" || event.key === "Escape") && this.focus) {
      this.goTo(this.hierarchy.parent[this.focus], true);
    } else if (event.key.startsWith("Arrow")) {
      const next = this.nearest(here, event.key);
      if (next) {
        here.element.setAttribute("tabindex", "-1");
        next.element.setAttribute("tabindex", "0");
        next.element.focus();
      }
    } else {
      return;
    }
    event.preventDefault();
  }

  nearest(here, key) {
    const middle = (tile) => [tile.left + tile.wide / 2, tile.top + (tile.isFrame ? HEADER / 2 : tile.high / 2)];
    const [x, y] = middle(here);
    let best = null, least = Infinity;
    for (const tile of this.buttons) {
      if (tile === here) continue;
      const [dx, dy] = middle(tile).map((value, axis) => value - (axis ? y : x));
      const ahead = { ArrowLeft: -dx, ArrowRight: dx, ArrowUp: -dy, ArrowDown: dy }[key];
      const aside = key === "ArrowLeft" || key === "ArrowRight" ? Math.abs(dy) : Math.abs(dx);
      if (ahead > 1 && ahead + 2 * aside < least) {
        best = tile;
        least = ahead + 2 * aside;
      }
    }
    return best;
  }

  /** Shows a tensor that was selected elsewhere; goes to where it is. */
  select(id) {
    this.selected = id;
    const node = this.hierarchy.nodeOf[id];
    const way = node >= 0 ? this.hierarchy.way(node) : [];
    if (node >= 0 && !way.includes(this.focus)) {
      // As far in as there is more than this one.
      const inside = way.filter((each) => this.hierarchy.tensors[each] > 1);
      this.focus = inside.length ? inside[inside.length - 1] : 0;
      this.draw();
    } else {
      this.mark();
    }
  }

  mark() {
    const chosen = this.selected === undefined ? null : this.tileOf(this.selected);
    for (const tile of this.tiles || []) {
      tile.element.classList.toggle("chosen", tile === chosen);
      if (tile.element.tagName === "BUTTON" && tile.item.id !== undefined) {
        tile.element.setAttribute("aria-pressed", tile === chosen ? "true" : "false");
      }
    }
  }

  /** The smallest tile that holds a tensor. */
  tileOf(id) {
    const node = this.hierarchy.nodeOf[id];
    if (node < 0) return null;
    const way = this.hierarchy.way(node);
    let found = null, depth = -1;
    for (const tile of this.tiles) {
      if (tile.item.id === id) return tile;
      const at = tile.item.node === undefined ? -1 : way.indexOf(tile.item.node);
      if (at > depth) {
        found = tile;
        depth = at;
      }
    }
    return found;
  }
}
