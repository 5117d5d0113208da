from __future__ import annotations

import os

import numpy as np
import pytest

from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.errors import (
  CheckpointNotFoundError,
  CorruptCheckpointError,
  OptionError,
)
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.diff import DifferenceKind, diff
from estimator_ckpt.files.rename import rename
from tests import golden
from tests.bundle_builder import BundleBuilder, dual_builder


def _kinds(comparison):
  return [(d.kind.value, d.name) for d in comparison.differences]


def _write(directory, name, **tensors):
  builder = BundleBuilder()
  for key, (values, dtype) in tensors.items():
    builder.numbers(key, values, dtype)
  return builder.write(directory / name)


@pytest.mark.parametrize("name", golden.names())
def test_a_checkpoint_equals_itself_without_a_byte_read(name):
  comparison = diff(golden.path(name), golden.path(name), values=True)
  assert comparison.equal
  assert comparison.bytes_read == 0
  assert comparison.by_checksum == comparison.matched
  assert comparison.matched == len(golden.manifest(name)["tensors"])


def test_what_is_only_in_one_is_said_of_which(tmp_path):
  a = _write(tmp_path, "a", x=([1.0], "float32"), y=([1.0], "float32"))
  b = _write(tmp_path, "b", y=([1.0], "float32"), z=([1.0], "float32"))
  comparison = diff(a, b)
  assert _kinds(comparison) == [("only in a", "x"), ("only in b", "z")]
  assert comparison.matched == 1
  assert comparison.differences[0].b is None
  assert comparison.differences[1].b.shape == (1,)


def test_types_and_shapes_are_compared(tmp_path):
  a = _write(tmp_path, "a", x=([1.0], "float32"), y=([1.0], "float32"))
  b = _write(tmp_path, "b", x=([[1.0]], "float32"), y=([1.0], "float64"))
  assert _kinds(diff(a, b, values=True)) == [("shape", "x"), ("dtype", "y")]


def test_values_count_only_if_asked_for(tmp_path):
  a = _write(tmp_path, "a", x=([1.0, 2.0, 3.0], "float32"))
  b = _write(tmp_path, "b", x=([1.0, 2.5, 2.0], "float32"))
  assert diff(a, b).equal
  comparison = diff(a, b, values=True)
  (difference,) = comparison.differences
  assert (difference.kind, difference.changed, difference.largest) == (
    DifferenceKind.VALUES,
    2,
    1.0,
  )
  assert comparison.bytes_read == 24


def test_equal_values_of_a_data_file_that_is_gone_or_cut_are_not_claimed(tmp_path):
  a = _write(tmp_path, "a", x=([1.0, 2.0], "float32"), y=([3.0], "float32"))
  b = _write(tmp_path, "b", x=([1.0, 2.0], "float32"), y=([3.0], "float32"))
  data = f"{b}.data-00000-of-00001"
  os.truncate(data, 11)
  with pytest.raises(CorruptCheckpointError, match="b.data.*'y' is at bytes 8 to 12"):
    diff(a, b, values=True)
  os.remove(data)
  for pair in ((a, b), (b, a)):
    with pytest.raises(CheckpointNotFoundError, match="a data file .* is missing"):
      diff(*pair, values=True)
    assert diff(*pair).equal


def test_only_tensors_whose_checksums_differ_are_read(tmp_path):
  a = _write(tmp_path, "a", x=(np.arange(50_000), "float32"), y=([1.0], "float32"))
  b = _write(tmp_path, "b", x=(np.arange(50_000), "float32"), y=([2.0], "float32"))
  seen = []
  comparison = diff(a, b, values=True, progress=lambda *pair: seen.append(pair))
  assert (comparison.bytes_read, comparison.by_checksum) == (8, 1)
  assert seen == [(8, 8)]


@pytest.mark.parametrize(
  ("tolerance", "equal"),
  [({"atol": 0.4}, False), ({"atol": 0.5}, True), ({"rtol": 0.2}, True)],
)
def test_tolerances(tmp_path, tolerance, equal):
  a = _write(tmp_path, "a", x=([1.0, 2.0], "float32"))
  b = _write(tmp_path, "b", x=([1.0, 2.5], "float32"))
  assert diff(a, b, values=True, **tolerance).equal is equal


