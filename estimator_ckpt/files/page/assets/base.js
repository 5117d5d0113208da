"use strict";
// Elements, texts and numbers. Names come from files: they are set as text, never as HTML.

/** Makes an element. `attributes` may hold `class`, listeners as `onclick`, and others. */
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  return filled(made, attributes, children);
}

/** Makes an element of SVG. */
function drawn(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  return filled(made, attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined) made.append(child);
  }
  return made;
}

// Control characters, halves of characters, and marks that turn the text around them.
const HIDDEN = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]|(?![\u200c\u200d])\p{Cf}/gu;

/** A text from a file, with what cannot be seen as escapes. */
function visible(text) {
  return text.replace(HIDDEN, (c) => "\\u" + c.codePointAt(0).toString(16).padStart(4, "0"));
}

/** A text from a file, kept apart from the direction of the text around it. */
function name(text, attributes) {
  return element("bdi", attributes, visible(text));
}

/** A name in which the last part stays when there is no room for all. */
function scopedName(text) {
  const cut = text.lastIndexOf("/", text.length - 2) + 1;
  const scope = cut ? name(text.slice(0, cut), { class: "scope" }) : null;
  return [scope, name(text.slice(cut), { class: "last" })];
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** A number of bytes as a person reads it. */
function bytes(count) {
  if (count === null) return "missing";
  if (count < 1024) return count + " B";
  let value = count, unit = 0;
  while (value >= 1023.95 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return value.toFixed(1) + " " + UNITS[unit];
}

/** A number of things with separators. */
function count(number) {
  return number.toLocaleString("en-US");
}

/** A number and what it counts. */
function plural(number, noun) {
  return count(number) + " " + (number === 1 ? noun : noun + "s");
}

/** A shape as Python prints it. */
function shapeText(shape) {
  return "[" + shape.join(", ") + "]";
}

/** A value: a number in a few digits; a text as it is. */
function number(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return visible(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e8) return String(value);
  return String(Number(value.toPrecision(4)));
}

/** The larger of two units of a time, as `ls` says it. */
function age(seconds) {
  const minutes = Math.floor(Math.max(seconds, 0) / 60);
  const hours = Math.floor(minutes / 60), days = Math.floor(minutes / 1440);
  if (minutes < 1) return Math.floor(Math.max(seconds, 0)) + " s";
  if (hours < 1) return minutes + " min";
  if (days < 1) return hours + " h " + (minutes % 60) + " min";
  return days < 10 ? days + " d " + (hours % 24) + " h" : days + " d";
}

/** Says something to whoever does not see the page. */
function say(text) {
  document.getElementById("status").textContent = text;
}

/** Calls a function when nothing was typed for a moment. */
function calm(milliseconds, act) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, milliseconds);
  };
}

let lastId = 0;
function freshId(start) {
  lastId += 1;
  return start + "-" + lastId;
}

/** A column by row, as checkpoint_section.py packs one that repeats itself. */
function column({ distinct, at }) {
  return (id) => distinct[at[id]];
}

/** A list of terms and what they are; terms without content are left out. */
function facts(pairs) {
  const list = element("dl", { class: "facts" });
  for (const [term, ...content] of pairs) {
    const present = content.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== "");
    if (present.length) list.append(element("div", {}, element("dt", {}, term), element("dd", {}, present)));
  }
  return list;
}

/** A section of the page with a heading. */
function section(title, ...children) {
  const id = freshId("heading");
  return element("section", { "aria-labelledby": id }, element("h2", { id }, title), children);
}

/** A box with what could not be read; null where all could. */
function problemBox(problems) {
  if (!problems.length) return null;
  const shown = problems.slice(0, 20).map((text) => element("li", {}, name(text)));
  if (problems.length > 20) shown.push(element("li", {}, "and " + count(problems.length - 20) + " more"));
  return element("div", { class: "problems" }, element("h3", {}, plural(problems.length, "problem")), element("ul", {}, shown));
}
