"""Paths: local or remote, and the names of files that are not complete yet."""

from __future__ import annotations

import os
import re

_TEMPORARY = r"\.tmp-eckpt-(?:of-\d{5}-)?[0-9a-f]{8}$"
_LOCAL_SCHEME = "file://"


def is_local(path: str) -> bool:
  """Whether a path is one of this machine's file system."""
  return "://" not in path or path.startswith(_LOCAL_SCHEME)


def local_path(path: str) -> str:
  """A local path without the scheme `file://`."""
  return path[len(_LOCAL_SCHEME) :] if path.startswith(_LOCAL_SCHEME) else path


def as_directory(path: str) -> str:
  """A directory's path without slashes at its end, except those of a root.

  >>> as_directory("a/b//"), as_directory("/"), as_directory("gs://")
  ('a/b', '/', 'gs://')
  """
  scheme, separator, rest = path.rpartition("://")
  return scheme + separator + (rest.rstrip("/") or rest[:1])


def parent(path: str) -> str:
  """The directory that a path is in; "" for the working directory.

  >>> parent("a/b/c"), parent("a"), parent("/a"), parent("gs://a"), parent("gs://a/b")
  ('a/b', '', '/', 'gs://', 'gs://a')
  """
  scheme, separator, rest = path.rpartition("://")
  head, slash, _ = rest.rpartition("/")
  return scheme + separator + (head or slash)


def join(directory: str, name: str) -> str:
  """The path of a name in a directory.

  >>> join("a//", "b"), join("/", "b"), join("gs://", "b"), join("", "b")
  ('a/b', '/b', 'gs://b', 'b')
  """
  directory = as_directory(directory)
  return (
    directory + name
    if directory.endswith("/") or not directory
    else (f"{directory}/{name}")
  )


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
  """Whether a name is one that this package gives to an incomplete file."""
  return re.search(_TEMPORARY, path) is not None
