"""TensorFlow's numbers of tensor types, their names, sizes and numpy counterparts."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from estimator_ckpt.errors import (
  MissingDependencyError,
  OptionError,
  UnsupportedCheckpointError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
  from types import ModuleType

  import numpy as np

STRING = 7
INT32 = 3
INT64 = 9
RESOURCE = 20
VARIANT = 21

# number: (name, bytes of one element in a data file, numpy's or ml_dtypes' name).
# Quantized types are their plain integers. The types of four and two bits take a
# byte each in a data file.
_TYPES: dict[int, tuple[str, int | None, str | None]] = {
  1: ("float32", 4, "float32"),
  2: ("float64", 8, "float64"),
  3: ("int32", 4, "int32"),
  4: ("uint8", 1, "uint8"),
  5: ("int16", 2, "int16"),
  6: ("int8", 1, "int8"),
  7: ("string", None, "object"),
  8: ("complex64", 8, "complex64"),
  9: ("int64", 8, "int64"),
  10: ("bool", 1, "bool"),
  11: ("qint8", 1, "int8"),
  12: ("quint8", 1, "uint8"),
  13: ("qint32", 4, "int32"),
  14: ("bfloat16", 2, "ml_dtypes.bfloat16"),
  15: ("qint16", 2, "int16"),
  16: ("quint16", 2, "uint16"),
  17: ("uint16", 2, "uint16"),
  18: ("complex128", 16, "complex128"),
  19: ("float16", 2, "float16"),
  20: ("resource", None, None),
  21: ("variant", None, None),
  22: ("uint32", 4, "uint32"),
  23: ("uint64", 8, "uint64"),
  24: ("float8_e5m2", 1, "ml_dtypes.float8_e5m2"),
  25: ("float8_e4m3fn", 1, "ml_dtypes.float8_e4m3fn"),
  26: ("float8_e4m3fnuz", 1, "ml_dtypes.float8_e4m3fnuz"),
  27: ("float8_e4m3b11fnuz", 1, "ml_dtypes.float8_e4m3b11fnuz"),
  28: ("float8_e5m2fnuz", 1, "ml_dtypes.float8_e5m2fnuz"),
  29: ("int4", 1, "ml_dtypes.int4"),
  30: ("uint4", 1, "ml_dtypes.uint4"),
  31: ("int2", 1, "ml_dtypes.int2"),
  32: ("uint2", 1, "ml_dtypes.uint2"),
  33: ("float4_e2m1fn", 1, "ml_dtypes.float4_e2m1fn"),
}
_NUMBERS = {name: number for number, (name, _, _) in _TYPES.items()}
_ML_DTYPES = "ml_dtypes."


def tensorflow() -> ModuleType | None:
  """The TensorFlow that a caller has imported, which takes seconds; None without one.

  A program may put another function in its place.
  """
  return sys.modules.get("tensorflow")


def name(number: int) -> str:
  """The name of a type, as `tf.DType.name` says it; `"type 99"` for an unknown one.

  >>> name(1), name(99)
  ('float32', 'type 99')
  """
  known = _TYPES.get(number)
  return known[0] if known else f"type {number}"


def number(name: str) -> int:
  """The number of a type.

  Args:
    name: as `tf.DType.name` says it.

  Returns:
    The number `BundleEntry.dtype` has.

  Raises:
    OptionError: no such type.
  """
  try:
    return _NUMBERS[name]
  except KeyError:
    raise OptionError(
      f"no tensor type is called {name!r}; there are: {', '.join(_NUMBERS)}"
    ) from None


def item_size(number: int) -> int | None:
  """How many bytes an element takes in a data file.

  Args:
    number: a `BundleEntry.dtype`.

  Returns:
    The bytes, or None for strings, variants and resources, whose size varies.

  Raises:
    UnsupportedCheckpointError: the type is not known here.
  """
  try:
    return _TYPES[number][1]
  except KeyError:
    raise UnsupportedCheckpointError(
      f"tensor type number {number} is not known to this version"
    ) from None


def to_numpy(number: int) -> np.dtype:
  """The numpy type for a type: little-endian, as it stands in a data file.

  Args:
    number: a `BundleEntry.dtype`.

  Returns:
    A numpy dtype; `object` for strings.

  Raises:
    UnsupportedCheckpointError: variants, resources, and types not known here.
    MissingDependencyError: ml_dtypes, or a newer one, is needed for the type; bfloat16
      needs none in a process that has imported TensorFlow.
  """
  import numpy as np

  item_size(number)
  type_name, _, numpy_name = _TYPES[number]
  if numpy_name is None:
    raise UnsupportedCheckpointError(
      f"tensors of type {type_name} have no numpy form; only the TensorFlow object"
      " that wrote one can read it"
    )
  if not numpy_name.startswith(_ML_DTYPES):
    return np.dtype(numpy_name).newbyteorder("<")
  return np.dtype(_extended(type_name, numpy_name[len(_ML_DTYPES) :]))


def _extended(type_name: str, scalar_name: str) -> type:
  """A scalar type that NumPy lacks: ml_dtypes', or for bfloat16 TensorFlow's."""
  try:
    import ml_dtypes
  except ImportError:
    # The NumPy of TensorFlow 1.15 to 2.6 is too old for ml_dtypes.
    source = tensorflow() if type_name == "bfloat16" else None
    if source is not None and hasattr(source, "bfloat16"):
      return source.bfloat16.as_numpy_dtype
    found = "not installed"
  else:
    scalar = getattr(ml_dtypes, scalar_name, None)
    if scalar is not None:
      return scalar
    found = f"version {ml_dtypes.__version__} lacks it"
  instead = (
    "; a process that has imported TensorFlow needs none"
    if type_name == "bfloat16"
    else ""
  )
  raise MissingDependencyError(
    f"tensors of type {type_name} need the package ml_dtypes ({found}); install it"
    f" with: pip install -U ml_dtypes (Python 3.8 or newer, NumPy 1.21 or newer){instead}"
  )


def describe(dtype: int, shape: Iterable[int] | None) -> str:
  """A dtype and shape in words, for example `float32 [64, 10]`."""
  if shape is None:
    return f"{name(dtype)} of any shape"
  dims = "[" + ", ".join("?" if n == -1 else str(n) for n in shape) + "]"
  return f"{name(dtype)} {dims}"
