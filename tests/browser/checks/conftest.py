"""Pages, and the browser they are opened in."""

from __future__ import annotations

import base64
import pathlib

import pytest

from estimator_ckpt.cli import main
from tests.browser import chromium


@pytest.fixture(scope="session")
def browser():
  """A Chromium without a window."""
  # Imported here: the environment that collects this file lacks the package.
  from playwright.sync_api import sync_playwright

  with sync_playwright() as playwright, chromium.launched(playwright) as launched:
    yield launched


@pytest.fixture(scope="session")
def make_page(tmp_path_factory):
  """`make_page(path, *flags)` is the path of a page that `view` wrote."""

  def make(*argv: object) -> pathlib.Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert main.run(["view", *map(str, argv), "-o", str(path), "--quiet"]) in (0, 2)
    return path

  return make


@pytest.fixture
def open_page(browser):
  """`open_page(path, width=, scheme=)` is a page on the screen.

  The test fails if the page writes to the console, or asks for anything.
  """
  contexts = []
  said: list[str] = []

  def opened(path: pathlib.Path, width: int = 1360, scheme: str = "light"):
    context = browser.new_context(
      viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    contexts.append(context)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(f"{error}\n{error.stack}"))
    page.on(
      "request",
      lambda request: (
        said.append(request.url) if request.url != path.as_uri() else None
      ),
    )
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=60_000)
    return page

  yield opened
  for context in contexts:
    context.close()
  assert said == []


@pytest.fixture(scope="session")
def violations():
  """`violations(page)` lists the rules of accessibility that axe finds broken."""
  from axe_playwright_python.sync_playwright import Axe

  def find(page) -> list[str]:
    results = Axe().run(page).response
    return [
      f"{found['id']}: {node['html'][:200]}: {node['failureSummary']}"
      for found in results["violations"]
      for node in found["nodes"]
    ]

  return find


@pytest.fixture
def pixel(browser):
  """`pixel(page, x, y)` is the colour of a pixel on the screen."""
  blank = browser.new_page()

  def colour(page, x: float, y: float) -> tuple[int, int, int]:
    image = base64.b64encode(page.screenshot()).decode()
    script = """async ([image, x, y]) => {
      const bitmap = await createImageBitmap(await (await fetch(image)).blob());
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
      const context = canvas.getContext("2d");
      context.drawImage(bitmap, 0, 0);
      return Array.from(context.getImageData(x, y, 1, 1).data).slice(0, 3);
    }"""
    return tuple(
      blank.evaluate(script, [f"data:image/png;base64,{image}", round(x), round(y)])
    )

  yield colour
  blank.close()
