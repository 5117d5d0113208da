"""`partition_strategy=`: which part has the row of an id; no TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest

from estimator_ckpt import errors
from estimator_ckpt.bundle.messages import TensorSlice
from estimator_ckpt.checkpoint.partition_strategy import (
  PartitionStrategy,
  row_parts,
  stored_rows,
)
from estimator_ckpt.checkpoint.reader import open_checkpoint
from estimator_ckpt.files.convert import convert
from tests.bundle_builder import BundleBuilder

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def _dealt_out(table, parts):
  """A table as a graph stores it that looks rows up with "mod"."""
  return np.concatenate([table[part::parts] for part in range(parts)])


def _write(path, table, parts, name="net/emb", **others):
  builder = BundleBuilder()
  cuts = [sum(len(table[i::parts]) for i in range(part)) for part in range(1, parts)]
  builder.partitioned(name, _dealt_out(table, parts), cuts)
  for slot, value in others.items():
    builder.partitioned(slot.replace("__", "/"), _dealt_out(value, parts), cuts)
  builder.numbers("global_step", 7, "int64")
  return builder.write(str(path))


def _table(rows, seed=1):
  return np.random.RandomState(seed).rand(rows, 3).astype(np.float32)


@pytest.mark.parametrize(("rows", "parts"), [(12, 4), (11, 4), (5, 2), (3, 3)])
def test_stored_rows_lead_back_to_the_order_of_ids(rows, parts):
  table = _table(rows)
  sizes = tuple(len(table[part::parts]) for part in range(parts))
  stored = _dealt_out(table, parts)
  np.testing.assert_array_equal(stored[stored_rows(sizes)], table)


@pytest.mark.parametrize(
  ("extents", "rows"),
  [
    ([((0, 3), (0, -1)), ((3, 2), (0, -1))], (3, 2)),
    ([((3, 2), (0, -1)), ((0, 3), (0, -1))], (3, 2)),
    ([((0, -1), (0, 2)), ((0, -1), (2, 2))], None),
    ([((0, -1), (0, -1))], None),
  ],
  ids=["rows", "in reverse", "columns", "one part"],
)
def test_only_parts_of_rows_are_parts_of_an_embedding(extents, rows):
  assert row_parts([TensorSlice(extent) for extent in extents], (5, 4)) == rows


def test_the_innermost_scope_counts_and_scopes_are_whole_steps():
  strategy = PartitionStrategy.parse({"a/": "mod", "a/b": "div", "c/d": "mod"})
  found = {name: strategy.of(name) for name in ("a/x", "a/b", "a/b/x", "ab", "c/d")}
  assert found == {"a/x": "mod", "a/b": "div", "a/b/x": "div", "ab": None, "c/d": "mod"}


@pytest.mark.parametrize("given", ["mod", {"a": "modulo"}, {1: "mod"}])
def test_what_is_no_strategy_is_refused(given):
  with pytest.raises(errors.OptionError, match="partition_strategy="):
    PartitionStrategy.parse(given)


@pytest.mark.parametrize("key", ["net", "net/", "net/emb"])
def test_the_reader_gives_rows_in_the_order_of_ids_slots_too(key, tmp_path):
  table, slot = _table(11), _table(11, 2)
  slots = {
    "net__emb__Adam": slot,
    "net__emb__Adam_1": slot,
    "opt__net__emb__Other": slot,
  }
  path = _write(tmp_path / "m", table, 4, **slots)
  with open_checkpoint(path, partition_strategy={key: "mod"}) as reader:
    np.testing.assert_array_equal(reader["net/emb"], table)
    assert not reader["net/emb"].flags.writeable
    np.testing.assert_array_equal(reader["net/emb/Adam"], slot)
  with open_checkpoint(path) as reader:
    np.testing.assert_array_equal(reader["net/emb"], _dealt_out(table, 4))


def test_a_slot_outside_of_the_scope_follows_its_variable(tmp_path):
  table, slot = _table(8), _table(8, 2)
  path = _write(tmp_path / "m", table, 3, opt__net__emb__Adagrad=slot)
  with open_checkpoint(path, partition_strategy={"net": "mod"}) as reader:
    np.testing.assert_array_equal(reader["opt/net/emb/Adagrad"], slot)


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ({"net/em": "mod"}, "has 'net/em', .*Did you mean 'net/emb'"),
    ({"global_step": "mod"}, "no variable in several parts"),
  ],
)
def test_a_scope_without_parts_is_an_error_with_the_nearest(given, message, tmp_path):
  path = _write(tmp_path / "m", _table(8), 3)
  with pytest.raises(errors.OptionError, match=message):
    open_checkpoint(path, partition_strategy=given)


def test_parts_that_mod_cannot_have_made_are_refused(tmp_path):
  builder = BundleBuilder()
  builder.partitioned("emb", _table(9), [2, 4])
  path = builder.write(str(tmp_path / "m"))
  with pytest.raises(errors.OptionError, match=r"2, 2, 5 rows.*as 3, 3, 3\."):
    open_checkpoint(path, partition_strategy={"emb": "mod"})


@pytest.mark.parametrize("to", ["tf2", "dual"])
def test_convert_gives_objects_the_rows_in_the_order_of_ids(to, tmp_path):
  table, slot = _table(11), _table(11, 2)
  path = _write(tmp_path / "m", table, 4, net__emb__Momentum=slot)
  report = convert(path, tmp_path / "out", to, partition_strategy={"net": "mod"})
  assert "saved in several parts" not in str(report)
  with open_checkpoint(tmp_path / "out") as reader:
    for name, value in (("net/emb", table), ("net/emb/Momentum", slot)):
      by_object = reader[f"var_list/{name.replace('/', '.S')}{_VALUE}"]
      np.testing.assert_array_equal(by_object, value)
      if to == "dual":
        # TF1 still looks the rows up in the parts.
        np.testing.assert_array_equal(reader[name], _dealt_out(value, 4))
  plan = report.checkpoints[0].plan
  assert ("net/emb" in plan.left_out) == (to == "tf2")


def test_convert_says_that_parts_are_joined_without_being_told(tmp_path):
  path = _write(tmp_path / "m", _table(11), 4)
  for to, noted in (("tf2", True), ("dual", True), ("tf1", False)):
    text = str(convert(path, tmp_path / to, to))
    assert ("net/emb was saved in several parts" in text) == noted
    assert text.count("--partition_strategy=net=mod") == noted
  text = str(convert(path, tmp_path / "div", "tf2", partition_strategy={"net": "div"}))
  assert "several parts" not in text
  with pytest.raises(errors.OptionError, match="keeps them"):
    convert(path, tmp_path / "no", "tf1", partition_strategy={"net": "mod"})
  with pytest.raises(errors.OptionError, match="Did you mean 'net'"):
    convert(path, tmp_path / "no", "tf2", partition_strategy={"ne": "mod"})
  assert not list(tmp_path.glob("no*"))
