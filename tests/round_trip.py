"""Conversions there and back that end with the original names and values."""

from __future__ import annotations

import pathlib
from typing import Any

import estimator_ckpt as eckpt
from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.joined import tensorflow_stitches
from estimator_ckpt.checkpoint import part_names
from tests import stored


def check(prefix: str, directory: pathlib.Path) -> str:
  """Converts tf1 -> tf2 -> dual -> tf1; fails unless the result equals the first tf1.

  Args:
    prefix: a checkpoint of any format.
    directory: where the conversions go.

  Returns:
    The first tf1.
  """
  first = str(directory / "first")
  eckpt.convert(prefix, first, "tf1")
  _check_around(first, ("tf2", "dual", "tf1"), directory, _whole(first))
  if eckpt.detect_format(prefix) is eckpt.CheckpointFormat.DUAL:
    # The object graph alone gives the same names as the keys. Only slots of parts lose
    # theirs, because objects have no parts.
    expected = _whole(first)
    if not any(map(_is_part, expected)):
      _check_around(prefix, ("tf2", "tf1"), directory, expected)
  return first


def _is_part(key: str) -> bool:
  return part_names.split_part(key) is not None or part_names.may_be_slot_part(key)


def _check_around(
  path: str, formats: tuple[str, ...], directory: pathlib.Path, expected: Any
) -> None:
  around = [path]
  for number, to in enumerate(formats):
    around.append(str(directory / f"{len(formats)}-{number}-{to}"))
    eckpt.convert(around[-2], around[-1], to)
  found = _whole(around[-1])
  lost, new = expected.keys() - found.keys(), found.keys() - expected.keys()
  assert not (lost or new), (path, formats, lost, new)
  changed = [key for key, tensor in expected.items() if found[key] != tensor]
  assert not changed, (path, formats, changed)


def _whole(prefix: str) -> dict[str, Any]:
  """A checkpoint's tensors; parts of a type that TF2 needs as a whole are joined."""
  found = stored.stored(prefix)
  with eckpt.open_checkpoint(prefix) as reader:
    for key, tensor in found.items():
      if len(tensor.parts) > 1 and not tensorflow_stitches(dtypes.number(tensor.dtype)):
        found[key] = tensor._replace(parts=(("", reader[key].tobytes()),))
  return found
