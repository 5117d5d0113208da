"use strict";
// A table with columns to sort by, and rows that may be folded under another.

class Table {
  /**
   * Args:
   *   label: what it is, for a screen reader.
   *   columns: each `title`, `width` (of a grid), `cell(id)` (what it shows), and
   *     optionally `sort(id)` (by what it sorts), `right`, `narrow` (also on a phone).
   *   children: a Map from a row to those folded under it.
   *   onSelect: is called with the row that was gone to.
   */
  constructor({ label, columns, children, onSelect }) {
    this.columns = columns;
    this.children = children || new Map();
    this.parents = new Map();
    for (const [id, below] of this.children) for (const child of below) this.parents.set(child, id);
    this.open = new Set();
    this.ids = [];
    this.lines = [];
    this.sorted = { column: 0, down: false };
    this.header = element("div", { class: "row head", role: "row" });
    this.rows = new Rows({
      role: "treegrid", label, header: element("div", { role: "rowgroup", class: "head-group" }, this.header),
      make: (place) => this.row(place),
      onMove: (place) => onSelect(this.lines[place].id),
      onKey: (key, place) => this.key(key, place),
    });
    this.rows.onPrint = (begins) => {
      this.unfoldsAll = begins;
      this.arrange();
    };
    this.element = this.rows.element;
    this.rows.box.classList.add("table");
    this.rows.box.style.setProperty("--columns", columns.map((each) => each.width).join(" "));
    // Heading and rows are grids of their own, which have to come out alike.
    const least = columns.reduce((sum, each) => sum + parseFloat(/[\d.]+/.exec(each.width)[0]) + 0.75, 1);
    this.rows.box.style.setProperty("--least", least + "rem");
    this.rows.box.setAttribute("aria-colcount", columns.length);
    this.drawHeader();
  }

  drawHeader() {
    this.header.replaceChildren(...this.columns.map((column, place) => {
      const isSorted = this.sorted.column === place;
      const direction = !isSorted ? "none" : this.sorted.down ? "descending" : "ascending";
      const arrow = !isSorted ? "" : this.sorted.down ? " \u25bc" : " \u25b2";
      return element(
        "div", { role: "columnheader", class: this.cellClass(column), "aria-sort": direction },
        element("button", { type: "button", onclick: () => this.sortBy(place) }, column.title,
          element("span", { "aria-hidden": "true" }, arrow)));
    }));
  }

  cellClass(column) {
    return "cell" + (column.right ? " right" : "") + (column.narrow ? " narrow" : "") + (column === this.columns[0] ? " first" : "");
  }

  /** Sorts by a column; a second time the other way round. Numbers begin with the largest. */
  sortBy(place) {
    const again = this.sorted.column === place;
    this.sorted = { column: place, down: again ? !this.sorted.down : Boolean(this.columns[place].right) };
    this.drawHeader();
    this.arrange();
    say("Sorted by " + this.columns[place].title + (this.sorted.down ? ", descending" : ", ascending"));
  }

  /** Sets the rows that are shown; folded ones stand under theirs where that is shown too. */
  show(ids) {
    this.ids = ids;
    this.arrange();
    this.rows.box.scrollTop = 0;
  }

  arrange() {
    const kept = this.selected;
    const present = new Set(this.ids);
    const inOrder = this.order();
    const tops = this.ids.filter((id) => !present.has(this.parents.get(id))).sort(inOrder);
    this.lines = [];
    for (const id of tops) {
      const below = (this.children.get(id) || []).filter((child) => present.has(child));
      const isOpen = this.unfoldsAll || this.open.has(id);
      this.lines.push({ id, level: 1, below: below.length, isOpen });
      if (isOpen) for (const child of below.sort(inOrder)) this.lines.push({ id: child, level: 2, below: 0 });
    }
    this.places = new Map(this.lines.map((line, place) => [line.id, place]));
    this.rows.active = kept !== undefined && this.places.has(kept) ? this.places.get(kept) : -1;
    this.rows.box.setAttribute("aria-rowcount", this.lines.length + 1);
    this.rows.refresh(this.lines.length);
  }

  order() {
    const column = this.columns[this.sorted.column];
    const of = column.sort || column.cell;
    const sign = this.sorted.down ? -1 : 1;
    return (a, b) => {
      const x = of(a), y = of(b);
      // What has no value comes last, whatever the direction.
      const noX = x === null || x === undefined || x === "", noY = y === null || y === undefined || y === "";
      if (noX || noY) return noX - noY || a - b;
      return (x < y ? -sign : x > y ? sign : 0) || a - b;
    };
  }

  row(place) {
    const { id, level, below, isOpen } = this.lines[place];
    const fold = below
      ? element("button", {
        type: "button", class: "fold", tabindex: "-1", "aria-hidden": "true",
        onclick: () => this.fold(id, !isOpen),
      }, isOpen ? "\u25be" : "\u25b8")
      : element("span", { class: "fold" });
    return element(
      "div",
      {
        class: "row", role: "row", "aria-level": level, "aria-rowindex": place + 2,
        "aria-expanded": below ? String(isOpen) : null, "data-id": id,
      },
      this.columns.map((column, each) => element(
        "div", { role: "gridcell", class: this.cellClass(column) }, each ? null : fold, column.cell(id))));
  }

  fold(id, open) {
    if (open) this.open.add(id);
    else this.open.delete(id);
    this.arrange();
  }

  key(key, place) {
    const { id, level, below, isOpen } = this.lines[place];
    if (key === "ArrowRight" && below && !isOpen) this.fold(id, true);
    else if (key === "ArrowLeft" && below && isOpen) this.fold(id, false);
    else if (key === "ArrowLeft" && level === 2) this.rows.activate(this.places.get(this.parents.get(id)), true);
    else if ((key === "Enter" || key === " ") && below) this.fold(id, !isOpen);
    else return false;
    return true;
  }

  /** Goes to a row that was selected elsewhere. */
  select(id) {
    this.selected = id;
    const above = this.parents.get(id);
    if (!this.places.has(id) && above !== undefined && this.places.has(above) && this.ids.includes(id)) {
      this.fold(above, true);
    }
    if (this.places.has(id)) this.rows.activate(this.places.get(id), false);
    else {
      this.rows.active = -1;
      this.rows.mark();
    }
  }
}
