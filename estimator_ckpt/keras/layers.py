"""Recipes that make the weights of a recurrent cell of a TF1 cell's variables.

Most layers of TensorFlow 1 and Keras keep the same arrays. Recurrent cells do not
(u units; checked against the outputs of TensorFlow 1.15's cells):

LSTM   TF1: kernel [inputs + u, 4u] and bias [4u], gates i, c, f, o; the cell adds
       forget_bias (1.0 unless told otherwise, 0.0 for CuDNN's) to f as it runs.
       Keras: kernel [inputs, 4u], recurrent_kernel [u, 4u], bias [4u]; i, f, c, o.
GRU    TF1: gates/kernel [inputs + u, 2u], gates r, z, and candidate/kernel.
       Keras with reset_after=False: kernel, recurrent_kernel, bias; z, r, h.
       CuDNN-compatible: the candidate has separate input and hidden projections.
       This is Keras' reset_after=True, with a second row of biases.
RNN    TF1: kernel [inputs + u, u]. Keras: kernel and recurrent_kernel.
CuDNN  tf.keras.layers.CuDNNLSTM and CuDNNGRU keep each gate's kernel in another order
       and each gate's recurrent kernel transposed. Each gate has two biases. LSTM
       adds them up; GRU with reset_after=True keeps both.

An optimizer's slots are permuted and split like their variables. Nothing is added. The
shapes of other layers' weights are in the module `layer_shapes`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable

from estimator_ckpt.keras.recipes import Recipe, Refusal, Shape, Stored

if TYPE_CHECKING:
  import numpy as np


def cell_recipes(
  kind: str,
  settings: Mapping[str, Any],
  weights: Mapping[str, Shape],
  stored: Mapping[str, Stored],
  forget_bias: float | None = None,
) -> dict[str, Recipe] | Refusal | None:
  """Finds how the weights of a Keras recurrent cell are made of a TF1 cell's.

  Args:
    kind: the class of the Keras cell: `"LSTMCell"`, `"GRUCell"`, `"SimpleRNNCell"`.
    settings: the settings of the Keras cell that matter here: `reset_after`.
    weights: the shape of each weight by its name in the cell: `"recurrent_kernel"`.
    stored: the variables of a scope, by their names relative to the scope.
    forget_bias: what the LSTM cell added to its forget gate; by default 0.0 for
      CuDNN's cells and 1.0 for all others.

  Returns:
    A recipe for each weight; a refusal if the scope is that of a TF1 cell that cannot
    be converted; None if the scope is not that of a TF1 cell.
  """
  convert = _CELLS.get(kind)
  if convert is None or "kernel" not in weights or "recurrent_kernel" not in weights:
    return None
  return convert(_Cell(settings, weights, stored, forget_bias))


def is_cell(kind: str) -> bool:
  """Whether a class is a recurrent cell, whose gates TF1 and Keras order differently.

  Args:
    kind: the name of a Keras class.

  Returns:
    Whether `cell_recipes` has rules for the class.
  """
  return kind in _CELLS


class _Cell:
  """A cell in Keras and the variables of one in TensorFlow 1."""

  def __init__(
    self,
    settings: Mapping[str, Any],
    weights: Mapping[str, Shape],
    stored: Mapping[str, Stored],
    forget_bias: float | None,
  ):
    self.settings = settings
    self.weights = weights
    self.stored = stored
    self.inputs = weights["kernel"][0]
    self.units = weights["recurrent_kernel"][0]
    self.forget_bias = forget_bias

  def has(self, leaf: str, *shape: int) -> bool:
    found = self.stored.get(leaf)
    return found is not None and found.shape == shape

  def name(self, leaf: str) -> str:
    return self.stored[leaf].name

  def is_keras_cudnn(self, gates: int) -> bool:
    """Whether the variables are those of tf.keras.layers.CuDNNLSTM or CuDNNGRU."""
    size = gates * self.units
    return (
      self.has("kernel", self.inputs, size)
      and self.has("recurrent_kernel", self.units, size)
      and self.has("bias", 2 * size)
    )

  def split(
    self, leaf: str, how: str, order: Sequence[int] = (0,)
  ) -> dict[str, Recipe]:
    """Recipes for kernel and recurrent_kernel, which are rows of one TF1 kernel."""
    inputs = self.inputs
    return {
      "kernel": _linear((self.name(leaf),), how, lambda k: _reorder(k[:inputs], order)),
      "recurrent_kernel": _linear(
        (self.name(leaf),), how, lambda k: _reorder(k[inputs:], order)
      ),
    }


def lstm_refusal(leaves: Collection[str]) -> str:
  """Finds what a TF1 cell has that Keras' LSTM lacks.

  Args:
    leaves: the names of the cell's variables, relative to its scope.

  Returns:
    The reason in words; "" for a cell that can be converted.

  Example:
    >>> lstm_refusal(["kernel", "bias", "w_f_diag"])
    "the cell has peephole connections, and Keras' LSTM has none"
  """
  if any(leaf.startswith("w_") and "diag" in leaf for leaf in leaves):
    return "the cell has peephole connections, and Keras' LSTM has none"
  if "projection/kernel" in leaves:
    return "the cell projects its output, and Keras' LSTM does not"
  # LayerNormBasicLSTMCell of tf.contrib.rnn, and LayerNormLSTMCell, which has no bias.
  norms = {leaf.partition("/")[0] for leaf in leaves if leaf.endswith("/gamma")}
  if {"input", "forget", "output"} <= {norm.replace("_norm", "") for norm in norms}:
    return (
      "the cell normalizes its gates (layer normalization), and Keras' LSTM does not"
    )
  return ""


def _lstm(cell: _Cell) -> dict[str, Recipe] | Refusal | None:
  u = cell.units
  if cell.is_keras_cudnn(4):
    return _keras_cudnn(cell, 4)
  reason = lstm_refusal(cell.stored)
  if reason:
    return Refusal(reason)
  if not cell.has("kernel", cell.inputs + u, 4 * u) or not cell.has("bias", 4 * u):
    return None
  if "bias" not in cell.weights:
    return Refusal("the cell has a bias, and the layer has use_bias=False")
  bias = cell.name("bias")
  forget_bias = cell.forget_bias
  if forget_bias is None:
    forget_bias = 0.0 if "cudnn" in bias else 1.0
  order = (0, 2, 1, 3)
  how = "gates i c f o -> i f c o"
  return {
    **cell.split("kernel", how + ", kernel split", order),
    "bias": Recipe(
      (bias,),
      f"{how}, forget_bias {forget_bias:g}",
      lambda b: _add_to_block(_reorder(b, order), 1, forget_bias, 4),
      lambda b: _reorder(b, order),
      forget_bias=forget_bias,
    ),
  }


def _gru(cell: _Cell) -> dict[str, Recipe] | Refusal | None:
  stored = _with_plain_names(cell.stored)
  cell = _Cell(cell.settings, cell.weights, stored, None)
  n, u = cell.inputs, cell.units
  if cell.is_keras_cudnn(3):
    return _keras_cudnn(cell, 3)
  if not cell.has("gates/kernel", n + u, 2 * u) or not cell.has("gates/bias", 2 * u):
    return None
  reset_after = bool(cell.settings.get("reset_after"))
  projected = "candidate/input_projection/kernel" in stored
  if "bias" not in cell.weights:
    return Refusal("the cell has biases, and the layer has use_bias=False")
  if reset_after != projected:
    return Refusal(
      "the cell resets its state "
      + ("after" if projected else "before")
      + f" the matrix product, and the layer has reset_after={reset_after}; make it "
      f"with reset_after={projected}"
    )
  return _gru_reset_after(cell) if projected else _gru_reset_before(cell)


def _gru_reset_before(cell: _Cell) -> dict[str, Recipe] | None:
  n, u = cell.inputs, cell.units
  if not cell.has("candidate/kernel", n + u, u) or not cell.has("candidate/bias", u):
    return None
  how = "gates r z, candidate -> z r h"
  kernels = (cell.name("gates/kernel"), cell.name("candidate/kernel"))
  biases = (cell.name("gates/bias"), cell.name("candidate/bias"))
  return {
    "kernel": _linear(kernels, how, lambda g, c: _join(_reorder(g[:n], (1, 0)), c[:n])),
    "recurrent_kernel": _linear(
      kernels, how, lambda g, c: _join(_reorder(g[n:], (1, 0)), c[n:])
    ),
    "bias": _linear(biases, how, lambda g, c: _join(_reorder(g, (1, 0)), c)),
  }


def _gru_reset_after(cell: _Cell) -> dict[str, Recipe] | None:
  n, u = cell.inputs, cell.units
  inner, hidden = "candidate/input_projection/", "candidate/hidden_projection/"
  if not (
    cell.has(inner + "kernel", n, u)
    and cell.has(hidden + "kernel", u, u)
    and cell.has(inner + "bias", u)
    and cell.has(hidden + "bias", u)
  ):
    return None
  how = "gates r z, candidate -> z r h"
  gates = cell.name("gates/kernel")

  def bias(g: np.ndarray, c: np.ndarray, h: np.ndarray) -> np.ndarray:
    import numpy as np

    # The gates have one bias. It becomes the input's row, and the state's row is zero.
    return np.stack([_join(_reorder(g, (1, 0)), c), _join(np.zeros_like(g), h)])

  return {
    "kernel": _linear(
      (gates, cell.name(inner + "kernel")),
      how,
      lambda g, c: _join(_reorder(g[:n], (1, 0)), c),
    ),
    "recurrent_kernel": _linear(
      (gates, cell.name(hidden + "kernel")),
      how,
      lambda g, c: _join(_reorder(g[n:], (1, 0)), c),
    ),
    "bias": Recipe(
      tuple(map(cell.name, ("gates/bias", inner + "bias", hidden + "bias"))),
      how,
      bias,
      None,
      "the cell has one bias for each gate, and the layer has two; its optimizer "
      "updates both",
    ),
  }


def _simple(cell: _Cell) -> dict[str, Recipe] | Refusal | None:
  u = cell.units
  if not cell.has("kernel", cell.inputs + u, u) or not cell.has("bias", u):
    return None
  if "bias" not in cell.weights:
    return Refusal("the cell has a bias, and the layer has use_bias=False")
  recipes = cell.split("kernel", "kernel split")
  recipes["bias"] = Recipe((cell.name("bias"),))
  return recipes


def _keras_cudnn(cell: _Cell, gates: int) -> dict[str, Recipe] | Refusal:
  if "bias" not in cell.weights:
    return Refusal("the CuDNN cell has biases, and the layer has use_bias=False")
  if gates == 3 and not cell.settings.get("reset_after"):
    return Refusal(
      "a CuDNN GRU resets its state after the matrix product, and the layer has "
      "reset_after=False; make it with reset_after=True"
    )
  how = "of CuDNN, gate by gate"

  def kernel(array: np.ndarray) -> np.ndarray:
    return _by_gate(array, gates, lambda k: k.T.reshape(k.shape, order="F"))

  def recurrent_kernel(array: np.ndarray) -> np.ndarray:
    return _by_gate(array, gates, lambda k: k.T)

  if gates == 3:
    bias = _linear((cell.name("bias"),), how, lambda b: b.reshape(2, -1))
  else:
    bias = Recipe(
      (cell.name("bias"),),
      how + ", biases added up",
      lambda b: b.reshape(2, -1).sum(axis=0),
      None,
      "the CuDNN cell has two biases for each gate; its optimizer updated both, and the "
      "layer has one",
    )
  return {
    "kernel": _linear((cell.name("kernel"),), how, kernel),
    "recurrent_kernel": _linear(
      (cell.name("recurrent_kernel"),), how, recurrent_kernel
    ),
    "bias": bias,
  }


_CELLS: dict[str, Callable[[_Cell], dict[str, Recipe] | Refusal | None]] = {
  "LSTMCell": _lstm,
  "GRUCell": _gru,
  "SimpleRNNCell": _simple,
}
# The first GRUBlockCell's own names.
_BLOCK_GRU = {
  "w_ru": "gates/kernel",
  "b_ru": "gates/bias",
  "w_c": "candidate/kernel",
  "b_c": "candidate/bias",
}


def _with_plain_names(stored: Mapping[str, Stored]) -> dict[str, Stored]:
  return {_BLOCK_GRU.get(leaf, leaf): value for leaf, value in stored.items()}


def _linear(
  sources: tuple[str, ...], how: str, make: Callable[..., np.ndarray]
) -> Recipe:
  return Recipe(sources, how, make, make)


def _reorder(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
  """Puts equal blocks of the last axis into another order."""
  import numpy as np

  blocks = np.split(array, len(order), axis=-1)
  return np.concatenate([blocks[i] for i in order], axis=-1)


def _by_gate(
  array: np.ndarray, gates: int, change: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
  import numpy as np

  return _join(*map(change, np.split(array, gates, axis=-1)))


def _join(*arrays: np.ndarray) -> np.ndarray:
  import numpy as np

  return np.concatenate(arrays, axis=-1)


def _add_to_block(
  array: np.ndarray, block: int, value: float, blocks: int
) -> np.ndarray:
  size = array.shape[-1] // blocks
  result = array.copy()
  result[..., block * size : (block + 1) * size] += value
  return result
