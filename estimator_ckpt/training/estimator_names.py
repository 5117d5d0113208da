"""Finds variables by name for Estimators, in checkpoints of any format.

Stock code looks for names among the keys of a checkpoint. A TF2 checkpoint has them in its
object graph only, and a dual one has two keys for each variable.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import numpy as np

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import formats, layout
from estimator_ckpt.checkpoint.listing import saved_tensors
from estimator_ckpt.checkpoint.paired_keys import PairedKeys
from estimator_ckpt.checkpoint.reader import open_checkpoint
from estimator_ckpt.checkpoint.roles import RoleKind, classify
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.tensorflow_private import tf
from estimator_ckpt.training.warm_start.settings import warm_start_settings
from estimator_ckpt.warm_start.request import WarmStart
from estimator_ckpt.warm_start.warm_start_plan import WarmStartPlan

_logger = logging.getLogger(__name__)


def with_names(estimator: tf.estimator.Estimator) -> tf.estimator.Estimator:
  """Makes an Estimator list and find variables by name in checkpoints of any format.

  Args:
    estimator: gets other methods `get_variable_names` and `get_variable_value`.

  Returns:
    The same Estimator.
  """
  names = _Names(estimator.model_dir)
  estimator.get_variable_names = names.get_variable_names
  estimator.get_variable_value = names.get_variable_value
  return estimator


class _Names:
  """`get_variable_names` and `get_variable_value` of an Estimator."""

  def __init__(self, model_dir: str):
    self._model_dir = model_dir

  def get_variable_names(self) -> list[str]:
    """Names all variables of the latest checkpoint, as a TF1 checkpoint would.

    Returns:
      The names, sorted.

    Raises:
      ValueError: the model_dir has no checkpoint.
    """
    with open_checkpoint(self._latest()) as reader:
      return sorted(_keys_by_name(reader))

  def get_variable_value(self, name: str) -> Any:
    """Reads the value of a variable in the latest checkpoint.

    Args:
      name: of a variable, or any key of the checkpoint.

    Returns:
      A NumPy array.

    Raises:
      ValueError: the model_dir has no checkpoint.
      tf.errors.NotFoundError: there is no such variable.
    """
    with open_checkpoint(self._latest()) as reader:
      keys = _keys_by_name(reader)
      key = keys.get(name, name)
      if key not in reader:
        near = errors.nearest(name, keys)
        hint = f" Did you mean {near!r}?" if near else ""
        raise tf.errors.NotFoundError(
          None, None, f"Key {name} not found in checkpoint {reader.prefix}.{hint}"
        )
      return np.array(reader[key])

  def _latest(self) -> str:
    prefix = tf.train.latest_checkpoint(self._model_dir)
    if not prefix:
      raise ValueError(
        f"Couldn't find trained model at {self._model_dir}: it has no checkpoint."
      )
    return prefix


def _keys_by_name(reader: Any) -> dict[str, str]:
  """The key of each variable, without what only object-based checkpoints have."""
  graph = formats.read_object_graph(reader.prefix, reader.index)
  own = (layout.OBJECT_GRAPH_KEY, layout.SAVE_COUNTER)
  return {
    tensor.name: tensor.key
    for tensor in saved_tensors(reader.index, graph, PairedKeys.of(reader.index))
    if tensor.name not in own and tensor.key not in own
  }


def start_by_names(estimator: tf.estimator.Estimator | None) -> None:
  """Makes stock `warm_start_from=` find names in a checkpoint that has object keys only.

  Args:
    estimator: is about to train, and gets other warm start settings; None for none.
  """
  if estimator is None:
    return
  settings: Any = tfp.warm_start_settings_of(estimator)
  if type(settings) is not tf.estimator.WarmStartSettings:
    return
  try:
    with open_checkpoint(settings.ckpt_to_initialize_from) as reader:
      if reader.format.has_names:
        return
  except errors.CheckpointError:
    return  # TensorFlow says what is wrong with the checkpoint.
  _logger.info(
    "warm_start_from=%s has no names; the names in its object graph are used.",
    settings.ckpt_to_initialize_from,
  )
  tfp.set_warm_start_settings(estimator, warm_start_settings(_ByName(settings)))


class _ByName(WarmStart):
  """Stock WarmStartSettings as a WarmStart, which finds names in any checkpoint."""

  def __init__(self, settings: tf.estimator.WarmStartSettings):
    super().__init__(settings.ckpt_to_initialize_from)
    self._settings = settings

  def plan(self, graph: Any) -> WarmStartPlan:
    """Plans the start of the variables that stock TensorFlow would start.

    Args:
      graph: its global variables.

    Returns:
      The source of each variable.
    """
    settings = self._settings
    names = tfp.variables_to_warm_start(settings.vars_to_warm_start)
    roles = classify(names)
    return WarmStart(
      self.checkpoint,
      [re.escape(name) + "$" for name in names],
      {old: new for new, old in (settings.var_name_to_prev_var_name or {}).items()},
      optimizer_state=any(
        role.kind in (RoleKind.SLOT, RoleKind.NON_SLOT) for role in roles.values()
      ),
      global_step=tf.compat.v1.GraphKeys.GLOBAL_STEP in names,
      vocab_info=settings.var_name_to_vocab_info,
    ).plan(graph)
