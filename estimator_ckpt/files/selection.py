"""Which model_dirs and checkpoints a pattern means, or a tree holds."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator

from estimator_ckpt.bundle import files, paths
from estimator_ckpt.bundle.file_names import INDEX_SUFFIX
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint.state_file import STATE_FILE
from estimator_ckpt.errors import CheckpointNotFoundError
from estimator_ckpt.files.checkpoints import checkpoint_directories
from estimator_ckpt.value_classes import NamedTuple


class Selected(NamedTuple):
  """A model_dir, or a checkpoint.

  Attributes:
    path: where it is; of a checkpoint the prefix.
    relative: the path below the root of the tree, or below the part of the pattern that
      has no wildcard; "" for the root itself.
  """

  path: str
  relative: str


def is_pattern(path: str) -> bool:
  """Whether a path has wildcards, and is not the path of something that is there.

  >>> is_pattern("runs/*/model_dir"), is_pattern("runs/a")
  (True, False)
  """
  if not any(sign in path for sign in "*?["):
    return False
  # A sharded checkpoint of the format V1 is called `model.ckpt-7-?????-of-00002`.
  return not (files.exists(path) or prefix_lib.is_checkpoint(path))


def select(path: str | os.PathLike[str], recursive: bool = False) -> list[Selected]:
  """Finds the model_dirs and checkpoints that are meant.

  Args:
    path: a pattern, as `gs://bucket/**/model_dir`: `*`, `?` and `[...]` stand for parts
      of a name, and `**` for directories, none or several. It matches model_dirs, and
      prefixes of checkpoints. Or a directory, with `recursive`.
    recursive: whether to take every model_dir below the path, or below what the pattern
      matches.

  Returns:
    What is there, each once; parents first. Links to directories are not followed by
    `**` and `recursive`.

  Raises:
    CheckpointNotFoundError: nothing is there.
    CheckpointIOError: the file system refused.
  """
  text = os.fspath(path)
  if not is_pattern(text):
    root = text.rstrip("/") or "/"
    found = checkpoint_directories(root) if recursive else [root]
    return [Selected(each, each[len(root) :].strip("/")) for each in found]
  scheme, mark, rest = text.rpartition("://")
  parts = rest.split("/")
  plain = next(i for i, part in enumerate(parts) if any(s in part for s in "*?["))
  root = scheme + mark + "/".join(parts[:plain])
  if plain == 1 and not parts[0] and not mark:
    root = "/"
  wanted = [part for part in parts[plain:] if part] + ["**"] * recursive
  selected = dict.fromkeys(_matches(root, wanted))
  if not selected:
    raise CheckpointNotFoundError(
      f"{text}: no model_dir and no checkpoint matches the pattern"
    )
  start = len(root.rstrip("/")) + 1 if root else 0
  return [Selected(each, each[start:]) for each in selected]


def _matches(directory: str, parts: list[str]) -> Iterator[str]:
  """What is below a directory, along the parts of a pattern."""
  part, *rest = parts
  if part == "**":
    yield from _matches(directory, rest) if rest else _itself(directory)
    for name in _subdirectories(directory):
      yield from _matches(paths.join(directory, name), parts)
    return
  if rest and not any(sign in part for sign in "*?["):
    below = paths.join(directory, part)
    if files.is_dir(below):
      yield from _matches(below, rest)
    return
  names = sorted(_names(directory))
  if not rest:
    for name in names:
      if name.endswith(INDEX_SUFFIX):
        prefix = name[: -len(INDEX_SUFFIX)]
        if fnmatch.fnmatchcase(prefix, part):
          yield paths.join(directory, prefix)
  for name in fnmatch.filter(names, part):
    below = paths.join(directory, name)
    if files.is_dir(below):
      yield from _matches(below, rest) if rest else _itself(below)


def _itself(directory: str) -> Iterator[str]:
  names = _names(directory)
  if STATE_FILE in names or any(name.endswith(INDEX_SUFFIX) for name in names):
    yield directory


def _names(directory: str) -> list[str]:
  return files.list_dir(directory or ".") if files.is_dir(directory or ".") else []


def _subdirectories(directory: str) -> Iterator[str]:
  for name in sorted(_names(directory)):
    below = paths.join(directory, name)
    is_link = files.is_local(below) and os.path.islink(files.local_path(below))
    if not is_link and files.is_dir(below):
      yield name
