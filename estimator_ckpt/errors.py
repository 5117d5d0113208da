"""Every error this package raises on purpose.

All derive from `CheckpointError` and from the built-in a caller would expect, so
both `except CheckpointError` and `except ValueError` do what they say.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence


class CheckpointError(Exception):
  """Base of every error this package raises on purpose."""


class OptionError(CheckpointError, ValueError):
  """An argument, option or flag has a value that cannot be meant."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError, ValueError):
  """There is no checkpoint at a path."""

  # A ValueError too, because that is what TensorFlow's Saver raises.


class CheckpointExistsError(CheckpointError, FileExistsError):
  """A destination holds a checkpoint already."""


class CorruptCheckpointError(CheckpointError, ValueError):
  """A file of a checkpoint is truncated, damaged or of another kind."""


class UnsupportedCheckpointError(CheckpointError, ValueError):
  """A sound checkpoint uses something that is not supported here."""


class CheckpointIOError(CheckpointError, OSError):
  """The file system refused: no space, no permission, read-only, a broken link."""


class CheckpointKeyError(CheckpointError, KeyError):
  """A checkpoint has no tensor of that name or key."""

  # KeyError's own __str__ shows repr(message), which hides line breaks.
  __str__ = Exception.__str__


class VariableMismatchError(CheckpointError, ValueError):
  """Variables and a checkpoint's tensors do not agree."""


class MissingDependencyError(CheckpointError, ImportError):
  """A library that this call needs is not installed, or has the wrong version."""


def tensorflow_advice() -> str:
  """How this Python gets a TensorFlow with Estimator, or that it cannot."""
  if sys.version_info >= (3, 12):
    return (
      "TensorFlow 1.15 and 2.1 to 2.15, which have Estimator, need Python 3.7 to 3.11, and "
      f"this is Python {sys.version_info[0]}.{sys.version_info[1]}. What works on "
      "files needs no TensorFlow."
    )
  return "Install it with: pip install 'estimator-ckpt[tensorflow]'"


def shorten(items: Sequence[object], shown: int = 10) -> list[str]:
  """The first items of a list for a message, and how many more there are.

  Args:
    items: what a message would list.
    shown: how many of them at most.

  Returns:
    A line for each item that is shown, then `and N more` where some are not.
  """
  lines = [str(item) for item in items[:shown]]
  if len(items) > shown:
    lines.append(f"and {len(items) - shown:,} more")
  return lines


def nearest(name: str, candidates: Iterable[str]) -> str | None:
  """The candidate most like `name`, or None when none comes close.

  Args:
    name: what was looked for.
    candidates: what is there.

  Returns:
    One of the candidates, or None.
  """
  # difflib is quadratic; candidates sharing the last scope component come first
  # and suffice in checkpoints of many thousand variables.
  candidates = list(candidates)
  if len(candidates) > 2000:
    last = name.rsplit("/", 1)[-1]
    candidates = [c for c in candidates if c.rsplit("/", 1)[-1] == last][:2000]
  # Not at the top: of a command's short time, modules are half.
  import difflib

  matches = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
  return matches[0] if matches else None
