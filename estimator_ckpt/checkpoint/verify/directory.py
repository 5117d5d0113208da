"""Verifying a directory of checkpoints: its state file and what else lies there."""

from __future__ import annotations

import os

from estimator_ckpt import errors
from estimator_ckpt.bundle import files, paths
from estimator_ckpt.bundle.file_names import INDEX_SUFFIX
from estimator_ckpt.checkpoint import leftovers
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.checkpoint.model_dir import ModelDir
from estimator_ckpt.checkpoint.verify.findings import Findings
from estimator_ckpt.errors import CheckpointError, CheckpointNotFoundError

_SHOWN = 3


def check_directory(directory: ModelDir, findings: Findings) -> None:
  """Checks a directory's state file, and whether anything is left over.

  Args:
    directory: such as a `model_dir`.
    findings: is added to.
  """
  _check_state(directory, findings)
  names = sorted(directory.names)
  complete = {prefix.rpartition("/")[2] for prefix in directory.checkpoints}
  orphans = sorted(leftovers.orphans(names, complete))
  left = [
    name
    for name in leftovers.unfinished(directory.path, names, complete)
    if name not in orphans
  ]
  if left:
    findings.warning(
      "leftover",
      f"{_listed(left)} left by an interrupted save or conversion, or of one that"
      " is at work; without one they can be removed",
    )
  if orphans:
    findings.warning(
      "no-index",
      f"{_listed(orphans)}: data files without {INDEX_SUFFIX}, being saved or left by"
      " an interrupted save; nothing reads them",
    )


def _check_state(directory: ModelDir, findings: Findings) -> None:
  path, prefixes = directory.state_file, directory.checkpoints
  try:
    state, missing = _read_state(directory, path)
    if missing:
      # Training may have saved, and removed old checkpoints, in between.
      state, missing = _read_state(directory, path)
  except CheckpointNotFoundError:
    if prefixes:
      findings.warning(
        "state-missing",
        f"there is no file {state_lib.STATE_FILE}, so tf.train.latest_checkpoint finds"
        " none of the checkpoints, and training starts again from the beginning",
      )
    return
  except CheckpointError as error:
    findings.error("state-damaged", str(error), file=path)
    return
  listed = _paths(state)
  absolute = [p for p in listed if os.path.isabs(p) or not files.is_local(p)]
  if absolute:
    findings.warning(
      "state-absolute",
      f"{_listed(absolute)}: with absolute paths, training in a copy of the directory"
      " deletes checkpoints of the original",
      file=path,
    )
  if state.model_checkpoint_path in missing:
    missing.remove(state.model_checkpoint_path)
    findings.error(
      "state-latest-missing",
      f"the latest checkpoint is to be {state.model_checkpoint_path!r}, which is not"
      " there: tf.train.latest_checkpoint finds none, and training starts again from"
      " the beginning",
      file=path,
    )
  elif prefixes and _name(prefixes[-1]) not in map(_name, listed):
    findings.warning(
      "state-not-latest",
      f"{prefixes[-1]!r} is newer than the latest it names,"
      f" {state.model_checkpoint_path!r}",
      file=path,
    )
  if missing:
    findings.warning(
      "state-entry-missing",
      f"{_listed(missing)}: named in it, and not there",
      file=path,
    )


def _read_state(
  directory: ModelDir, path: str
) -> tuple[state_lib.CheckpointState, list[str]]:
  """The state file, and which of the checkpoints that it names are not there."""
  state = state_lib.parse_state(files.read(path), path)
  joined = {listed: _join(directory.path, listed) for listed in _paths(state)}
  return state, [
    listed
    for listed, prefix in joined.items()
    if prefix not in directory.checkpoints and not prefix_lib.is_checkpoint(prefix)
  ]


def _paths(state: state_lib.CheckpointState) -> list[str]:
  listed = (*state.all_model_checkpoint_paths, state.model_checkpoint_path)
  return list(dict.fromkeys(listed))


def _join(directory: str, path: str) -> str:
  if os.path.isabs(path) or not files.is_local(path):
    return path
  return paths.join(directory, path)


def _name(path: str) -> str:
  return path.rpartition("/")[2]


def _listed(names: list[str]) -> str:
  return ", ".join(errors.shorten([repr(name) for name in names], _SHOWN))
