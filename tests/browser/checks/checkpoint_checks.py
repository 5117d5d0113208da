"""One checkpoint as a page: its treemap, its table, its tree, its search."""

from __future__ import annotations

import re

import numpy as np
import pytest

from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from tests.browser import chromium
from tests.bundle_builder import BundleBuilder

_SCRIPT = "</script><script>document.title='taken'</script>"
_ODD_NAMES = (
  _SCRIPT,
  "\"quotes\" and 'quotes' & <b>bold</b>",
  "עברית/משקל",
  "turned\u202eegnahc",
  "control\x1b[31m\x00",
  "long/" + "x" * 10_000,
)


def model(count: int = 3) -> BundleBuilder:
  """A dual checkpoint: layers with Adam's slots, a moving average, and the step."""
  builder = BundleBuilder()
  random = np.random.RandomState(1)
  names = []
  for layer in range(count):
    scope = f"net/layer_{layer}"
    for slot in ("", "/Adam", "/Adam_1", "/ExponentialMovingAverage"):
      builder.numbers(f"{scope}/kernel{slot}", random.randn(20, 4 + layer))
      builder.numbers(f"{scope}/bias{slot}", random.randn(4 + layer))
      names += [f"{scope}/kernel{slot}", f"{scope}/bias{slot}"]
  values = random.randn(8)
  values[3], values[5], values[6] = np.nan, np.inf, 0
  builder.numbers("net/broken", values)
  builder.numbers("beta1_power", 0.9)
  builder.numbers("global_step", 7, "int64")
  names += ["net/broken", "beta1_power", "global_step"]
  graph = ObjectGraph()
  for name, paths in layout.object_paths(names).items():
    builder.index.alias(graph.add_variable(paths, name), name)
  builder.object_graph(graph)
  return builder


@pytest.fixture(scope="session")
def prefix(tmp_path_factory):
  return model().write(tmp_path_factory.mktemp("model") / "model.ckpt-7")


@pytest.fixture(scope="session")
def plain_page(make_page, prefix):
  return make_page(prefix)


@pytest.fixture(scope="session")
def valued_page(make_page, prefix):
  return make_page(prefix, "--values")


def table(page):
  return page.get_by_role("treegrid", name="Tensors")


def tree(page):
  return page.get_by_role("tree", name="Tree")


def names(page) -> list[str]:
  """The names of the visible rows."""
  return (
    table(page)
    .locator(".rows .row .cell.first")
    .evaluate_all(
      "cells => cells.map(c => [...c.querySelectorAll('bdi')].map(b => b.textContent).join(''))"
    )
  )


def selected(page) -> dict[str, str]:
  """The selected element in each part of the page."""
  return {
    "table": table(page)
    .locator("[aria-selected=true] .cell.first bdi")
    .all_inner_texts(),
    "tree": tree(page).locator("[aria-selected=true] .label").all_inner_texts(),
    "treemap": page.locator(".tile.chosen").get_attribute("aria-label"),
    "detail": page.locator(".detail h3").inner_text(),
  }


def search(page, text: str) -> list[str]:
  page.get_by_role("searchbox").first.fill(text)
  chromium.settle(page)
  return names(page)


def tile(page, start: str):
  return page.locator(f'.tile[aria-label^="{start}"]').first


def leaf(page, start: str):
  """The tile of a tensor; a frame may have the same name."""
  return page.locator(f'.tile[aria-label^="{start}"]:not([aria-label$="go in"])')


def test_the_heading_says_what_it_is(open_page, plain_page):
  page = open_page(plain_page)
  assert page.title() == "model.ckpt-7"
  assert page.get_by_role("heading", level=1).inner_text() == "model.ckpt-7"
  facts = page.locator(".facts").first.inner_text()
  assert "dual: by name (TF1) and by object (TF2)" in facts
  assert re.search(r"step\s+7\b", facts)


def test_what_is_selected_in_the_table_is_selected_everywhere(open_page, plain_page):
  page = open_page(plain_page)
  table(page).locator(".row", has_text="layer_1/kernel").first.click()
  found = selected(page)
  assert found["table"] == ["net/layer_1/", "kernel"]
  assert found["tree"] == ["kernel"]
  assert found["treemap"].startswith("net/layer_1/kernel, 400 B")
  assert found["detail"] == "net/layer_1/kernel"
  detail = page.locator(".detail").inner_text()
  assert "float32 [20, 5]" in detail
  assert "var_list/net.Slayer_1.Skernel/.ATTRIBUTES/VARIABLE_VALUE" in detail


