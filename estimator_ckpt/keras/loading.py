"""Loads a checkpoint of any format into a Keras model and its optimizer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import reader as reader_lib
from estimator_ckpt.checkpoint.name_map import NameMapLike
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
  allow_approximate: bool = False,
) -> LoadReport:
  """Loads a checkpoint into a Keras model, and into its optimizer.

  Args:
    model: a model of Keras 2 or Keras 3. What of it is not built yet is loaded when it
      is, before it is used for the first time; the report says what is pending.
    checkpoint: a TF1, TF2 or dual checkpoint: a prefix, a directory, a SavedModel.
    optimizer: the optimizer that is to go on from the checkpoint's state, of the kind
      that trained it; None to load the weights alone. Its learning rate, its betas and
      the like are its own: checkpoints of TF1 do not store them.
    name_map: rules `checkpoint name: model name` for what is not found by itself, as a
      dict, a list of `"old:new"`, or a file of such; scopes end in `/`.
    strict: whether every variable of the model and of the checkpoint must find its
      other. Otherwise what does not is said in a warning, and keeps its value.
    ignore: names, scopes ending in `/`, or regular expressions of variables of the
      checkpoint that nothing is to take.
    keep: the same of variables of the model that are to keep their values.
    moving_averages: whether weights get the moving averages that
      `tf.train.ExponentialMovingAverage` kept of them, where there are such.
    iterations: how many steps the optimizer has made, or which source says so:
      `"global_step"` or `"beta_powers"`; by default both must agree.
    forget_bias: what TF1's LSTM cells added to their forget gates, if not 1.0 (0.0 for
      CuDNN's); a number, or a dict from scopes to numbers.
    allow_approximate: whether an optimizer's state is taken where it cannot mean the
      same in `optimizer`; see `optimizer_state`.

  Returns:
    A report of every variable; `str(report)` is a table.

  Raises:
    VariableMismatchError: something does not fit; the message has the table, and a
      name_map that would fix it. The model is as it was.
    UnsupportedCheckpointError: the optimizer's state cannot mean the same.
    OptionError: an argument cannot be meant.
    CheckpointNotFoundError: there is no checkpoint.
    CorruptCheckpointError: it is damaged.
  """
  reader = reader_lib.open_checkpoint(checkpoint)
  contents = keras_source.read_contents(
    reader.prefix, reader.index, reader.object_graph
  )
  weights = WeightLoader(
    KerasModel(model), reader, contents, name_map, strict, ignore, keep, moving_averages
  )
  weights.match(forget_bias)
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

  The gradient of an embedding has a row for each look-up, so a row several times if a
  batch looks it up several times. Keras 3 on TensorFlow squares each, where v of Adam,
  and what Adagrad, RMSprop and others keep, is of the square of their sum.

  Args:
    optimizer: an optimizer of Keras 3; one of Keras 2 stays as it is.

  Returns:
    The same optimizer.

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
  """Writes a checkpoint as weights that `model.load_weights` reads, by Keras itself.

  Args:
    model: a model that is built. It gets the weights too.
    checkpoint: as for `load`.
    path: a path ending in `.weights.h5`; or in `.keras`, for the whole model, which
      `keras.models.load_model` reads, and its optimizer if the model is compiled.
    **options: `optimizer`, `name_map` and the others of `load`.

  Returns:
    The report of `load`.

  Raises:
    VariableMismatchError: as `load`; or parts of the model are not built.
  """
  report = load(model, checkpoint, **options)
  if report.pending and not report.is_complete:
    raise errors.VariableMismatchError(
      f"{report}\nThe model is not built, so there is nothing to save. Call it once, "
      "or give it an input shape."
    )
  write = model.save if os.fspath(path).endswith(".keras") else model.save_weights
  write(os.fspath(path))
  return report