def test_tolerances_have_to_be_numbers_from_zero(tmp_path):
  path = golden.path("tf1.15/adam_dense")
  for wrong in ({"atol": -1.0}, {"rtol": float("nan")}):
    with pytest.raises(OptionError, match="have to be 0 or more"):
      diff(path, path, **wrong)


def test_what_is_no_number_equals_itself_and_nothing_else(tmp_path):
  nan, inf = np.nan, np.inf
  a = _write(tmp_path, "a", x=([nan, inf, 1.0, nan, 0.0], "float32"))
  b = _write(tmp_path, "b", x=([nan, inf, inf, 1.0, -0.0], "float32"))
  (difference,) = diff(a, b, values=True, atol=5.0, rtol=5.0).differences
  assert (difference.changed, difference.largest) == (2, None)


def test_the_last_digit_of_the_largest_integers_counts(tmp_path):
  a = _write(tmp_path, "a", x=([2**62, -(2**63)], "int64"))
  b = _write(tmp_path, "b", x=([2**62 + 1, 2**63 - 1], "int64"))
  (difference,) = diff(a, b, values=True).differences
  assert (difference.changed, difference.largest) == (2, float(2**64 - 1))


def test_strings_and_bools_and_small_floats_are_compared(tmp_path):
  paths = []
  for number in (0, 1):
    builder = BundleBuilder()
    builder.strings("names", [b"same", b"other"[number:]], [2])
    builder.numbers("flags", [True, bool(number)], "bool")
    builder.numbers("half", [1.0, number], "bfloat16")
    paths.append(builder.write(tmp_path / str(number)))
  comparison = diff(*paths, values=True)
  assert [(d.name, d.changed) for d in comparison.differences] == [
    ("flags", 1),
    ("half", 1),
    ("names", 1),
  ]


def test_slices_that_are_cut_differently_are_compared_by_value(tmp_path):
  values = np.arange(12).reshape(6, 2)
  paths = []
  for cuts in ([2], [3, 4]):
    builder = BundleBuilder()
    builder.partitioned("p", values, cuts)
    paths.append(builder.write(tmp_path / str(len(cuts))))
  comparison = diff(*paths, values=True)
  assert comparison.equal
  assert comparison.bytes_read == 96


def _tf2_of(source, directory, name):
  """A checkpoint of the same values under object keys alone."""
  builder = BundleBuilder()
  graph = ObjectGraph()
  for key, values in golden.expected(source).items():
    object_key = graph.add_variable([("model", *key.split("/"), "v")], key)
    builder.numbers(object_key, values, str(values.dtype))
  builder.numbers(
    graph.add_variable([(layout.SAVE_COUNTER,)], layout.SAVE_COUNTER), 1, "int64"
  )
  builder.object_graph(graph)
  return builder.write(directory / name)


def test_names_match_across_formats(tmp_path):
  source = "tf1.15/adam_dense"
  tf2 = _tf2_of(source, tmp_path, "tf2")
  for pair in ((golden.path(source), tf2), (tf2, golden.path(source))):
    comparison = diff(*pair, values=True)
    assert comparison.equal
    assert comparison.matched == 15


def test_between_two_object_based_checkpoints_keys_count(tmp_path):
  a = _tf2_of("tf1.15/adam_dense", tmp_path, "a")
  builder = BundleBuilder()
  graph = ObjectGraph()
  for key, values in golden.expected("tf1.15/adam_dense").items():
    builder.numbers(
      graph.add_variable([("var_list", key)], key), values, str(values.dtype)
    )
  builder.object_graph(graph)
  kinds = _kinds(diff(a, builder.write(tmp_path / "b")))
  assert [kind for kind, _ in kinds].count("key") == 15
  assert ("only in a", "save_counter") in kinds


