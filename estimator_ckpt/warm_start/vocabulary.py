"""A changed vocabulary: which rows of an old matrix become which rows of a new one.

`tf.estimator.VocabInfo`, or anything with its attributes, is checked against the two
tensors and the two files before a graph is built. TensorFlow is not needed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from estimator_ckpt import errors
from estimator_ckpt.bundle import files

_ATTRIBUTES = (
  "new_vocab",
  "new_vocab_size",
  "num_oov_buckets",
  "old_vocab",
  "old_vocab_size",
  "backup_initializer",
  "axis",
)


@dataclasses.dataclass(frozen=True)
class VocabularyChange:
  """How the entries along one dimension of a variable move.

  Attributes:
    new_vocab: the path of the new file, with one entry a line.
    new_size: how many entries of the new file are used.
    oov_buckets: how many rows for other words follow.
    old_vocab: the path of the old file.
    old_size: how many entries of the old file count; -1 for all.
    axis: the dimension that the vocabulary stands for.
    initializer: makes the rows of entries that are new, from a shape; None for zeros.
    keeps_initial: whether rows of new entries keep the variable's own initial value.
  """

  new_vocab: str
  new_size: int
  oov_buckets: int
  old_vocab: str
  old_size: int = -1
  axis: int = 0
  initializer: Any = None
  keeps_initial: bool = False

  @classmethod
  def of(cls, info: Any) -> VocabularyChange:
    """Reads a VocabInfo.

    Args:
      info: a `tf.estimator.VocabInfo`.

    Returns:
      The same as a value.

    Raises:
      OptionError: it is something else, or lacks a file.
    """
    missing = [name for name in _ATTRIBUTES if not hasattr(info, name)]
    if missing:
      raise errors.OptionError(
        f"vocab_info takes tf.estimator.VocabInfo, and got {info!r}, which has no "
        f"{', '.join(missing)}."
      )
    for name in ("new_vocab", "old_vocab"):
      if not isinstance(getattr(info, name), (str, os.PathLike)):
        raise errors.OptionError(
          f"VocabInfo.{name} is {getattr(info, name)!r}, and has to be a file's path."
        )
    old_size = info.old_vocab_size
    return cls(
      os.fspath(info.new_vocab),
      int(info.new_vocab_size),
      int(info.num_oov_buckets or 0),
      os.fspath(info.old_vocab),
      -1 if old_size is None or old_size < 0 else int(old_size),
      int(info.axis or 0),
      info.backup_initializer,
    )

  def __str__(self) -> str:
    where = f"{self.old_vocab} -> {self.new_vocab}"
    return f"vocabulary {where}" + (f", axis {self.axis}" if self.axis else "")

  def problem(
    self, new_shape: Sequence[int] | None, old_shape: Sequence[int]
  ) -> str | None:
    """Says why the change does not fit two tensors.

    Args:
      new_shape: the variable's shape; None where it is not known before it runs.
      old_shape: the shape of the checkpoint's tensor.

    Returns:
      The reason, or None where the change fits.
    """
    if new_shape is None:
      return "its shape is not known before it runs, so no vocabulary can be applied"
    if len(new_shape) != len(old_shape) or self.axis >= len(new_shape):
      return (
        f"its shape is {list(new_shape)} in the graph and {list(old_shape)} in the "
        f"checkpoint, and the vocabulary stands for dimension {self.axis}"
      )
    for axis, (new, old) in enumerate(zip(new_shape, old_shape)):
      if axis != self.axis and new != old:
        return (
          f"its shape is {list(new_shape)} in the graph and {list(old_shape)} in the "
          f"checkpoint, and a vocabulary of dimension {self.axis} changes that one only"
        )
    expected = self.new_size + self.oov_buckets
    if new_shape[self.axis] != expected:
      return (
        f"dimension {self.axis} is {new_shape[self.axis]} in the graph, and the "
        f"VocabInfo says {self.new_size} entries + {self.oov_buckets} OOV buckets = "
        f"{expected}"
      )
    return self._file_problem(old_shape[self.axis])

  def _file_problem(self, old_rows: int) -> str | None:
    try:
      new_lines, old_lines = count_lines(self.new_vocab), count_lines(self.old_vocab)
    except errors.CheckpointError as e:
      return f"a vocabulary cannot be read: {e}"
    if new_lines < self.new_size:
      return (
        f"{self.new_vocab} has {new_lines} lines, and new_vocab_size is {self.new_size}"
      )
    if old_lines < self.old_size:
      return (
        f"{self.old_vocab} has {old_lines} lines, and old_vocab_size is {self.old_size}"
      )
    used = self.old_size if self.old_size >= 0 else old_lines
    if used > old_rows:
      return (
        f"{self.old_vocab} has {used} entries, and dimension {self.axis} of the "
        f"checkpoint's tensor only {old_rows}; it is not the vocabulary it was trained "
        "with, or old_vocab_size is missing"
      )
    return None


def count_lines(path: str) -> int:
  """Counts the lines of a vocabulary's file. The last one may lack its end.

  Args:
    path: a text file.

  Returns:
    How many there are.

  Raises:
    CheckpointNotFoundError: there is no such file.
    CheckpointIOError: the file system refused.
  """
  count = 0
  last = b"\n"
  for chunk in files.read_chunks(path, 0, files.size(path)):
    count += chunk.count(b"\n")
    last = chunk
  return count + (not last.endswith(b"\n"))