def test_what_is_selected_in_the_tree_is_selected_everywhere(open_page, plain_page):
  page = open_page(plain_page)
  tree(page).focus()
  page.keyboard.press("End")
  page.keyboard.press("ArrowRight")
  while page.locator(".detail h3").count() == 0:
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
  name = page.locator(".detail h3").inner_text()
  found = selected(page)
  assert "".join(found["table"]) == name
  assert found["treemap"] is None or found["treemap"].startswith(name)
  assert name.endswith(found["tree"][0])


def test_what_is_selected_in_the_treemap_is_selected_everywhere(open_page, plain_page):
  page = open_page(plain_page)
  tile(page, "net/layer_2/kernel/Adam_1, ").click()
  found = selected(page)
  # Selecting the slot unfolds the variable above it.
  assert found["table"] == ["net/layer_2/kernel/", "Adam_1"]
  assert found["tree"] == ["Adam_1"]
  assert found["detail"] == "net/layer_2/kernel/Adam_1"
  facts = page.locator(".detail").inner_text()
  assert re.search(r"of\s+net/layer_2/kernel\b", facts)
  assert re.search(r"optimizer\s+Adam", facts)


def test_the_treemap_goes_in_and_back(open_page, plain_page):
  page = open_page(plain_page)
  tile(page, "net/layer_1, ").click(position={"x": 5, "y": 5})
  crumbs = page.get_by_role("navigation", name="Where the treemap is")
  assert crumbs.inner_text().split() == ["all", "net", "layer_1", "1.6", "KiB"]
  assert tile(page, "net/layer_2, ").count() == 0
  crumbs.get_by_role("button", name="all").click()
  assert tile(page, "net/layer_2, ").count() == 1


def test_areas_are_bytes_and_colours_are_kinds(open_page, plain_page, pixel):
  page = open_page(plain_page)
  colours = {
    "net/layer_2/kernel, ": (0, 114, 178),
    "net/layer_2/kernel/Adam, ": (230, 159, 0),
    "net/layer_2/kernel/ExponentialMovingAverage, ": (0, 158, 115),
  }
  areas = []
  for start, colour in colours.items():
    box = leaf(page, start).bounding_box()
    at = (box["x"] + box["width"] - 6, box["y"] + box["height"] - 6)
    assert pixel(page, *at) == colour
    areas.append((box["width"] + 1) * (box["height"] + 1))
  assert max(areas) < 1.05 * min(areas)
  other = leaf(page, "net/layer_0/kernel, ").bounding_box()
  smaller = (other["width"] + 1) * (other["height"] + 1)
  assert smaller / areas[0] == pytest.approx(4 / 6, rel=0.15)


def test_objects_are_a_tree_of_their_own(open_page, plain_page):
  page = open_page(plain_page)
  page.get_by_label("Group by").select_option("objects")
  labels = tree(page).locator(".row .label").all_inner_texts()
  assert "var_list" in labels and "net" in labels
  for label in ("net", "layer_1"):
    row = tree(page).locator(".row").filter(has=page.get_by_text(label, exact=True))
    row.locator(".fold").click()
  see = (
    tree(page)
    .locator(".row:has(.see)")
    .filter(has=page.get_by_text("kernel", exact=True))
  )
  assert see.locator(".see").inner_text() == "is var_list/net/layer_1/kernel"
  see.click()
  assert page.locator(".detail h3").inner_text() == "net/layer_1/kernel"


@pytest.mark.parametrize(
  ("typed", "found"),
  [
    ("layer_2/bias/Adam_1", ["net/layer_2/bias/Adam_1"]),
    ("LAYER_2/BIAS/ADAM_1", ["net/layer_2/bias/Adam_1"]),
    ("net.Slayer_2.Sbias.SAdam_1", ["net/layer_2/bias/Adam_1"]),
    ("layer_0 adam_1 kernel", ["net/layer_0/kernel/Adam_1"]),
    ("[20, 6]", ["net/layer_2/kernel"]),
    ("20x6", ["net/layer_2/kernel"]),
    ("[20, ?]", [f"net/layer_{n}/kernel" for n in range(3)]),
    ("nothing like it", []),
  ],
)
def test_search(open_page, plain_page, typed, found):
  page = open_page(plain_page)
  assert search(page, typed) == found
  assert len(search(page, "")) > 5


