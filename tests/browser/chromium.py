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
    playwright: what drives it.
  """
  # It makes a socket there, whose path may have but 107 bytes; Bazel's is longer.
  with tempfile.TemporaryDirectory(dir="/tmp", prefix="chromium_") as short:
    browser = playwright.chromium.launch(
      executable_path=find(),
      args=["--no-sandbox"],  # its own, which a container does not allow
      env={**os.environ, "TMPDIR": short},
    )
    yield browser
    browser.close()
