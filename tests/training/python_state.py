"""Python state that tests save in a checkpoint."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf


class Counts(tf.train.experimental.PythonState):
  """Python state that is part of a checkpoint."""

  def __init__(self, **counts: int):
    self.counts = counts

  def serialize(self) -> str:
    """The state as text."""
    return json.dumps(self.counts)

  def deserialize(self, string_value: Any) -> None:
    """Takes the state from text."""
    self.counts = json.loads(string_value)