def test_a_dual_checkpoint_has_what_each_of_its_halves_has(tmp_path):
  dual = dual_builder().write(tmp_path / "dual")
  tf1 = BundleBuilder()
  names = ["net/w", "net/w/Adam", "net/b", "net/b/Adam"]
  for position, name in enumerate(names):
    tf1.numbers(name, np.arange(6) + 10 * position)
  tf1.numbers("global_step", 7, "int64")
  comparison = diff(tf1.write(tmp_path / "tf1"), dual, values=True)
  assert comparison.equal
  assert comparison.matched == 5


def test_names_that_several_tensors_have_match_nothing(tmp_path):
  paths = []
  for top in ("a", "b"):
    builder = BundleBuilder()
    graph = ObjectGraph()
    for child in ("x", "y"):
      builder.numbers(graph.add_variable([(top, child)], "Variable"), [1.0])
    builder.object_graph(graph)
    paths.append(builder.write(tmp_path / top))
  kinds = [kind for kind, name in _kinds(diff(*paths)) if name[0] != "_"]
  assert kinds == ["only in a"] * 2 + ["only in b"] * 2


def test_variants_differ_where_their_checksums_do(tmp_path):
  source = golden.path("tf1.15/iterator")
  copy = golden.copy("tf1.15/iterator", tmp_path / "copy")
  from estimator_ckpt.bundle.index import Index

  index = Index.read(copy)
  (key,) = [k for k in index.keys() if index.entry(k).dtype == 21]

  index.put(key, index.entry(key)._replace(crc32c=1))
  index.write(copy, sync=False)
  (difference,) = diff(source, copy, values=True).differences
  assert (difference.kind, difference.changed) == (DifferenceKind.VALUES, None)


def test_a_tensor_that_cannot_be_read_differs_and_the_others_are_compared(tmp_path):
  paths = []
  for number in (0, 1):
    builder = BundleBuilder()
    builder.numbers("a", [number])
    builder.numbers("b", [number])
    builder.shards[0][0] ^= 64 * number
    paths.append(builder.write(tmp_path / str(number)))
  comparison = diff(*paths, values=True)
  assert [(d.name, d.changed) for d in comparison.differences] == [
    ("a", None),
    ("b", 1),
  ]
  (problem,) = comparison.problems
  assert "checksum of 'a' does not match" in problem


def test_a_missing_checkpoint_is_an_error(tmp_path):
  with pytest.raises(CheckpointNotFoundError, match="no checkpoint there"):
    diff(golden.path("tf1.15/adam_dense"), os.fspath(tmp_path / "m"))


def test_renamed_tensors_are_compared_by_a_name_map(tmp_path):
  source = golden.path("tf1.15/adam_dense")
  rename(source, tmp_path / "m", {"net/": "model/"})
  assert not diff(source, tmp_path / "m").equal
  compared = diff(source, tmp_path / "m", name_map={"net/": "model/"}, values=True)
  assert compared.equal and compared.matched == 15
  with pytest.raises(OptionError, match="matches none"):
    diff(source, tmp_path / "m", name_map={"nat/": "model/"})


def test_a_dual_checkpoint_made_of_its_own_names_differs_in_nothing(tmp_path):
  builder = dual_builder()
  # A counter that training wrote has bytes of its own.
  builder.index.remove("save_counter/.ATTRIBUTES/VARIABLE_VALUE")
  builder.numbers("save_counter/.ATTRIBUTES/VARIABLE_VALUE", 7, "int64")
  before = builder.write(tmp_path / "before")
  convert(before, tmp_path / "tf1", "tf1")
  convert(tmp_path / "tf1", tmp_path / "after", "dual")
  for pair in ((before, tmp_path / "after"), (tmp_path / "after", before)):
    found = {difference.name for difference in diff(*pair, values=True).differences}
    # The two graphs number the objects in different orders.
    assert found <= {layout.OBJECT_GRAPH_KEY}
  # Another count of saves differs in the counter alone.
  builder.numbers("save_counter/.ATTRIBUTES/VARIABLE_VALUE", 8, "int64")
  more = builder.write(tmp_path / "more")
  found = {d.name: d.changed for d in diff(more, before, values=True).differences}
  assert found == {"save_counter": 1}
  found = {
    d.name: d.changed for d in diff(more, tmp_path / "after", values=True).differences
  }
  assert found["save_counter"] == 1 and "global_step" not in found
