"""A `tf.train.CheckpointManager` whose checkpoints TF1 code restores too, by name.

    manager = estimator_ckpt.keras.CheckpointManager(
      tf.train.Checkpoint(model=model, optimizer=optimizer), "new_dir", like="old_model_dir"
    )
    manager.restore_or_initialize()
    model.fit(..., callbacks=[estimator_ckpt.keras.SaveCheckpoints(manager)])

`to_tf1` plans what each name is made of, `dual_names` adds the names, and
`write_callbacks` has this done before the state file names the checkpoint.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from estimator_ckpt import errors
from estimator_ckpt.bundle import files
from estimator_ckpt.bundle.file_names import index_path
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint.name_map import NameMap, NameMapLike
from estimator_ckpt.checkpoint.reader import CheckpointReader
from estimator_ckpt.keras import dual_names, write_callbacks
from estimator_ckpt.keras.keras_options import KerasOptions
from estimator_ckpt.keras.live_objects import LiveObjects
from estimator_ckpt.keras.scopes import ForgetBias
from estimator_ckpt.keras.source import read_contents
from estimator_ckpt.keras.tf1_names import Tf1Names
from estimator_ckpt.keras.tf1_plan import Tf1Plan, structure_of
from estimator_ckpt.keras.to_tf1 import ToTf1


class CheckpointManager(tf.train.CheckpointManager):
  """Writes what `tf.train.Checkpoint` writes, and the names of TF1 code over the same bytes.

  A `tf.compat.v1.train.Saver` of the old graph restores each checkpoint, optimizer slots
  included. Weights that Keras keeps in another form, the powers of Adam's betas and the
  like are written into one more data file. Everything else works as in the base class:
  numbering, the state file, retention, restoring.

  Args:
    checkpoint: a `tf.train.Checkpoint` of a Keras model and its optimizer.
    directory: where checkpoints go.
    max_to_keep: how many are kept; None for all.
    like: a checkpoint of the TF1 code, or its directory. Each name in it is in every
      checkpoint. It is read once, here.
    name_map: rules `model name: TF1 name` for variables that are not matched without a
      rule: a dict, a list of `"old:new"`, or the path of a file with such lines. Scopes
      end in `/`.
    ignore: variables of the model that TF1 has no name for: names, scopes ending in
      `/`, or regular expressions.
    omit: names in `like` that checkpoints need not have, given like `ignore`. The slots
      of such variables go with them.
    forget_bias: what the TF1 code's LSTM cells add to their forget gates, if not 1.0;
      see `estimator_ckpt.keras.load`.
    allow_approximate: whether to write optimizer state that cannot mean exactly the
      same in TF1.
    **options: further arguments of `tf.train.CheckpointManager`.

  Attributes:
    plan: what each name in the last checkpoint was made of, to be printed; None before
      the first save.

  Raises:
    CheckpointNotFoundError: there is no checkpoint `like`.
    OptionError: an argument cannot be meant; Keras runs on another backend than
      TensorFlow.
  """

  def __init__(
    self,
    checkpoint: Any,
    directory: str | os.PathLike[str],
    max_to_keep: int | None = 5,
    *,
    like: str | os.PathLike[str],
    name_map: NameMapLike = None,
    ignore: Sequence[str] = (),
    omit: Sequence[str] = (),
    forget_bias: ForgetBias = None,
    allow_approximate: bool = False,
    **options: Any,
  ):
    _check_backend()
    self._options = KerasOptions(
      name_map=NameMap.parse(name_map),
      ignore=ignore,
      forget_bias=forget_bias,
      allow_approximate=allow_approximate,
    )
    self._names = Tf1Names.read(prefix_lib.resolve(os.fspath(like)), omit)
    self._written = checkpoint
    self._name = options.get("checkpoint_name", "ckpt")
    self._settings: Mapping[str, Any] = {}
    # The object path of the optimizer whose state is written.
    self._optimizer: str | None = None
    # The structure of the last checkpoint, and what was matched for it.
    self._last: tuple[object, ToTf1] | None = None
    # Whether there has been an asynchronous save.
    self._is_async = False
    self._caller = 0
    self._failed: BaseException | None = None
    self.plan: Tf1Plan | None = None
    if not write_callbacks.has_callbacks():
      checkpoint = write_callbacks.WrappedCheckpoint(checkpoint, self._add_names)
    super().__init__(checkpoint, os.fspath(directory), max_to_keep, **options)

  @property
  def checkpoint(self) -> Any:
    """The `tf.train.Checkpoint` that is saved."""
    return self._written

  def save(
    self,
    checkpoint_number: Any = None,
    check_interval: bool = True,
    options: Any = None,
  ) -> str | None:
    """Saves a checkpoint that both kinds of readers restore.

    The first save of a manager is not asynchronous, so that what is missing is an error
    here.

    Args:
      checkpoint_number: see `tf.train.CheckpointManager.save`.
      check_interval: see there.
      options: a `tf.train.CheckpointOptions`; it stays as it is.

    Returns:
      The path of the checkpoint, or None if `checkpoint_interval` is not over yet.

    Raises:
      VariableMismatchError: `like` has names that the checkpoint cannot supply. Of a
        first save no file is left.
      UnsupportedCheckpointError: optimizer state cannot mean the same in TF1.
      CheckpointIOError: the file system refused.
    """
    is_async = options is not None and options.enable_async
    # TensorFlow waits too before it writes. The settings below are those of this save.
    self._wait()
    # From 2.14 on, TensorFlow raises what failed before, in its next asynchronous save.
    if not (is_async and write_callbacks.has_callbacks()):
      self._raise_failed()
    self._failed = None
    self._caller = threading.get_ident()
    if self._optimizer is not None:
      # The state that an asynchronous save writes is that of now.
      self._settings = LiveObjects(self._written).optimizer_settings(self._optimizer)
    if self.plan is None:
      options = write_callbacks.synchronous(options)
    elif is_async:
      write_callbacks.make_copies_repeatable(self._written)
      self._is_async = True
    if write_callbacks.has_callbacks():
      options = write_callbacks.options_with(options, self._add_names)
    if checkpoint_number is None:
      self._go_on_counting()
    return super().save(checkpoint_number, check_interval, options)

  def _go_on_counting(self) -> None:
    """Has the save counter go on behind the latest checkpoint.

    What TensorFlow saves asynchronously has a counter of 0 (seen in 2.15 and 2.21). A
    job that resumes from it would write over checkpoints that are there.
    """
    name = os.path.basename(self.latest_checkpoint or "")
    found = re.fullmatch(re.escape(self._name) + r"-(\d+)", name)
    counter = self._written.save_counter
    if found and tf.executing_eagerly() and int(counter) < int(found[1]):
      counter.assign(int(found[1]))

  def sync(self) -> None:
    """Waits until asynchronous saves have ended.

    Raises:
      CheckpointError: one of them failed.
    """
    self._wait()
    self._raise_failed()

  def _wait(self) -> None:
    if self._is_async:
      write_callbacks.wait_for_writes(self._written)

  def _raise_failed(self) -> None:
    failed, self._failed = self._failed, None
    if failed is not None:
      raise failed

  def _add_names(self, prefix: str) -> None:
    """Adds the names to a checkpoint that was written, before the state file names it."""
    try:
      with CheckpointReader(prefix) as reader:
        plan = self._make_plan(reader)
        dual_names.add_names(reader, plan)
    except BaseException as error:
      if self.plan is None and prefix not in self.checkpoints:
        _remove(prefix)
      if threading.get_ident() != self._caller:
        self._failed = error
      raise
    self.plan = dataclasses.replace(plan, tensors={})

  def _make_plan(self, reader: CheckpointReader) -> Tf1Plan:
    """Plans the names of a checkpoint; one error lists all that is wrong."""
    structure = structure_of(reader)
    if self._last is None or self._last[0] != structure:
      conversion = self._match(reader)
    else:
      options = dataclasses.replace(self._options, settings=self._settings)
      conversion = self._last[1].at(reader, options)
      conversion.convert()
    # What is kept holds no arrays.
    self._last = structure, conversion.at(reader, self._options)
    return conversion.plan()

  def _match(self, reader: CheckpointReader) -> ToTf1:
    contents = read_contents(reader.prefix, reader.index, reader.object_graph)
    live = LiveObjects(self._written)
    if self.plan is None and len(contents.states) == 1:
      self._optimizer = contents.states[0].label
      self._settings = live.optimizer_settings(self._optimizer)
    model = live.model_names(v.key for v in contents.variables.values())
    options = dataclasses.replace(self._options, settings=self._settings)
    conversion = ToTf1(reader, options, self._names, model)
    problems: list[errors.CheckpointError] = []
    for step in (
      conversion.choose,
      conversion.match,
      conversion.check_matched,
      conversion.convert,
    ):
      try:
        step()
      except (
        errors.OptionError,
        errors.UnsupportedCheckpointError,
        errors.VariableMismatchError,
      ) as error:
        problems.append(error)
    misfits = self._names.misfits(conversion.plan().entries(reader.index))
    if problems or misfits:
      raise self._cannot_supply(reader.prefix, problems, misfits)
    return conversion

  def _cannot_supply(
    self,
    prefix: str,
    problems: Sequence[errors.CheckpointError],
    misfits: Sequence[str],
  ) -> errors.CheckpointError:
    like = self._names.prefix
    words = [f"{prefix}: TensorFlow 1 could not restore it by the names in {like}."]
    words += [str(problem) for problem in problems]
    if misfits:
      words.append(f"Names that it cannot supply ({len(misfits)}):")
      words += [f"  {line}" for line in errors.shorten(misfits, 50)]
      words.append(
        "Give the checkpoint what is missing (its optimizer must be built: "
        "optimizer.build(model.trainable_variables)), map names with name_map=, or name "
        "what TensorFlow 1 does not need: omit=[...]."
      )
    if self.plan is not None or prefix in self.checkpoints:
      words.append(
        "The state file was not changed. tf.train.Checkpoint.restore reads its files."
      )
    else:
      words.append("Nothing was kept of it.")
    kind = type(problems[0]) if len(problems) == 1 else errors.VariableMismatchError
    return kind("\n".join(words))


def _check_backend() -> None:
  """Refuses Keras on another backend, whose models TensorFlow does not save."""
  keras = sys.modules.get("keras")
  backend = getattr(getattr(keras, "backend", None), "backend", None)
  name = backend() if callable(backend) else "tensorflow"
  if name != "tensorflow" and "tf_keras" not in sys.modules:
    raise errors.OptionError(
      f"Keras runs on the backend {name!r}, whose variables tf.train.Checkpoint does not "
      "save. Set KERAS_BACKEND=tensorflow before Keras is imported."
    )


def _remove(prefix: str) -> None:
  """Removes the files of a checkpoint, the index first."""
  for path in [index_path(prefix), *files.glob_prefix(f"{prefix}.data-")]:
    if files.exists(path):
      files.remove(path)
