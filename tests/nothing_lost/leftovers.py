"""Finds files in a model_dir that belong to no checkpoint of its state file."""

from __future__ import annotations

import os
import pathlib

from estimator_ckpt import verify
from estimator_ckpt.checkpoint import state_file as state_lib

# Files that an Estimator writes beside checkpoints.
_OTHERS = ("graph.pbtxt", "events.out.tfevents.", "checkpoint", "eval", "tf2")


def unlisted(model_dir: str | os.PathLike[str]) -> list[str]:
  """The files that neither the state files' checkpoints nor TensorFlow account for.

  Args:
    model_dir: the model_dir; includes its tf2/.

  Returns:
    Their paths in it, sorted.
  """
  root = pathlib.Path(model_dir)
  found = []
  for directory in (root, root / "tf2"):
    if not directory.is_dir():
      continue
    current = state_lib.read_state(str(directory))
    listed = set()
    if current is not None:
      listed = {os.path.basename(p) for p in current.all_model_checkpoint_paths}
    for name in sorted(os.listdir(directory)):
      prefix, _, ending = name.rpartition(".")
      is_part = prefix in listed and (
        ending in ("index", "meta") or ending.startswith("data-")
      )
      is_other = name in _OTHERS or name.startswith(_OTHERS[1])
      if not is_part and not is_other:
        found.append(os.fspath((directory / name).relative_to(root)))
  return found


def incomplete(model_dir: str | os.PathLike[str]) -> list[str]:
  """`unlisted` without whole checkpoints: a save that fails at its end leaves one."""
  root = os.fspath(model_dir)
  found = unlisted(root)
  whole = {
    name[: -len(".index")]
    for name in found
    if name.endswith(".index") and not verify(f"{root}/{name}").findings
  }
  return [name for name in found if name.rpartition(".")[0] not in whole]
