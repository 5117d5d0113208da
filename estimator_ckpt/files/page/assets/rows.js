"use strict";
// A list of any length in a box that scrolls: only rows in view are elements.

const OVERSCAN = 8;
const PRINTED_ROWS = 2000;

class Rows {
  /**
   * Args:
   *   role: "treegrid" or "tree".
   *   label: what the list is, for a screen reader.
   *   header: an element that stays above the rows, or null.
   *   make: makes the element of a row, by its place.
   *   onMove: is called with the place that the keyboard or the mouse went to.
   *   onKey: is called with a key and a place; says whether it took the key.
   */
  constructor({ role, label, header, make, onMove, onKey }) {
    this.count = 0;
    this.active = -1;
    this.prefix = freshId("row");
    this.make = make;
    this.onMove = onMove;
    this.onKey = onKey;
    this.onPrint = null; // is called with whether printing begins or ends
    this.header = header;
    this.shown = new Map();
    this.body = element("div", { class: "rows", role: role === "treegrid" ? "rowgroup" : "none" });
    this.box = element(
      "div",
      {
        class: "box", role, "aria-label": label, tabindex: "0",
        onscroll: () => this.schedule(),
        onkeydown: (event) => this.key(event),
        onfocus: () => { if (this.active < 0 && this.count) this.activate(0, false); },
      },
      header, this.body);
    this.note = element("p", { class: "printed-note" });
    this.element = element("div", { class: "list" }, this.box, this.note);
    new ResizeObserver(() => { this.height = 0; this.draw(); }).observe(this.box);
    window.addEventListener("beforeprint", () => this.print(true));
    window.addEventListener("afterprint", () => this.print(false));
  }

  /** Sets how many rows there are, and draws those in view anew. */
  refresh(count) {
    this.count = count;
    this.active = Math.min(this.active, count - 1);
    this.shown.clear();
    this.body.replaceChildren();
    this.draw();
    this.mark();
  }

  schedule() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => { this.pending = false; this.draw(); });
  }

  rowHeight() {
    if (!this.height) {
      const probe = element("div", { class: "probe" });
      this.body.append(probe);
      this.height = probe.offsetHeight || 28;
      probe.remove();
      this.shown.clear();
      this.body.replaceChildren();
    }
    return this.height;
  }

  draw() {
    if (this.printing || (!this.box.isConnected)) return;
    const height = this.rowHeight();
    this.body.style.height = this.count * height + "px";
    const top = Math.floor(this.box.scrollTop / height) - OVERSCAN;
    const first = Math.max(0, top);
    const last = Math.min(this.count, top + Math.ceil(this.box.clientHeight / height) + 2 * OVERSCAN);
    for (const [place, row] of this.shown) {
      if ((place < first || place >= last) && place !== this.active) {
        row.remove();
        this.shown.delete(place);
      }
    }
    for (let place = first; place < last; place += 1) this.put(place);
    if (this.active >= 0) this.put(this.active);
  }

  put(place) {
    if (this.shown.has(place)) return;
    const row = this.make(place);
    row.id = this.prefix + "-" + place;
    row.style.top = place * this.height + "px";
    row.addEventListener("mousedown", (event) => {
      if (!event.target.closest("button")) this.activate(place, true);
    });
    this.shown.set(place, row);
    // In order, for those who read the page by its elements.
    let next = null;
    for (const [other, each] of this.shown) {
      if (other > place && (next === null || other < next[0])) next = [other, each];
    }
    this.body.insertBefore(row, next ? next[1] : null);
    this.markRow(row, place);
  }

  /** Goes to a row. With `move`, the page hears of it. */
  activate(place, move) {
    if (place < 0 || place >= this.count) return;
    this.active = place;
    this.reveal(place);
    this.draw();
    this.mark();
    if (move) this.onMove(place);
  }

  reveal(place) {
    const height = this.rowHeight();
    const room = this.box.clientHeight - (this.header ? this.header.offsetHeight : 0);
    const top = place * height;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + height > this.box.scrollTop + room) this.box.scrollTop = top + height - room;
  }

  mark() {
    for (const [place, row] of this.shown) this.markRow(row, place);
    if (this.active >= 0 && this.shown.has(this.active)) {
      this.box.setAttribute("aria-activedescendant", this.prefix + "-" + this.active);
    } else {
      this.box.removeAttribute("aria-activedescendant");
    }
  }

  markRow(row, place) {
    row.setAttribute("aria-selected", place === this.active ? "true" : "false");
  }

  key(event) {
    if (event.target !== this.box || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.rowHeight()) - 2);
    const to = {
      ArrowDown: this.active + 1, ArrowUp: this.active - 1, Home: 0, End: this.count - 1,
      PageDown: this.active + page, PageUp: this.active - page,
    }[event.key];
    if (to !== undefined) this.activate(Math.max(0, Math.min(this.count - 1, to)), true);
    else if (this.active < 0 || !this.onKey(event.key, this.active)) return;
    event.preventDefault();
  }

  /** On paper all rows are there, up to a number. */
  print(begins) {
    this.printing = begins;
    if (this.onPrint) this.onPrint(begins);
    if (!begins) return this.refresh(this.count);
    this.body.replaceChildren();
    this.shown.clear();
    const shown = Math.min(this.count, PRINTED_ROWS);
    for (let place = 0; place < shown; place += 1) this.body.append(this.make(place));
    this.note.textContent = shown < this.count
      ? "The first " + count(shown) + " of " + count(this.count) + " rows. estimator-ckpt inspect --json has all."
      : "";
    return undefined;
  }
}
