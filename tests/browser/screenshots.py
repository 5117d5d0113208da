"""Takes the pictures of docs/images, in the environment `browser`.

usage: python -m tests.browser.screenshots PAGE.html PICTURE.png [--width=1200]
         [--height=900] [--dark] [--select=NAME] [--part=SELECTOR]
"""

from __future__ import annotations

import argparse
import pathlib

from playwright.sync_api import sync_playwright

from tests.browser import chromium


def main() -> None:
  """The program."""
  parser = argparse.ArgumentParser()
  parser.add_argument("page", type=pathlib.Path)
  parser.add_argument("picture", type=pathlib.Path)
  parser.add_argument("--width", type=int, default=1200)
  parser.add_argument("--height", type=int, default=900)
  parser.add_argument("--dark", action="store_true")
  parser.add_argument("--select", help="the name of a tensor to select")
  parser.add_argument("--part", help="a CSS selector of what to take")
  args = parser.parse_args()
  with sync_playwright() as playwright, chromium.launched(playwright) as browser:
    page = browser.new_page(
      viewport={"width": args.width, "height": args.height},
      color_scheme="dark" if args.dark else "light",
    )
    page.goto(args.page.absolute().as_uri())
    page.wait_for_selector("html[data-ready]")
    if args.select:
      search = page.get_by_role("searchbox", name="Find", exact=True)
      search.fill(args.select)
      page.wait_for_timeout(500)
      page.locator("[aria-label=Tensors] .rows .row").first.click()
      search.fill("")
      page.wait_for_timeout(500)
    if args.part:
      page.locator(args.part).first.screenshot(path=args.picture)
    else:
      page.evaluate("window.scrollTo(0, 0)")
      page.screenshot(path=args.picture)


if __name__ == "__main__":
  main()
