"""Settings of a saver that a Saver of RunConfig's may complete."""

from __future__ import annotations

import dataclasses
from typing import Any

from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.tensorflow_private import tf


@dataclasses.dataclass(frozen=True)
class SaverSettings:
  """What a saver saves and keeps; None for what it was not told.

  Attributes:
    var_list: what is saved, as for `tf.compat.v1.train.Saver`.
    max_to_keep: how many checkpoints are kept; 0 keeps all.
    keep_hours: hours after which one checkpoint is preserved for good.
  """

  var_list: Any
  max_to_keep: int | None
  keep_hours: float | None

  def completed(self) -> SaverSettings:
    """The settings with those of the Savers in the graph's collection.

    `Estimator.train` puts one there, with what RunConfig says.
    """
    completed = self
    for saver in tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.SAVERS):
      # Another of these has settings of its own, and a var_list of its own keys.
      if not isinstance(saver, tf.compat.v1.train.Saver) or isinstance(
        saver, tfp.SaverBase
      ):
        continue
      found = tfp.saver_settings(saver)
      if completed.var_list is None and saver.saver_def is not None:
        completed = dataclasses.replace(completed, var_list=found["var_list"])
      if completed.max_to_keep is None:
        completed = dataclasses.replace(
          completed, max_to_keep=found["max_to_keep"] or 0
        )
      if completed.keep_hours is None:
        completed = dataclasses.replace(
          completed, keep_hours=found["keep_checkpoint_every_n_hours"]
        )
    return completed
