"""A function that runs between the write of a checkpoint and its entry in the state file.

A `tf.train.CheckpointManager` does both in `save`, with `enable_async` on a thread of its
own. Read in TensorFlow 2.12.1, 2.15.1 and 2.21.0 (`checkpoint_management.py` and
`checkpoint.py`):

from 2.14   `save` appends the function that writes the state file to a copy of
            `options.experimental_write_callbacks`, and the checkpoint calls all of them
            in order once the files are there. An error ends the save.
2.12, 2.13  `save` hands that function to the checkpoint's `_write`, as
            `write_done_callback`. There are no others, so the checkpoint is wrapped.

The names `_write` and `_async_checkpointer` are private, and used for 2.12 and 2.13 only.

Variables of Keras 3 (3.15 under TensorFlow 2.21) cannot be saved asynchronously twice:
their `_copy_trackable_to_cpu` makes a `tf.Variable` for each copy, and TensorFlow makes all
copies but the first in a `tf.function`, where that is an error. `make_copies_repeatable`
has such variables keep the first copy, and assign to it.
"""

from __future__ import annotations

import copy
import functools
import logging
import threading
from typing import Any, Callable

import tensorflow as tf

Callback = Callable[[str], None]
_logger = logging.getLogger(__name__)


def has_callbacks() -> bool:
  """Whether this TensorFlow's CheckpointOptions take callbacks."""
  return hasattr(tf.train.CheckpointOptions(), "experimental_write_callbacks")


def options_with(options: Any, callback: Callback) -> Any:
  """Options with one more callback, the first of all.

  Args:
    options: a `tf.train.CheckpointOptions`, which stays as it is, or None.
    callback: is called with the prefix of each checkpoint that was written.

  Returns:
    New options.
  """
  result = copy.copy(options) if options else tf.train.CheckpointOptions()
  others = result.experimental_write_callbacks or ()
  result.experimental_write_callbacks = [callback, *others]
  return result


def synchronous(options: Any) -> Any:
  """Options without `enable_async`.

  Args:
    options: a `tf.train.CheckpointOptions`, which stays as it is, or None.

  Returns:
    New options, or None.
  """
  if options is None:
    return None
  result = copy.copy(options)
  result.enable_async = result.experimental_enable_async_checkpoint = False
  return result


class WrappedCheckpoint:
  """A checkpoint of TensorFlow 2.12 or 2.13 that calls a function after each write.

  Args:
    checkpoint: a `tf.train.Checkpoint`.
    callback: is called with the prefix of each checkpoint that was written. It keeps
      its errors, since those on another thread go no further.
  """

  def __init__(self, checkpoint: Any, callback: Callback):
    self._wrapped = checkpoint
    self._callback = callback

  def __getattr__(self, name: str) -> Any:
    return getattr(self._wrapped, name)

  def _write(
    self, file_prefix: str, *args: Any, write_done_callback: Callback, **options: Any
  ) -> Any:
    caller = threading.get_ident()

    def written(prefix: str) -> None:
      try:
        self._callback(prefix)
      except Exception:
        if threading.get_ident() == caller:
          raise
        # An error would end the thread that writes, and the next save would wait for
        # it for ever. The callback keeps its error for `sync` and for the next save.
        _logger.exception("%s: the state file does not name it", prefix)
        return
      write_done_callback(prefix)

    return self._wrapped._write(
      file_prefix, *args, write_done_callback=written, **options
    )


def wait_for_writes(checkpoint: Any) -> None:
  """Waits until the asynchronous writes of a checkpoint have ended.

  Args:
    checkpoint: a `tf.train.Checkpoint` that has written asynchronously.
  """
  if hasattr(checkpoint, "sync"):
    checkpoint.sync()
  else:
    checkpoint._async_checkpointer().sync()


def make_copies_repeatable(checkpoint: Any) -> None:
  """Has the variables of Keras 3 keep the copies that asynchronous saves write.

  Args:
    checkpoint: a `tf.train.Checkpoint` that is to be saved asynchronously. Variables of
      Keras 3 in it are changed; all others are made for several copies.
  """
  for found in tf.train.TrackableView(checkpoint).descendants():
    own = getattr(type(found), "_copy_trackable_to_cpu", None)
    if getattr(own, "__module__", "").startswith("keras.src.backend"):
      found._copy_trackable_to_cpu = functools.partial(_copy_variable, found)


def _copy_variable(variable: Any, object_map: Any) -> None:
  value = variable.value
  value._copy_trackable_to_cpu(object_map)
  if variable in object_map:
    object_map[variable].assign(object_map[value])
  else:
    object_map[variable] = tf.Variable(object_map[value])
