"""Loads a checkpoint of any format into a Keras model and its optimizer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import reader as reader_lib
from estimator_ckpt.checkpoint.name_map import NameMapLike
from estimator_ckpt.checkpoint.partition_strategy import PartitionStrategyLike
from estimator_ckpt.keras import model as keras_model
from estimator_ckpt.keras import source as keras_source
from estimator_ckpt.keras.model import KerasModel, KerasOptimizer
from estimator_ckpt.keras.report import LoadReport
from estimator_ckpt.keras.scopes import ForgetBias
from estimator_ckpt.keras.state import StateLoader
from estimator_ckpt.keras.weights import WeightLoader


def load(
  model: Any,
  checkpoint: str | os.PathLike[str],
  optimizer: Any = None,
  name_map: NameMapLike = None,
  strict: bool = True,
  *,
  ignore: Sequence[str] = (),
  keep: Sequence[str] = (),
  moving_averages: bool = False,
  iterations: int | str | None = None,
  forget_bias: ForgetBias = None,
  partition_strategy: PartitionStrategyLike = None,
  allow_approximate: bool = False,
) -> LoadReport:
  """Loads a checkpoint into a Keras model, and into its optimizer.

  Args:
    model: a model of Keras 2 or Keras 3. A layer that is not built yet is loaded when
      it is built, before its first use; the report lists it as pending.
    checkpoint: a TF1, TF2 or dual checkpoint: a prefix, a directory, a SavedModel.
    optimizer: the optimizer that continues from the checkpoint's state. Its kind must
      be that of the optimizer that trained the checkpoint. It keeps its own learning
      rate, betas and other settings, since TF1 checkpoints do not store them. None
      loads the weights alone.
    name_map: rules `checkpoint name: model name` for variables that are not matched
      without a rule: a dict, a list of `"old:new"`, or the path of a file with such
      lines. Scopes end in `/`.
    strict: whether every variable of the model and of the checkpoint must have a
      counterpart. If False, a warning lists those that have none, and variables of
      the model without one keep their values.
    ignore: checkpoint variables that the model does not take: names, scopes ending in
      `/`, or regular expressions.
    keep: variables of the model that keep their values, given like `ignore`.
    moving_averages: whether weights get the moving averages that
      `tf.train.ExponentialMovingAverage` kept of them, where the checkpoint has them.
    iterations: the number of steps that the optimizer has made, or its source:
      `"global_step"` or `"beta_powers"`. By default both must agree.
    forget_bias: what TF1's LSTM cells added to their forget gates, if not 1.0 (0.0 for
      CuDNN's); a number, or a dict from scopes of the checkpoint to numbers. Of
      several scopes that a cell is in, the innermost counts.
    partition_strategy: `{scope: "mod"}` for embeddings that were saved in several parts,
      and that `tf.nn.embedding_lookup` looked up with its default
      `partition_strategy="mod"`. Scopes are those of the checkpoint. A checkpoint does
      not store the strategy. Parts of which nothing is said are joined row after row,
      as for "div", and the report says so.
    allow_approximate: whether to load optimizer state that cannot mean exactly the
      same in `optimizer`; docs/keras.md lists such pairs of optimizers.

  Returns:
    A report of every variable; `str(report)` is a table.

  Raises:
    VariableMismatchError: variables do not match. The message has the table and a
      name_map that would fix it. The model is unchanged.
    UnsupportedCheckpointError: the optimizer's state cannot mean the same.
    OptionError: an argument has a value that is not allowed.
    CheckpointNotFoundError: there is no checkpoint.
    CorruptCheckpointError: the checkpoint is damaged.
  """
  reader = reader_lib.open_checkpoint(checkpoint)
  contents = keras_source.read_contents(
    reader.prefix, reader.index, reader.object_graph
  )
  weights = WeightLoader(
    KerasModel(model), reader, contents, name_map, strict, ignore, keep, moving_averages
  )
  weights.match(forget_bias, partition_strategy)
  state = None
  if optimizer is not None:
    state = StateLoader(
      KerasOptimizer(optimizer), weights, iterations, allow_approximate, strict
    )
    state.plan()
  weights.assign()
  if state is not None:
    state.load()
  return weights.report


def sum_sparse_gradients(optimizer: Any) -> Any:
  """Makes a Keras 3 optimizer treat repeated rows as TensorFlow 1 and Keras 2 do.

  The gradient of an embedding has one row for each look-up. A batch that looks up a row
  several times has several gradients of that row. Adam, Adagrad, RMSprop and others
  accumulate squared gradients: TensorFlow 1 and Keras 2 square the sum of a row's
  gradients, and Keras 3 on TensorFlow squares each of them.

  Args:
    optimizer: an optimizer of Keras 3, which is changed. One of Keras 2 stays as it is.

  Returns:
    `optimizer` itself.

  Example:
    >>> optimizer = sum_sparse_gradients(keras.optimizers.Adam())  # doctest: +SKIP
  """
  keras_model.sum_sparse_gradients(optimizer)
  return optimizer


def save_weights(
  model: Any,
  checkpoint: str | os.PathLike[str],
  path: str | os.PathLike[str],
  **options: Any,
) -> LoadReport:
  """Loads a checkpoint into a model, and has Keras write the model's weights.

  Args:
    model: a model that is built.
    checkpoint: a TF1, TF2 or dual checkpoint: a prefix, a directory, a SavedModel.
    path: the file to write. A path ending in `.weights.h5` gets the weights, which
      `model.load_weights` reads. A path ending in `.keras` gets the whole model, which
      `keras.models.load_model` reads, with its optimizer if the model is compiled.
    **options: further arguments of `load`, such as `optimizer` and `name_map`.

  Returns:
    The report of `load`.

  Raises:
    VariableMismatchError: variables do not match, or layers are not built.
    OptionError: the model is not compiled with `optimizer`.
    CheckpointError: any other error of `load`.
  """
  optimizer = options.get("optimizer")
  if optimizer is not None and getattr(model, "optimizer", None) is not optimizer:
    raise errors.OptionError(
      f"{os.fspath(path)}: Keras writes the optimizer that the model is compiled with, "
      "and optimizer= is another one, which would be lost. Call "
      "model.compile(optimizer=optimizer) first, or leave optimizer= out."
    )
  report = load(model, checkpoint, **options)
  if report.pending and not report.is_complete:
    raise errors.VariableMismatchError(
      f"{report}\nThe model is not built, so there is nothing to save. Call it once, "
      "or give it an input shape."
    )
  write = model.save if os.fspath(path).endswith(".keras") else model.save_weights
  write(os.fspath(path))
  return report