def test_nan_and_infinity_are_found_where_values_were_read(
  open_page, plain_page, valued_page
):
  page = open_page(valued_page)
  assert search(page, "nan") == ["net/broken"]
  assert search(page, "inf") == ["net/broken"]
  assert "1 of 28 tensors" in page.locator(".found").inner_text()
  page = open_page(plain_page)
  assert search(page, "nan") == []
  assert "--values" in page.locator(".found").inner_text()


def test_values_and_a_histogram(open_page, valued_page):
  page = open_page(valued_page)
  page.get_by_role("button", name="NaN").click()
  assert names(page)[0] == "net/broken"
  table(page).locator(".rows .row").first.click()
  detail = page.locator(".detail").inner_text()
  for fact in (r"zeros\s+1\b", r"NaN\s+1\b", r"infinite\s+1\b", r"maximum\s+Infinity"):
    assert re.search(fact, detail), fact
  histogram = page.get_by_role("img", name="Histogram from")
  tall = histogram.locator("rect").evaluate_all(
    "bars => bars.map(bar => Number(bar.getAttribute('height')))"
  )
  assert len(tall) == 24 and max(tall) == 120


def test_sorting(open_page, plain_page):
  page = open_page(plain_page)
  header = table(page).get_by_role("columnheader", name="Bytes")
  header.get_by_role("button").click()
  assert header.get_attribute("aria-sort") == "descending"
  assert names(page)[0] == "_CHECKPOINTABLE_OBJECT_GRAPH"
  assert names(page)[1] == "net/layer_2/kernel"
  header.get_by_role("button").click()
  assert header.get_attribute("aria-sort") == "ascending"
  assert names(page)[0] == "beta1_power"


def test_kinds_can_be_hidden(open_page, plain_page):
  page = open_page(plain_page)
  slots = page.locator(".legend button", has_text="Optimizer slots")
  assert slots.get_attribute("aria-pressed") == "true"
  slots.click()
  assert slots.get_attribute("aria-pressed") == "false"
  assert tile(page, "net/layer_2/kernel/Adam, ").count() == 0
  assert tile(page, "net/layer_2/kernel/ExponentialMovingAverage, ").count() == 1
  assert "16 of 28 tensors" in page.locator(".found").inner_text()


def test_the_keyboard_does_it_all(open_page, plain_page):
  page = open_page(plain_page)
  page.get_by_role("searchbox").first.focus()
  for _ in range(30):
    page.keyboard.press("Tab")
    if page.evaluate("document.activeElement.classList.contains('tile')"):
      break
  page.keyboard.press("Enter")
  crumbs = page.get_by_role("navigation", name="Where the treemap is")
  assert len(crumbs.get_by_role("button").all()) >= 1
  before = page.evaluate("document.activeElement.getAttribute('aria-label')")
  page.keyboard.press("ArrowDown")
  assert page.evaluate("document.activeElement.getAttribute('aria-label')") != before
  page.keyboard.press("Backspace")
  assert crumbs.get_by_role("button").count() == 0
  table(page).focus()
  page.keyboard.press("End")
  assert selected(page)["table"] == ["net/layer_2/", "kernel"]
  rows = int(table(page).get_attribute("aria-rowcount"))
  page.keyboard.press("ArrowRight")
  assert int(table(page).get_attribute("aria-rowcount")) == rows + 3
  page.keyboard.press("ArrowDown")
  assert selected(page)["table"] == ["net/layer_2/kernel/", "Adam"]
  active = table(page).get_attribute("aria-activedescendant")
  assert page.locator(f"#{active}").get_attribute("aria-level") == "2"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 360])
def test_it_is_accessible(open_page, valued_page, violations, width, scheme):
  page = open_page(valued_page, width, scheme)
  assert violations(page) == []
  table(page).locator(".row", has_text="broken").first.click()
  page.locator(".legend button", has_text="Optimizer slots").click()
  assert violations(page) == []


