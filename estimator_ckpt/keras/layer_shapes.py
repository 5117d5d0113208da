"""Weights that hold the numbers of a TF1 variable in another shape, as their layer says.

EinsumDense  TF1's dense layer has a kernel `[inputs, outputs]` and a bias `[outputs]`. The
             equation says which axes of the Keras kernel are inputs, and which outputs:
             `abc,cde->abde` contracts c, so `[32, 32]` becomes `[32, 4, 8]`. The layers
             in MultiHeadAttention are of this class.
PReLU        alpha has an axis of size 1 for each axis that it is shared along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from estimator_ckpt.bundle.shards import num_elements
from estimator_ckpt.keras.forms import Form

# The equations of MultiHeadAttention, for inputs [batch, time, features], by the
# attributes that hold its layers. Equations for more axes have the same kernels.
_PROJECTION = "abc,cde->abde"
ATTENTION_EQUATIONS = {
  "_query_dense": _PROJECTION,
  "_key_dense": _PROJECTION,
  "_value_dense": _PROJECTION,
  "_output_dense": "abcd,cde->abe",
}


def shape_form(
  kind: str,
  settings: Mapping[str, Any],
  leaf: str,
  shape: tuple[int, ...],
  stored: tuple[int, ...],
) -> Form | None:
  """Finds how a TF1 variable becomes a weight of another shape.

  Args:
    kind: the class of the Keras layer.
    settings: the settings of the layer that matter here: `equation`.
    leaf: the weight's name in the layer.
    shape: the weight's dimensions.
    stored: the dimensions of the variable.

  Returns:
    The form; None where the layer does not say how, or the shapes do not fit.

  Example:
    >>> settings = {"equation": "abc,cde->abde"}
    >>> shape_form("EinsumDense", settings, "kernel", (32, 4, 8), (32, 32))
    Form(mod_parts=(), axes=(), reshape=True)
  """
  plain = leaf.lstrip("_")
  if kind == "PReLU" and plain == "alpha":
    same = [n for n in shape if n != 1] == [n for n in stored if n != 1]
    return Form(reshape=True) if same else None
  equation = settings.get("equation")
  if kind != "EinsumDense" or not isinstance(equation, str):
    return None
  if plain == "bias":
    # Axes of the bias stand in the order of the outputs.
    return Form(reshape=True) if stored == (num_elements(shape),) else None
  return _kernel_form(equation, shape, stored) if plain == "kernel" else None


def _kernel_form(
  equation: str, shape: tuple[int, ...], stored: tuple[int, ...]
) -> Form | None:
  inputs, _, rest = equation.replace("...", "").replace(" ", "").partition(",")
  kernel, _, outputs = rest.partition("->")
  contracted = "".join(c for c in inputs if c in kernel and c not in outputs)
  made = "".join(c for c in outputs if c in kernel and c not in inputs)
  if len(kernel) != len(shape) or len(contracted + made) != len(kernel):
    return None
  sizes = dict(zip(kernel, shape))
  dense = tuple(
    num_elements(tuple(sizes[c] for c in axes)) for axes in (contracted, made)
  )
  if stored != dense:
    return None
  if kernel == contracted + made:
    return Form(reshape=True)
  if kernel == made + contracted:
    return Form(axes=(1, 0), reshape=len(shape) > 2)
  return None
