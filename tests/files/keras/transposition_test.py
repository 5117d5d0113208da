"""A transposed weight is read and written in blocks; no TensorFlow."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import estimator_ckpt as eckpt
from estimator_ckpt.bundle import dtypes
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.keras import transposition
from estimator_ckpt.keras.forms import Form
from tests.bundle_builder import BundleBuilder

_TYPES = [
  "float32",
  "float64",
  "float16",
  "bfloat16",
  "int8",
  "int64",
  "bool",
  "complex64",
]


@st.composite
def _arrays(draw):
  shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple))
  dtype = dtypes.to_numpy(dtypes.number(draw(st.sampled_from(_TYPES))))
  size = int(np.prod(shape)) * dtype.itemsize
  if dtype.kind == "b":
    data = draw(
      st.binary(min_size=size, max_size=size).map(lambda b: bytes(x & 1 for x in b))
    )
  else:
    # Any bits: a NaN keeps its own.
    data = draw(st.binary(min_size=size, max_size=size))
  return np.frombuffer(data, dtype).reshape(shape)


@settings(deadline=None)
@given(_arrays(), st.data(), st.integers(1, 200), st.integers(1, 100))
def test_blocks_are_the_bytes_of_the_transposed_array(
  array, data, block_size, tile_size
):
  axes = data.draw(st.permutations(range(array.ndim)))
  made = transposition.transposed_blocks(array, axes, block_size, tile_size)
  blocks = list(made)
  expected = np.ascontiguousarray(array.transpose(axes)).tobytes()
  assert b"".join(block.tobytes() for block in blocks) == expected
  assert all(block.nbytes <= max(block_size, array.itemsize) for block in blocks)


# 24 MB: far more than a block here, and than the pieces in which files are read.
_TABLE = np.arange(2000 * 3000, dtype=np.float32).reshape(2000, 3000)
_MAP = {"net/table": "head/kernel transpose=1,0"}
_BACK = {"head/kernel": "net/table transpose=1,0"}


def _tf1(path, table, cuts=()):
  """A checkpoint with a table that is the other way round in Keras."""
  builder = BundleBuilder()
  # What follows is not aligned.
  builder.strings("words", [b"abc"], [1])
  if cuts:
    builder.partitioned("net/table", table, cuts)
  else:
    builder.numbers("net/table", table)
  builder.numbers("global_step", 7, "int64")
  return builder.write(path)


def _keras(path, kernel):
  builder = BundleBuilder()
  graph = ObjectGraph()
  key = graph.add_variable([["model", "head", "kernel"]], "head/kernel")
  builder.numbers(key, kernel)
  counter = graph.add_variable([["save_counter"]], "save_counter")
  builder.numbers(counter, 1, "int64")
  builder.object_graph(graph)
  return builder.write(path), key


def _convert(source, target, **options):
  """Returns how much memory was taken at most."""
  tracemalloc.start()
  try:
    eckpt.convert(source, str(target), **options)
    return tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()


@pytest.mark.parametrize("cuts", [(), (300, 700)], ids=["whole", "in parts"])
def test_the_memory_that_a_transposition_takes_is_bounded(cuts, tmp_path, monkeypatch):
  monkeypatch.setattr(transposition, "BLOCK_SIZE", 1 << 20)
  like, key = _keras(tmp_path / "like", np.zeros((3, 2), np.float32))
  there = {"to": "tf2", "like": like, "name_map": _MAP, "optimizer": "none"}
  # What is imported first is none of it.
  small = _tf1(tmp_path / "small", _TABLE[:2, :3])
  _convert(small, tmp_path / "small_there", **there)
  like, key = _keras(tmp_path / "large_like", np.zeros((3000, 2000), np.float32))
  there["like"] = like
  source = _tf1(tmp_path / "tf1", _TABLE, cuts)
  keras, back = str(tmp_path / "keras"), str(tmp_path / "back")
  used = _convert(source, keras, **there)
  assert used < _TABLE.nbytes / 2
  with eckpt.open_checkpoint(keras) as reader:
    np.testing.assert_array_equal(reader[key], _TABLE.T)
  names = _tf1(tmp_path / "names", _TABLE)
  used = _convert(keras, back, to="tf1", like=names, name_map=_BACK)
  assert used < _TABLE.nbytes / 2
  with eckpt.open_checkpoint(back) as reader:
    np.testing.assert_array_equal(reader["net/table"], _TABLE)
  assert eckpt.verify(keras).ok
  assert eckpt.verify(back).ok


def test_a_slot_is_changed_on_the_way_and_reshaped(tmp_path, monkeypatch):
  monkeypatch.setattr(transposition, "BLOCK_SIZE", 7)
  table = np.arange(24, dtype=np.float32).reshape(4, 6)
  reader = eckpt.open_checkpoint(_tf1(tmp_path / "m", table))
  form = Form(axes=(1, 0), reshape=True)
  there = transposition.transposed_tensor(
    reader, "net/table", form, (2, 3, 4), lambda block: block * 2
  )
  made = np.frombuffer(b"".join(there.make()), "f").reshape(there.shape)
  np.testing.assert_array_equal(made, table.T.reshape(2, 3, 4) * 2)
  path, key = _keras(tmp_path / "k", made)
  back = transposition.transposed_back(
    eckpt.open_checkpoint(path), key, form, (4, 6), lambda block: block / 2
  )
  made = np.frombuffer(b"".join(back.make()), "f").reshape(back.shape)
  np.testing.assert_array_equal(made, table)