def test_nothing_is_wider_than_a_phone(open_page, valued_page):
  page = open_page(valued_page, 360)
  assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
  row = table(page).locator(".row", has_text="broken").first
  assert "float32" in row.inner_text() and "32 B" in row.inner_text()
  row.click()
  assert page.evaluate("document.scrollingElement.scrollWidth") <= 360


def test_names_are_data(open_page, make_page, tmp_path):
  builder = BundleBuilder()
  for number, name in enumerate(_ODD_NAMES):
    builder.numbers(name, np.arange(number + 2))
  path = make_page(builder.write(tmp_path / "odd.ckpt-1"))
  assert b"document.title='taken'" not in path.read_bytes()
  page = open_page(path)
  shown = names(page)
  assert _SCRIPT in shown
  assert _ODD_NAMES[1] in shown
  assert "עברית/משקל" in shown
  assert "turned\\u202eegnahc" in shown
  assert "control\\u001b[31m\\u0000" in shown
  assert "long/" + "x" * 10_000 in shown
  assert page.title() == "odd.ckpt-1"
  for row in table(page).locator(".rows .row").all():
    row.click()
  assert page.locator("script").count() == 2
  assert page.evaluate("document.scrollingElement.scrollWidth") <= 1360
  assert search(page, "<b>bold") == [_ODD_NAMES[1]]


def test_one_variable(open_page, make_page, tmp_path, violations):
  builder = BundleBuilder()
  builder.numbers("w", 1.0)
  page = open_page(make_page(builder.write(tmp_path / "one.ckpt"), "--values"))
  assert names(page) == ["w"]
  tile(page, "w, 4 B").click()
  assert page.locator(".detail h3").inner_text() == "w"
  assert violations(page) == []


def test_no_bytes_at_all(open_page, make_page, tmp_path, violations):
  builder = BundleBuilder()
  builder.numbers("empty", np.zeros((0, 3)))
  page = open_page(make_page(builder.write(tmp_path / "none.ckpt"), "--values"))
  assert names(page) == ["empty"]
  assert "Nothing with bytes" in page.locator(".treemap").inner_text()
  table(page).locator(".rows .row").click()
  assert violations(page) == []


def test_a_damaged_checkpoint_says_so(open_page, make_page, tmp_path, violations):
  prefix = model().write(tmp_path / "model.ckpt-7")
  (tmp_path / "model.ckpt-7.data-00000-of-00001").unlink()
  page = open_page(make_page(prefix))
  assert "1 MISSING" in page.locator(".facts").first.inner_text()
  assert page.locator(".problems li").count() >= 1
  assert "MISSING" in table(page).locator(".rows .row").last.inner_text()
  assert violations(page) == []


def test_on_paper_every_row_is_there(open_page, plain_page):
  page = open_page(plain_page)
  table(page).locator(".rows .row").first.click()
  page.evaluate("""() => window.addEventListener("beforeprint", () => {
    window.printed = document.querySelectorAll("[aria-label=Tensors] .rows .row").length;
  })""")
  paper = page.pdf(format="A4")
  assert page.evaluate("window.printed") == 28  # includes folded rows
  assert len(re.findall(rb"/Type\s*/Page\b", paper)) >= 1
  chromium.settle(page)
  assert len(names(page)) > 5


def test_a_hundred_thousand_variables(open_page, make_page, tmp_path):
  builder = BundleBuilder()
  entry = builder.numbers("model/block_0/layer_0/kernel", np.arange(4))
  for number in range(1, 100_000):
    name = f"model/block_{number % 100}/layer_{number}/kernel"
    builder.index.put(name, entry._replace(offset=16 * number))
  builder.shards[0] += bytes(16 * 100_000)
  path = make_page(builder.write(tmp_path / "model.ckpt-1"))
  assert path.stat().st_size < 20_000_000
  page = open_page(path)
  assert table(page).get_attribute("aria-rowcount") == "100001"
  # Takes half a second alone on two cores; here other processes run too.
  assert int(page.locator("html").get_attribute("data-ready")) < 10_000
  assert page.locator("[aria-label=Tensors] .rows .row").count() < 100
  table(page).focus()
  page.keyboard.press("End")
  assert names(page)[-1] == "model/block_99/layer_99999/kernel"
  assert page.locator("[aria-label=Tensors] .rows .row").count() < 100
  assert search(page, "layer_77777/") == ["model/block_77/layer_77777/kernel"]
