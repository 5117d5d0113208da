"""What the state of an optimizer means: formulas, and the slots of each Keras.

The optimizers are a table, `estimator_ckpt.checkpoint.optimizers`.

TensorFlow 1's optimizer is the reference: a slot of any other optimizer of its kind is

    stored = scale * what TF1's slot holds + offset

so that a conversion between two of them is one scale and one offset too.

The formulas (g is the gradient). Sources: TensorFlow's kernels `training_ops.cc`, and
Keras 2.12, 2.15 and 3.15. Tests continue training in the other optimizer with each:

Adam         w -= lr sqrt(1-b2^t)/(1-b1^t) m / (sqrt(v) + epsilon)
             everywhere; m = b1 m + (1-b1) g and v = b2 v + (1-b2) g^2;
             TF1 keeps b1^t and b2^t, Keras counts t
AdamW        w -= lr decay w, then as Adam                 (Keras)
             w -= decay w, then as Adam                    (contrib's AdamW)
             w -= lr (m / (sqrt(v) + epsilon) + decay w)   (BERT's AdamWeightDecay)
LazyAdam     as Adam, but a step leaves rows alone that it does not look up
Lamb         u = m / (sqrt(v) + epsilon) + decay w,  w -= lr |w|/|u| u,
             with |w|/|u| = 1 for what is excluded, such as biases (ALBERT's LAMB)
             w -= lr decay w, then the same without decay, of m and v corrected as Adam's,
             and with |w|/|u| for every variable           (Keras 3)
AdaMax       w -= lr/(1-b1^t) m / (v + epsilon),  v = max(b2 v, |g|)      everywhere
Momentum     a = momentum a + g,        w -= lr a          (TF1)
             a = momentum a - lr g,     w += a             (SGD, every Keras)
Adagrad      w -= lr g / sqrt(a)                           (TF1: no epsilon)
             w -= lr g / (sqrt(a) + epsilon)               (Keras 2 legacy)
             w -= lr g / sqrt(a + epsilon)                 (Keras 2, Keras 3)
RMSProp      m = momentum m + lr g / sqrt(rms [- mg^2] + epsilon),  w -= m
             but Keras 2 legacy, without momentum:
             w -= lr g / (sqrt(rms [- mg^2]) + epsilon)
Ftrl         the same everywhere, with beta and shrinkage too
Adadelta     the same everywhere

Embeddings have sparse gradients, whose formulas differ. Rows that a step does not look
up: TF1 and Keras 2 legacy leave the slots of Momentum, RMSProp, Ftrl and Adadelta as
they are; Keras 2 and 3 decay every row. Rows that a batch looks up several times: Keras
3 on TensorFlow (3.0 to 3.15) sums the squares of their gradients; all others square the
sum.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Mapping
from typing import Any

from estimator_ckpt import errors
from estimator_ckpt.checkpoint.optimizers import (
  CONVERTED,
  OPTIMIZERS,
  SlotNames,
  of_class,
)


class Flavor(enum.Enum):
  """The library that an optimizer is of: TensorFlow 1, or a version of Keras."""

  TF1 = "tf1"
  KERAS_2_LEGACY = "2-legacy"
  KERAS_2 = "2"
  KERAS_3 = "3"

  @classmethod
  def parse(cls, value: Flavor | str | int) -> Flavor:
    """Parses the name of a flavor.

    Args:
      value: a flavor, or one of `"tf1"`, `"2-legacy"`, `"2"`, `"3"`, 2 and 3.

    Returns:
      The flavor.

    Raises:
      OptionError: no flavor has this name.

    Example:
      >>> Flavor.parse("2-legacy")
      <Flavor.KERAS_2_LEGACY: '2-legacy'>
    """
    if isinstance(value, cls):
      return value
    try:
      return cls(str(value))
    except ValueError:
      known = ", ".join(repr(f.value) for f in cls if f is not cls.TF1)
      raise errors.OptionError(
        f"keras={value!r} is unknown. Choose one of {known}."
      ) from None

  @property
  def title(self) -> str:
    """The name of the library in a sentence."""
    return _TITLES[self]


_TITLES = {
  Flavor.TF1: "TensorFlow 1",
  Flavor.KERAS_2_LEGACY: "Keras 2 legacy",
  Flavor.KERAS_2: "Keras 2",
  Flavor.KERAS_3: "Keras 3",
}
MODERN = (Flavor.KERAS_2, Flavor.KERAS_3)


KINDS = tuple(CONVERTED)

# Keras' default.
KERAS_EPSILON = 1e-7


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """An optimizer, as far as its state is concerned.

  Attributes:
    kind: TensorFlow 1's name of the optimizer, one of `KINDS`.
    flavor: the library that the optimizer is of.
    settings: the known arguments of its constructor, by Keras' names: `learning_rate`,
      `momentum`, `epsilon`, `centered`, `amsgrad`, ... Besides,
      `learning_rate_varies` says whether a schedule changes the learning rate, and
      `sums_sparse_gradients` whether the gradients of a row are summed before use.

  Example:
    >>> sgd = Optimizer.of_keras("SGD", Flavor.KERAS_3, {"momentum": 0.9})
    >>> sgd.kind, sgd.slots
    ('Momentum', ('momentums',))
  """

  kind: str
  flavor: Flavor
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @classmethod
  def of_keras(
    cls, class_name: str, flavor: Flavor, settings: Mapping[str, Any]
  ) -> Optimizer:
    """Describes an optimizer of a Keras class.

    Args:
      class_name: the name of the class, such as `"SGD"`.
      flavor: the version of Keras.
      settings: the known arguments of the constructor, by Keras' names.

    Returns:
      The optimizer; SGD is Momentum if its momentum is not 0, else GradientDescent.

    Raises:
      UnsupportedCheckpointError: TensorFlow 1 has no such optimizer.
    """
    if class_name == "SGD":
      kind = "Momentum" if settings.get("momentum") else "GradientDescent"
      return cls(kind, flavor, settings)
    known = of_class(class_name)
    if known is not None:
      return cls(known, flavor, settings)
    reasons = [kind.why_not for kind in OPTIMIZERS if kind.keras == class_name]
    why = f" ({reasons[0]})" if any(reasons) else ""
    classes = ", ".join(sorted({kind.keras for kind in CONVERTED.values()}))
    raise errors.UnsupportedCheckpointError(
      f"TensorFlow 1 has no optimizer whose state {class_name} could take over{why}. "
      f"There are rules for {classes}. Make one of these, or load the model without an "
      "optimizer."
    )

  def __str__(self) -> str:
    if self.flavor is Flavor.TF1:
      return f"TensorFlow 1's {self.kind}Optimizer"
    return f"{self.flavor.title}'s {self.keras_class}"

  @property
  def keras_class(self) -> str:
    """The name of the class in Keras."""
    return CONVERTED[self.kind].keras

  @property
  def kept(self) -> tuple[str, ...]:
    """The slots that the optimizer has, by TF1's names."""
    slots = tuple(names.tf1 for names in CONVERTED[self.kind].slots)
    if self.kind == "RMSProp":
      # TF1 keeps the slot even when momentum is 0.
      if self.flavor is not Flavor.TF1 and not self.settings.get("momentum"):
        slots = tuple(slot for slot in slots if slot != "momentum")
      if not self.settings.get("centered"):
        slots = tuple(slot for slot in slots if slot != "mg")
    return slots

  @property
  def slots(self) -> tuple[str, ...]:
    """The slots that the optimizer has, by its own names (attributes in Keras 2 and 3)."""
    slots = tuple(self.own_name(slot) for slot in self.kept)
    if self.kind == "GradientDescent" and self.flavor is Flavor.KERAS_2:
      # Keras 2's SGD makes and updates momentums even when its momentum is 0.
      slots = ("momentums",)
    return slots

  def tf1_names(self) -> dict[str, str]:
    """Names TF1's slot variables.

    Returns:
      For each slot, the last part of its variables' names.

    Example:
      >>> Optimizer("Adam", Flavor.TF1).tf1_names()
      {'m': 'Adam', 'v': 'Adam_1'}
    """
    if CONVERTED[self.kind].spelled:
      return dict(CONVERTED[self.kind].spelled)
    order = [slot for slot in CONVERTED[self.kind].tf1_slots if slot in self.kept]
    return {
      slot: self.kind + (f"_{number}" if number else "")
      for number, slot in enumerate(order)
    }

  def own_name(self, tf1_slot: str) -> str:
    """Translates TF1's name of a slot.

    Args:
      tf1_slot: a slot of `kept`.

    Returns:
      The optimizer's own name; in Keras 2 and 3, of the attribute that lists the slot.
    """
    names = self._names(tf1_slot)
    if self.flavor is Flavor.TF1:
      return names.tf1
    return names.legacy if self.flavor is Flavor.KERAS_2_LEGACY else names.attribute

  def word(self, tf1_slot: str) -> str:
    """Translates TF1's name of a slot to the word in the names of slot variables.

    Args:
      tf1_slot: a slot of `kept`.

    Returns:
      The word, such as `momentum` for Keras 3's `adam/dense_kernel_momentum`.
    """
    names = self._names(tf1_slot)
    if self.flavor in MODERN:
      return names.word_3 if self.flavor is Flavor.KERAS_3 else names.word_2
    return self.own_name(tf1_slot)

  def _names(self, tf1_slot: str) -> SlotNames:
    return next(n for n in CONVERTED[self.kind].slots if n.tf1 == tf1_slot)

  @property
  def epsilon_outside_root(self) -> bool:
    """Whether epsilon is added to a root, where others take the root of a sum."""
    if self.flavor is not Flavor.KERAS_2_LEGACY:
      return False
    return self.kind == "Adagrad" or (
      self.kind == "RMSProp" and not self.settings.get("momentum")
    )

  @property
  def leaves_rows_alone(self) -> bool:
    """Whether a step leaves the slots of rows as they are that it does not look up."""
    if not CONVERTED[self.kind].leaves_rows_alone or self.flavor in MODERN:
      return False
    return not (self.kind == "RMSProp" and self.epsilon_outside_root)

  @property
  def squares_parts(self) -> bool:
    """Whether several gradients of one row are squared one by one, not as a sum."""
    return (
      self.flavor is Flavor.KERAS_3
      and CONVERTED[self.kind].squares_gradient
      and not self.settings.get("sums_sparse_gradients")
    )

  def relation(self, tf1_slot: str) -> tuple[float, float]:
    """Finds how the values of a slot relate to those of TF1's.

    Args:
      tf1_slot: a slot of `kept`.

    Returns:
      Scale and offset: the slot holds scale * TF1's value + offset.

    Raises:
      OptionError: the relation depends on a setting that is not known.
    """
    if self.kind == "Momentum" and self.flavor is not Flavor.TF1:
      return -self._learning_rate(), 0.0
    if self.kind == "Adagrad" and self.flavor in MODERN and tf1_slot == "accumulator":
      # The root is of accumulator + epsilon, and TF1's is of its accumulator alone.
      return 1.0, -float(self.settings.get("epsilon", KERAS_EPSILON))
    return 1.0, 0.0

  def _learning_rate(self) -> float:
    rate = self.settings.get("learning_rate")
    if rate is None:
      raise errors.OptionError(
        f"The momentum of {self} includes the learning rate, and TensorFlow 1's does "
        "not, so the conversion needs the learning rate. Checkpoints of TensorFlow 1 "
        "do not store it: give it (settings={'learning_rate': ...}, "
        "--optimizer_setting=learning_rate=...)."
      )
    if not float(rate) > 0:
      raise errors.OptionError(
        f"The momentum of {self} includes the learning rate, so the learning rate must "
        f"be above 0. It is {rate}. Set the one that training continues with."
      )
    return float(rate)


def parse_kind(name: str, present: Collection[str]) -> str:
  """Parses the name of an optimizer.

  Args:
    name: a name in any spelling: `adam`, `sgd`, `GradientDescentOptimizer`.
    present: the kinds that have state in the checkpoint. `sgd` means Momentum if that
      is one of them, else GradientDescent.

  Returns:
    One of `KINDS`.

  Raises:
    OptionError: no optimizer has this name.

  Example:
    >>> parse_kind("rmsprop", [])
    'RMSProp'
  """
  plain = name.lower().replace("_", "").replace("optimizer", "")
  if plain == "sgd":
    return "Momentum" if "Momentum" in present else "GradientDescent"
  for kind in KINDS:
    if kind.lower() == plain:
      return kind
  near = errors.nearest(plain, [kind.lower() for kind in KINDS])
  hint = f" Did you mean {near!r}?" if near else ""
  raise errors.OptionError(
    f"optimizer={name!r} is unknown.{hint} Choose one of "
    f"{', '.join(kind.lower() for kind in KINDS)}, sgd, or none."
  )
