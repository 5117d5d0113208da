"""Paths: local or remote, and the names of files that are not complete yet."""

from __future__ import annotations

import os
import re

_TEMPORARY = re.compile(r"\.tmp-eckpt-(?:of-\d{5}-)?[0-9a-f]{8}$")
_LOCAL_SCHEME = "file://"


def is_local(path: str) -> bool:
  """Whether a path is one of this machine's file system."""
  return "://" not in path or path.startswith(_LOCAL_SCHEME)


def local_path(path: str) -> str:
  """A local path without the scheme `file://`."""
  return path[len(_LOCAL_SCHEME) :] if path.startswith(_LOCAL_SCHEME) else path


def temporary_path(path: str, note: str = "") -> str:
  """A name beside a path for what will replace it.

  Args:
    path: the file to be replaced.
    note: digits to keep in the name, after `of-`.

  Returns:
    A path that no file has, and that `is_temporary` recognises.
  """
  note = f"of-{note}-" if note else ""
  return f"{path}.tmp-eckpt-{note}{os.urandom(4).hex()}"


def is_temporary(path: str) -> bool:
  """Whether this package made the name up for a file that was not complete yet."""
  return _TEMPORARY.search(path) is not None
