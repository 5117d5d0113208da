"""The optimizers whose state is understood, in one table.

An optimizer is added here, and nowhere else: `roles` and `tensor_names` recognise its
slots by their names, and `estimator_ckpt.keras` and `estimator_ckpt.files.keras` convert
them. Only a formula that no entry can express is code, in
`estimator_ckpt.keras.slot_formulas`.

Sources: `tensorflow/python/training` and `tensorflow/contrib/opt` of TensorFlow 1.15.5,
Keras 2.12, 2.15 and 3.15, BERT's `optimization.py` and ALBERT's `lamb_optimizer.py`.
"""

from __future__ import annotations

from estimator_ckpt.value_classes import NamedTuple


class SlotNames(NamedTuple):
  """What one slot is called.

  Attributes:
    tf1: in TensorFlow 1.
    legacy: in Keras 2 legacy.
    attribute: the attribute of Keras 2's and 3's optimizer that lists the variables.
    word_2: what the variables' names call it in Keras 2, `m` in `Adam/m/dense/kernel`.
    word_3: and in Keras 3, `momentum` in `adam/dense_kernel_momentum`.
  """

  tf1: str
  legacy: str
  attribute: str
  word_2: str
  word_3: str


class OptimizerKind(NamedTuple):
  """What is known of an optimizer, and of its counterpart in Keras.

  Attributes:
    tf1: its name in TensorFlow 1, which stands in the names of its slots; "" where only
      Keras has it.
    tf1_slots: the slots of TensorFlow 1's, in the order in which it creates them.
    spelled: where the slots' names are not made of the optimizer's: those names, by slot.
    powers: the variables that hold powers of betas: for each the setting of Keras, and
      TensorFlow 1's default.
    keras: the name of its class in Keras; "" where Keras has none.
    slots: the names of the slots that can become Keras'.
    keras_words: names of further slots that Keras 2 may have.
    converts: whether its state can become that of Keras' optimizer, and back.
    family: what optimizers have in common that continue from each other's slots; by
      default the name, which no other has.
    flavors: which Keras have the class: `"2-legacy"`, `"2"`, `"3"`.
    why_not: why its state is not converted, where there is a counterpart in Keras.
    optional: TensorFlow 1's names of the slots that depend on a setting.
    same_in_legacy: whether a slot of Keras 2 legacy means what TensorFlow 1's means.
    same_in_keras: whether a slot of Keras 2 and 3 means what TensorFlow 1's means.
    legacy_settings: what Keras 2 legacy stores beside slots and the step.
    tf1_epsilon: TensorFlow 1's default where Keras has another, or None.
    squares_gradient: whether a slot holds squares of gradients.
    leaves_rows_alone: whether TensorFlow 1 leaves the slots of rows alone that a step
      with a sparse gradient does not look up.
  """

  tf1: str
  tf1_slots: tuple[str, ...] = ()
  spelled: tuple[tuple[str, str], ...] = ()
  powers: tuple[tuple[str, str, float], ...] = ()
  keras: str = ""
  slots: tuple[SlotNames, ...] = ()
  keras_words: tuple[str, ...] = ()
  converts: bool = False
  family: str = ""
  flavors: tuple[str, ...] = ("2-legacy", "2", "3")
  why_not: str = ""
  optional: tuple[str, ...] = ()
  same_in_legacy: bool = False
  same_in_keras: bool = False
  legacy_settings: tuple[str, ...] = ()
  tf1_epsilon: float | None = None
  squares_gradient: bool = False
  leaves_rows_alone: bool = False

  @property
  def keras_2_words(self) -> frozenset[str]:
    """All names that Keras 2 gives its slots."""
    names = [word for slot in self.slots for word in (slot.legacy, slot.word_2)]
    return frozenset([*names, *self.keras_words])

  @property
  def is_named_alike_in_legacy(self) -> bool:
    """Whether Keras 2 legacy calls each slot as TensorFlow 1 does."""
    return all(slot.tf1 == slot.legacy for slot in self.slots)


