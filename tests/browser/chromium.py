"""The Chromium of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def find() -> str | None:
  """The path of a Chromium, or None."""
  return next(filter(None, map(shutil.which, _PROGRAMS)), None)


@contextlib.contextmanager
def launched(playwright):
  """A Chromium without a window.

  Args:
    playwright: the Playwright driver.
  """
  # Chromium makes a socket there. Its path may have 107 bytes; Bazel's is longer.
  with tempfile.TemporaryDirectory(dir="/tmp", prefix="chromium_") as short:
    browser = playwright.chromium.launch(
      executable_path=find(),
      args=["--no-sandbox"],  # Chromium's sandbox, which a container does not allow
      env={**os.environ, "TMPDIR": short},
    )
    yield browser
    browser.close()


def settle(page) -> None:
  """Waits until a page has acted on what was typed, and has drawn it.

  The page itself waits: its timers end in the order in which they began, however busy
  the machine is.

  Args:
    page: a page of Playwright.
  """
  page.evaluate(
    """() => new Promise((done) => setTimeout(
      () => requestAnimationFrame(() => requestAnimationFrame(done)), 300))"""
  )
