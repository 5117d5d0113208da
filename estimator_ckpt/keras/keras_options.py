"""What a user says about a conversion to or from Keras."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint.name_map import NameMapLike
from estimator_ckpt.checkpoint.name_pattern import NamePattern, matches_any
from estimator_ckpt.checkpoint.partition_strategy import PartitionStrategyLike
from estimator_ckpt.keras.scopes import ForgetBias
from estimator_ckpt.keras.slot_formulas import Flavor

# Of a conversion to Keras alone.
_TO_KERAS = ("keep", "iterations", "trainable")


@dataclasses.dataclass(frozen=True)
class KerasOptions:
  """The options of a conversion to or from Keras.

  Attributes:
    keras: whose model and optimizer, `"2-legacy"`, `"2"` or `"3"`. On the way to Keras
      it is by default that of `like`; on the way back it need not be said, and is checked.
    optimizer: the optimizer's name, `"adam"`; `"none"` for the model alone. By default
      it is recognised by the variables' names.
    like: to Keras, a checkpoint that `tf.train.Checkpoint(model=..., optimizer=...)`
      wrote for the model and optimizer in question. Back, a checkpoint of the TF1 code,
      for its names; it also says where weights of several arrays are one in TF1, as
      those of an LSTM.
    settings: the Keras optimizer's settings, where they are needed and no checkpoint
      says them: `learning_rate` (for momentum), `momentum`, `epsilon`, `beta_1`, ...
    name_map: rules that lead from TF1's names to the model's, and on the way back from
      the model's names to TF1's; see `estimator_ckpt.keras.load`.
    ignore: variables of the source that are left out: names, or patterns of names.
    keep: the model's variables that are to be as in `like`.
    iterations: how many steps the optimizer has made; see `estimator_ckpt.keras.load`.
    forget_bias: what the TF1 code's LSTM cells add to their forget gates; see there.
    partition_strategy: `"mod"` or `"div"` by scopes of TF1's partitioned embeddings; see
      `estimator_ckpt.keras.load`.
    trainable: for Keras 2 and 3 without `like`: the trainable variables in the order of
      `model.trainable_variables`; by default as the `.meta` file beside the checkpoint
      lists them.
    allow_approximate: whether optimizer state is taken that cannot mean the same.
  """

  keras: str | Flavor | None = None
  optimizer: str | None = None
  like: str | os.PathLike[str] | None = None
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  name_map: NameMapLike = None
  ignore: Sequence[str] = ()
  keep: Sequence[str] = ()
  iterations: int | str | None = None
  forget_bias: ForgetBias = None
  partition_strategy: PartitionStrategyLike = None
  trainable: Sequence[str] | None = None
  allow_approximate: bool = False

  @classmethod
  def of(cls, given: Mapping[str, Any]) -> KerasOptions:
    """The options, of names and values as a caller gives them.

    Args:
      given: values by the attributes' names.

    Returns:
      The options.

    Raises:
      OptionError: there is no option of a name.
    """
    known = [field.name for field in dataclasses.fields(cls)]
    for name in given:
      if name not in known:
        near = errors.nearest(name, known)
        hint = f" Did you mean {near}=?" if near else ""
        raise errors.OptionError(
          f"{name}= is no option of a conversion to or from Keras.{hint} There are "
          f"{', '.join(known)}."
        )
    return cls(**given)

  @property
  def flavor(self) -> Flavor | None:
    """Which Keras is meant, or None.

    Raises:
      OptionError: there is no such Keras.
    """
    flavor = Flavor.parse(self.keras) if self.keras is not None else None
    if flavor is Flavor.TF1:
      raise errors.OptionError("keras= is '2-legacy', '2' or '3'.")
    return flavor

  def like_prefix(self) -> str | None:
    """The prefix of the checkpoint `like`, or None.

    Raises:
      CheckpointNotFoundError: there is none.
    """
    return None if self.like is None else prefix_lib.resolve(os.fspath(self.like))

  def ignored(self, names: Collection[str]) -> list[str]:
    """The names that are left out.

    Args:
      names: the names of the source's variables.

    Returns:
      Those that a pattern of `ignore` matches.

    Raises:
      OptionError: a pattern matches none.
    """
    patterns = [NamePattern(text, "ignore") for text in self.ignore]
    found = [name for name in names if matches_any(name, patterns)]
    for pattern in patterns:
      pattern.check_used(names)
    return found

  def check_for_tf1(self) -> None:
    """Raises an error for an option that a conversion to TF1 has no use for.

    Raises:
      OptionError: there is one.
    """
    for name in _TO_KERAS:
      if getattr(self, name):
        raise errors.OptionError(f"{name}= is not for a conversion from Keras to TF1.")
