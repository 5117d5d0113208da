"use strict";
// Reads the page's data and puts its sections up.

async function unpacked(text) {
  const characters = atob(text);
  const packed = new Uint8Array(characters.length);
  for (let place = 0; place < packed.length; place += 1) packed[place] = characters.charCodeAt(place);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function putUp(data) {
  const page = document.getElementById("page");
  const { directory, checkpoint, comparison, warm_start: warmStart } = data.sections;
  const made = [element("header", { class: "top" }, element("h1", {}, name(data.title)))];
  const starts = [];
  const above = directory ? directorySection(directory) : null;
  if (above) made.push(above.element);
  if (checkpoint) {
    const last = checkpoint.path.slice(checkpoint.path.lastIndexOf("/") + 1);
    const { element: shown, explorer } = checkpointSection(checkpoint, visible(directory ? "Latest: " + last : "Checkpoint"));
    made.push(shown);
    if (above && above.norms) explorer.onSelect = (id) => above.norms.select(checkpoint.tensors.name[id]);
    starts.push(() => explorer.start());
  }
  if (comparison) {
    const { element: shown, explorer } = comparisonSection(comparison);
    made.push(shown);
    starts.push(() => explorer.start());
  }
  if (warmStart) {
    const { element: shown, start } = warmStartSection(warmStart);
    made.push(shown);
    starts.push(start);
  }
  page.replaceChildren(...made);
  for (const start of starts) start();
}

async function main() {
  const loading = document.getElementById("loading");
  if (typeof DecompressionStream === "undefined") {
    loading.textContent = "This page needs a newer browser: Chrome or Edge 80, Firefox 113, Safari 16.4, or later.";
    return;
  }
  const data = await unpacked(document.getElementById("data").textContent);
  putUp(data);
  // Tables draw at the beginning of the next frame, and what is as wide as the window at its end.
  requestAnimationFrame(() => requestAnimationFrame(() => {
    document.documentElement.dataset.ready = Math.round(performance.now());
  }));
}

document.addEventListener("DOMContentLoaded", main);
