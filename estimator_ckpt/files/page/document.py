"""One HTML file of a page's data, styles and scripts.

The data is JSON, compressed and in base 64: whatever a checkpoint's names are, none of
their characters stands in the file. The page's policy lets nothing be loaded, and
no script but its own run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import pkgutil
import zlib
from typing import Any

from estimator_ckpt.bundle import files, paths
from estimator_ckpt.errors import CheckpointExistsError, CheckpointNotFoundError

# By this a page is known, so that a later one may take its place.
_MARK = b'<meta name="generator" content="estimator-ckpt view">'

_STYLES = ("page.css",)
# In the order in which they use each other.
_SCRIPTS = (
  "base.js",
  "rows.js",
  "table.js",
  "tree.js",
  "treemap.js",
  "explorer.js",
  "checkpoint.js",
  "directory.js",
  "comparison.js",
  "warm_start.js",
  "main.js",
)


def render(title: str, data: dict[str, Any]) -> bytes:
  """The HTML file.

  Args:
    title: the page's heading.
    data: `sections`, the page's sections by name, as lists, dicts, texts and finite
      numbers.

  Returns:
    The file's bytes, all of them ASCII.
  """
  script = "\n".join(map(_asset, _SCRIPTS))
  style = "\n".join(map(_asset, _STYLES))
  text = json.dumps(data, allow_nan=False, separators=(",", ":"))
  packed = _gzip(text.encode("ascii"))
  filled = {
    "title": html.escape(title.encode("utf-8", "backslashreplace").decode("utf-8")),
    "script_hash": _hash(script),
    "style_hash": _hash(style),
    "style": style,
    "script": script,
    "data": base64.b64encode(packed).decode("ascii"),
  }
  page = _asset("page.html")
  for name, value in filled.items():
    before, mark, after = page.partition("{{ " + name + " }}")
    assert mark, name
    # What is filled in comes behind what is looked through next.
    page = after
    filled[name] = before + value
  return ("".join(filled.values()) + page).encode("ascii", "xmlcharrefreplace")


def write(path: str, page: bytes) -> None:
  """Writes a page, in one step.

  Args:
    path: the file. A page that stands there is replaced; directories are made.
    page: what `render` gave.

  Raises:
    CheckpointExistsError: there is a file that is no page.
    CheckpointIOError: the file system refused.
  """
  check_target(path)
  directory = paths.parent(path)
  if directory:
    files.mkdirs(directory)
  files.write_atomic(path, page, sync=False)


def check_target(path: str) -> None:
  """Makes sure that no file but a page would be replaced.

  Args:
    path: where a page is to be written.

  Raises:
    CheckpointExistsError: there is a directory, or a file that is no page.
    CheckpointIOError: the file system refused.
  """
  if files.is_dir(path):
    raise CheckpointExistsError(
      f"{path}: a directory; the page is one file, such as {path.rstrip('/')}/page.html"
    )
  try:
    head = files.read_range(path, 0, min(files.size(path), 1000))
  except CheckpointNotFoundError:
    return
  if _MARK not in head:
    raise CheckpointExistsError(
      f"{path}: there is a file, and it is no page of estimator-ckpt view; remove it, or"
      " choose another name"
    )


def _gzip(data: bytes) -> bytes:
  """Packs data as gzip does, without a time: equal checkpoints make equal pages."""
  # gzip.compress has `mtime` from Python 3.8 on.
  packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
  return packer.compress(data) + packer.flush()


def _asset(name: str) -> str:
  # importlib.resources has `files` from Python 3.9 on.
  found = pkgutil.get_data(__package__, f"assets/{name}")
  assert found is not None, name
  return found.decode("utf-8")


def _hash(text: str) -> str:
  """The hash by which a policy knows a script or a style."""
  digest = hashlib.sha256(text.encode("utf-8")).digest()
  return "sha256-" + base64.b64encode(digest).decode("ascii")
