from __future__ import annotations

import sys

import numpy as np
import pytest

from estimator_ckpt.bundle import dtypes
from estimator_ckpt.errors import (
  MissingDependencyError,
  OptionError,
  UnsupportedCheckpointError,
)

# No wheel of ml-dtypes is for Python 3.7.
ml_dtypes = pytest.importorskip("ml_dtypes")


@pytest.mark.parametrize(
  "number, name, size, numpy_type",
  [
    (1, "float32", 4, np.float32),
    (2, "float64", 8, np.float64),
    (8, "complex64", 8, np.complex64),
    (9, "int64", 8, np.int64),
    (10, "bool", 1, np.bool_),
    (14, "bfloat16", 2, ml_dtypes.bfloat16),
    (18, "complex128", 16, np.complex128),
    (19, "float16", 2, np.float16),
    (23, "uint64", 8, np.uint64),
    (24, "float8_e5m2", 1, ml_dtypes.float8_e5m2),
    (25, "float8_e4m3fn", 1, ml_dtypes.float8_e4m3fn),
    (29, "int4", 1, ml_dtypes.int4),
  ],
)
def test_types_have_numbers_names_sizes_and_numpy_types(number, name, size, numpy_type):
  assert dtypes.name(number) == name
  assert dtypes.number(name) == number
  assert dtypes.item_size(number) == size
  assert dtypes.to_numpy(number) == np.dtype(numpy_type)


@pytest.mark.parametrize("number", range(1, 30))
def test_a_numpy_element_has_the_size_it_has_in_the_file(number):
  size = dtypes.item_size(number)
  if size is not None:
    assert dtypes.to_numpy(number).itemsize == size


@pytest.mark.parametrize(
  "number, plain",
  [(11, "int8"), (12, "uint8"), (13, "int32"), (15, "int16"), (16, "uint16")],
)
def test_quantized_types_are_plain_integers(number, plain):
  assert dtypes.to_numpy(number) == np.dtype(plain)


def test_strings_are_objects():
  assert dtypes.to_numpy(dtypes.STRING) == np.dtype(object)
  assert dtypes.item_size(dtypes.STRING) is None


@pytest.mark.parametrize("name", ["variant", "resource"])
def test_variants_and_resources_have_no_numpy_form(name):
  with pytest.raises(UnsupportedCheckpointError, match=f"{name} have no numpy form"):
    dtypes.to_numpy(dtypes.number(name))


@pytest.mark.parametrize("number", [0, 99, 101])
def test_unknown_numbers_are_named(number):
  assert dtypes.name(number) == f"type {number}"
  with pytest.raises(UnsupportedCheckpointError, match=f"type number {number}"):
    dtypes.item_size(number)
  with pytest.raises(UnsupportedCheckpointError, match=f"type number {number}"):
    dtypes.to_numpy(number)


def test_unknown_names_are_refused():
  with pytest.raises(OptionError, match="no tensor type is called 'float31'.*float32"):
    dtypes.number("float31")


@pytest.mark.parametrize("name", ["bfloat16", "float8_e5m2", "int4"])
def test_without_ml_dtypes_the_error_says_what_to_install(monkeypatch, name):
  monkeypatch.setitem(sys.modules, "ml_dtypes", None)
  monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
  with pytest.raises(MissingDependencyError, match=f"{name}.*pip install -U ml_dtypes"):
    dtypes.to_numpy(dtypes.number(name))


class _TensorFlow:
  """What an imported TensorFlow has of bfloat16."""

  class bfloat16:
    as_numpy_dtype = ml_dtypes.bfloat16


def test_without_ml_dtypes_bfloat16_is_that_of_an_imported_tensorflow(monkeypatch):
  monkeypatch.setitem(sys.modules, "ml_dtypes", None)
  monkeypatch.setitem(sys.modules, "tensorflow", _TensorFlow)
  assert dtypes.to_numpy(dtypes.number("bfloat16")) == np.dtype(ml_dtypes.bfloat16)
  with pytest.raises(MissingDependencyError, match="float8_e5m2.*not installed"):
    dtypes.to_numpy(dtypes.number("float8_e5m2"))


def test_a_type_that_ml_dtypes_lacks_is_named(monkeypatch):
  monkeypatch.delattr(ml_dtypes, "float8_e5m2")
  with pytest.raises(MissingDependencyError, match="float8_e5m2.*version.*lacks it"):
    dtypes.to_numpy(24)