_ADAM_SLOTS = (
  SlotNames("m", "m", "_momentums", "m", "momentum"),
  SlotNames("v", "v", "_velocities", "v", "velocity"),
)
_BETA_1 = ("beta1_power", "beta_1", 0.9)
_BETA_2 = ("beta2_power", "beta_2", 0.999)
_ADAM_SETTINGS = ("learning_rate", "decay", "beta_1", "beta_2")

# Of several with one class of Keras, or of several with equal slots, the first is meant
# where only the class, or only the slots, are known.
OPTIMIZERS = (
  OptimizerKind(
    "Adam",
    ("m", "v"),
    powers=(_BETA_1, _BETA_2),
    keras="Adam",
    slots=_ADAM_SLOTS,
    keras_words=("vhat",),
    converts=True,
    family="Adam",
    same_in_legacy=True,
    same_in_keras=True,
    legacy_settings=_ADAM_SETTINGS,
    tf1_epsilon=1e-8,
    squares_gradient=True,
  ),
  OptimizerKind(
    "AdamW",
    ("m", "v"),
    powers=(_BETA_1, _BETA_2),
    keras="AdamW",
    slots=_ADAM_SLOTS,
    keras_words=("vhat",),
    converts=True,
    family="Adam",
    flavors=("2", "3"),
    same_in_keras=True,
    legacy_settings=_ADAM_SETTINGS,
    tf1_epsilon=1e-8,
    squares_gradient=True,
  ),
  OptimizerKind(
    "AdamWeightDecay",
    spelled=(("m", "adam_m"), ("v", "adam_v")),
    keras="AdamW",
    slots=_ADAM_SLOTS,
    converts=True,
    family="Adam",
    flavors=("2", "3"),
    tf1_epsilon=1e-6,
    squares_gradient=True,
  ),
  OptimizerKind(
    "LazyAdam",
    ("m", "v"),
    powers=(_BETA_1, _BETA_2),
    keras="Adam",
    slots=_ADAM_SLOTS,
    converts=True,
    family="Adam",
    legacy_settings=_ADAM_SETTINGS,
    tf1_epsilon=1e-8,
    squares_gradient=True,
    leaves_rows_alone=True,
  ),
  OptimizerKind(
    "LAMB",
    spelled=(("m", "lamb_m"), ("v", "lamb_v")),
    keras="Lamb",
    slots=_ADAM_SLOTS,
    converts=True,
    flavors=("3",),
    tf1_epsilon=1e-6,
    squares_gradient=True,
  ),
  OptimizerKind(
    "AdaMax",
    ("m", "v"),
    powers=(_BETA_1,),
    keras="Adamax",
    slots=(
      SlotNames("m", "m", "_m", "m", "momentum"),
      SlotNames("v", "v", "_u", "u", "norm"),
    ),
    converts=True,
    legacy_settings=_ADAM_SETTINGS,
    tf1_epsilon=1e-8,
    leaves_rows_alone=True,
  ),
  OptimizerKind(
    "Momentum",
    ("momentum",),
    keras="SGD",
    slots=(SlotNames("momentum", "momentum", "momentums", "m", "momentum"),),
    converts=True,
    family="SGD",
    legacy_settings=("learning_rate", "decay", "momentum"),
    leaves_rows_alone=True,
  ),
  OptimizerKind(
    "GradientDescent",
    keras="SGD",
    converts=True,
    family="SGD",
    same_in_legacy=True,
    legacy_settings=("learning_rate", "decay", "momentum"),
  ),
  OptimizerKind(
    "Adagrad",
    ("accumulator",),
    keras="Adagrad",
    slots=(
      SlotNames(
        "accumulator", "accumulator", "_accumulators", "accumulator", "accumulator"
      ),
    ),
    converts=True,
    same_in_legacy=True,
    legacy_settings=("learning_rate", "decay"),
    squares_gradient=True,
  ),
  OptimizerKind(
    "RMSProp",
    ("rms", "mg", "momentum"),
    keras="RMSprop",
    slots=(
      SlotNames("rms", "rms", "_velocities", "velocity", "velocity"),
      SlotNames("momentum", "momentum", "_momentums", "momentum", "momentum"),
      SlotNames(
        "mg", "mg", "_average_gradients", "average_gradient", "average_gradient"
      ),
    ),
    converts=True,
    optional=("mg", "momentum"),
    same_in_legacy=True,
    same_in_keras=True,
    legacy_settings=("learning_rate", "decay", "rho", "momentum"),
    tf1_epsilon=1e-10,
    squares_gradient=True,
    leaves_rows_alone=True,
  ),
  OptimizerKind(
    "Ftrl",
    ("accum", "linear"),
    keras="Ftrl",
    slots=(
      SlotNames("accum", "accumulator", "_accumulators", "accumulator", "accumulator"),
      SlotNames("linear", "linear", "_linears", "linear", "linear"),
    ),
    converts=True,
    same_in_legacy=True,
    same_in_keras=True,
    legacy_settings=(
      "learning_rate",
      "decay",
      "learning_rate_power",
      "l1_regularization_strength",
      "l2_regularization_strength",
      "beta",
    ),
    squares_gradient=True,
    leaves_rows_alone=True,
  ),
  OptimizerKind(
    "Adadelta",
    ("accum", "accum_update"),
    keras="Adadelta",
    slots=(
      SlotNames(
        "accum",
        "accum_grad",
        "_accumulated_grads",
        "accumulated_grad",
        "accumulated_grad",
      ),
      SlotNames(
        "accum_update",
        "accum_var",
        "_accumulated_delta_vars",
        "accumulated_delta_var",
        "accumulated_delta_var",
      ),
    ),
    converts=True,
    same_in_legacy=True,
    same_in_keras=True,
    legacy_settings=("learning_rate", "decay", "rho"),
    tf1_epsilon=1e-8,
    squares_gradient=True,
    leaves_rows_alone=True,
  ),
  # Recognised by name, and not converted.
  OptimizerKind("AdagradDA", ("gradient_accumulator", "gradient_squared_accumulator")),
  OptimizerKind("AddSignOptimizer", ("m",)),
  OptimizerKind("LARSOptimizer", ("momentum",)),
  OptimizerKind("MomentumW", ("momentum",)),
  OptimizerKind("PowerSignOptimizer", ("m",)),
  OptimizerKind("ProximalAdagrad", ("accumulator",)),
  OptimizerKind("", keras="Adafactor", keras_words=("r", "c", "v")),
  OptimizerKind("", keras="Lion", keras_words=("m",)),
  OptimizerKind(
    "Nadam",
    ("m", "v"),
    keras="Nadam",
    keras_words=("m", "v"),
    why_not="Keras' Nadam has a schedule of its momentum, and TensorFlow 1's has none",
  ),
)

# What can become a Keras optimizer's, by TensorFlow 1's name.
CONVERTED = {kind.tf1: kind for kind in OPTIMIZERS if kind.converts}


def family(kind: str) -> str:
  """What an optimizer has in common with those that continue from its slots.

  Args:
    kind: TensorFlow 1's name of the optimizer, one of `CONVERTED`.

  Example:
    >>> family("AdamWeightDecay"), family("Ftrl")
    ('Adam', 'Ftrl')
  """
  return CONVERTED[kind].family or kind


def of_class(keras: str) -> str | None:
  """Finds the optimizer that a class of Keras is the counterpart of.

  Args:
    keras: the name of the class.

  Returns:
    TensorFlow 1's name of the optimizer; None where no state converts.

  Example:
    >>> of_class("AdamW"), of_class("Lion")
    ('AdamW', None)
  """
  return next((name for name, kind in CONVERTED.items() if kind.keras == keras), None)
