"""Two checkpoints as a page: the differences and their sizes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bundle_builder import BundleBuilder


@pytest.fixture(scope="session")
def sides(tmp_path_factory):
  directory = tmp_path_factory.mktemp("sides")
  random = np.random.RandomState(0)
  w = random.randn(40, 5)
  arrays = {
    100: {
      "net/same": w,
      "net/little": w,
      "net/much": w,
      "old/w": w + 1,
      "net/gone": [1, 2],
    },
    200: {
      "net/same": w,
      "net/little": w * 1.001,
      "net/much": -w,
      "new/w": w + 1,
      "net/come": [3, 4, 5],
    },
  }
  prefixes = []
  for step, tensors in arrays.items():
    builder = BundleBuilder()
    for name, values in tensors.items():
      builder.numbers(name, values)
    builder.numbers("net/shape", np.ones(step))
    builder.numbers("global_step", step, "int64")
    prefixes.append(builder.write(directory / f"model.ckpt-{step}"))
  return prefixes


@pytest.fixture(scope="session")
def page_path(make_page, sides):
  return make_page(*sides, "--values")


def rows(page) -> dict[str, str]:
  """The text of each row, by name."""
  found = page.locator("[aria-label=Tensors] .rows .row").evaluate_all(
    """rows => rows.map(row => [
      [...row.querySelector('.first').querySelectorAll('bdi')].map(b => b.textContent).join(''),
      [...row.querySelectorAll('.cell')].map(c => c.textContent).join(' | ')])"""
  )
  return dict(found)


def test_every_tensor_says_what_became_of_it(open_page, page_path):
  page = open_page(page_path)
  assert page.title() == "model.ckpt-100 and model.ckpt-200"
  found = rows(page)
  assert "Same" in found["net/same"]
  assert "Changed by < 1 %" in found["net/little"]
  assert "0.1 %" in found["net/little"]
  assert "Changed by ≥ 50 %" in found["net/much"]
  assert "200 %" in found["net/much"]
  assert "Renamed" in found["new/w"] and "old/w" in found["new/w"]
  assert "Only in A" in found["net/gone"]
  assert "Only in B" in found["net/come"]
  assert "[100] → [200]" in found["net/shape"]


def test_the_largest_change_comes_first(open_page, page_path):
  page = open_page(page_path)
  assert list(rows(page))[:3] == ["net/much", "global_step", "net/little"]


def test_without_values_the_gravest_comes_first(open_page, make_page, sides):
  page = open_page(make_page(*sides))
  assert list(rows(page))[:3] == ["net/gone", "net/come", "net/shape"]
  assert "--values" in page.inner_text("main")


def test_colours_are_changes(open_page, page_path, pixel):
  page = open_page(page_path)
  colours = {
    "net/same": (213, 216, 220),
    "net/little": (227, 241, 251),
    "net/much": (47, 128, 184),
    "new/w": (240, 228, 66),
  }
  for name, colour in colours.items():
    box = page.locator(f'.tile[aria-label^="{name}, "]').bounding_box()
    at = (box["x"] + box["width"] - 6, box["y"] + box["height"] - 6)
    assert pixel(page, *at) == colour, name


def test_a_change_can_be_selected_and_hidden(open_page, page_path):
  page = open_page(page_path)
  page.locator('.tile[aria-label^="net/much, "]').click()
  detail = page.locator(".detail").inner_text()
  assert "net/much" in detail and "200 %" in detail
  page.locator(".legend button", has_text="Same").click()
  assert "net/same" not in rows(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 360])
def test_it_is_accessible(open_page, page_path, violations, width, scheme):
  page = open_page(page_path, width, scheme)
  page.locator("[aria-label=Tensors] .rows .row").first.click()
  assert violations(page) == []
  assert page.evaluate("document.scrollingElement.scrollWidth") <= width
