"""Where a checkpoint has each tensor of a graph."""

from __future__ import annotations

import pytest

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.training.restore_plan import plan_restore
from estimator_ckpt.training.restore_targets import (
  RestoreSource,
  RestoreTarget,
  RestoreTargets,
)

_FLOAT = 1


def _index(*keys: str, shape=(2,)) -> Index:
  index = Index()
  for i, key in enumerate(keys):
    index.put(key, BundleEntry(dtype=_FLOAT, shape=shape, size=8, offset=8 * i))
  return index


def _key(name: str) -> str:
  return layout.object_key([layout.VAR_LIST, name])


def _plan(index, *targets):
  return plan_restore(RestoreTargets(targets), index, "model.ckpt-1")


def test_the_object_key_comes_before_the_name():
  index = _index("w", _key("w"), layout.OBJECT_GRAPH_KEY)
  plan = _plan(index, RestoreTarget("w", _key("w"), _FLOAT, (2,)))
  assert plan.sources == (RestoreSource(_key("w"), ""),)
  assert not plan.problems


def test_a_name_that_looks_like_an_object_key_is_no_other_variables():
  index = _index("w", _key("w"))
  targets = [RestoreTarget(n, _key(n), _FLOAT, (2,)) for n in ("w", _key("w"))]
  plan = _plan(index, *targets)
  assert plan.sources == (RestoreSource("w", ""), RestoreSource(_key("w"), ""))
  assert not plan.problems


def test_the_name_where_there_is_no_object_key():
  plan = _plan(_index("w"), RestoreTarget("w", _key("w"), _FLOAT, (2,)))
  assert plan.sources == (RestoreSource("w", ""),)


def test_slices_are_read_from_a_whole_tensor_and_the_other_way_round():
  target = RestoreTarget(
    "w", _key("w"), _FLOAT, (4, 2), "4 2 0,2:0,2", "w/part_0", (2, 2)
  )
  plan = _plan(_index("w", shape=(4, 2)), target)
  assert plan.sources == (RestoreSource("w", "4 2 0,2:0,2"),)
  assert not plan.problems


def test_a_part_that_was_stored_as_a_tensor_of_its_own():
  target = RestoreTarget(
    "w", _key("w"), _FLOAT, (4, 2), "4 2 0,2:0,2", "w/part_0", (2, 2)
  )
  plan = _plan(_index("w/part_0", shape=(2, 2)), target)
  assert plan.sources == (RestoreSource("w/part_0", ""),)
  assert not plan.problems
  # Parts of another size contain other rows, so they must not be used.
  other = _plan(_index("w/part_0", shape=(3, 2)), target)
  assert [p.key for p in other.mismatched] == ["w/part_0"]


def test_missing_and_mismatched_are_told_apart():
  plan = _plan(
    _index("net/hidden/kernel", "b", "shared"),
    RestoreTarget("net/hiden/kernel", None, _FLOAT, (2,)),
    RestoreTarget("b", None, _FLOAT, (3,)),
    RestoreTarget("shared", None, _FLOAT, (2,)),
  )
  assert plan.sources == (None, None, RestoreSource("shared", ""))
  [missing] = plan.missing
  assert missing.nearest == "net/hidden/kernel"
  assert str(missing) == (
    "'net/hiden/kernel' (float32 [2]) is not in the checkpoint "
    "(nearest: 'net/hidden/kernel')"
  )
  [mismatched] = plan.mismatched
  assert str(mismatched) == (
    "'b' is float32 [3] in the graph, float32 [2] in the checkpoint"
  )
  assert "model.ckpt-1" in plan.message()
  assert "1 missing, 1 of another shape or dtype, of 3 tensors" in plan.message()


def test_a_long_list_is_cut():
  targets = [RestoreTarget(f"v{i}", None, _FLOAT, (2,)) for i in range(50)]
  assert "and 30 more" in _plan(_index("w"), *targets).message()


def test_a_dtype_that_differs():
  plan = _plan(_index("w"), RestoreTarget("w", None, 9, (2,)))
  assert str(plan.mismatched[0]) == (
    "'w' is int64 [2] in the graph, float32 [2] in the checkpoint"
  )


def test_a_table_may_have_any_size():
  assert not _plan(
    _index("t-keys"), RestoreTarget("t-keys", None, _FLOAT, None)
  ).problems


def test_unused_names_count_aliases_once_and_skip_what_is_not_state():
  index = _index("w", "old", "save_counter/.ATTRIBUTES/VARIABLE_VALUE")
  index.alias(_key("w"), "w")
  index.alias(_key("old"), "old")
  plan = _plan(index, RestoreTarget("w", _key("w"), _FLOAT, (2,)))
  assert plan.unused == ("old",)


@pytest.mark.parametrize("count", [3000])
def test_the_nearest_name_among_thousands(count):
  index = _index(*[f"layer_{i}/kernel" for i in range(count)])
  plan = _plan(index, RestoreTarget("layer_17x/kernel", None, _FLOAT, (2,)))
  assert plan.missing[0].nearest is not None


def _parts(count, rows, name="w/part_{}"):
  """An index with parts of `w`, each stored as a separate tensor."""
  index = Index()
  for i in range(count):
    entry = BundleEntry(
      dtype=_FLOAT, shape=(rows, 2), size=8 * rows, offset=8 * rows * i
    )
    index.put(name.format(i), entry)
  return index


def test_parts_that_are_tensors_make_parts_of_another_size():
  index = _parts(3, 2)
  target = RestoreTarget(
    "w", _key("w"), _FLOAT, (6, 2), "6 2 0,3:0,2", part_shape=(3, 2)
  )
  [source] = _plan(index, target).sources
  assert source.pieces == ("w/part_0", "w/part_1", "w/part_2") and source.axis == 0
  assert source.stand_in == ("w/part_0", "")
  whole = RestoreTarget("w", _key("w"), _FLOAT, (6, 2))
  assert _plan(index, whole).sources[0].pieces == source.pieces
  taller = RestoreTarget("w", _key("w"), _FLOAT, (7, 2))
  assert "float32 [6, 2] in the checkpoint" in str(_plan(index, taller).mismatched[0])


def test_half_precision_is_read_slice_by_slice_or_fed():
  half = 19
  index = Index()
  index.put("w", BundleEntry(dtype=half, shape=(4, 2), size=16))
  part = RestoreTarget("w", None, half, (4, 2), "4 2 0,2:0,2", part_shape=(2, 2))
  [source] = _plan(index, part).sources
  assert source == RestoreSource("w", "4 2 0,2:0,2", stand_in=("w", ""))
  whole = RestoreTarget("w", None, half, (4, 2), "4 2 0,4:0,2", part_shape=(4, 2))
  assert _plan(index, whole).sources[0].stand_in is None


_OWN, _AS_SAVED = "dnn/dnn/emb/Adam", "dnn/emb/t_0/Adam"


@pytest.mark.parametrize("slice_spec", ["", "4 2 0,4:0,2", "4 2 2,2:0,2"])
def test_a_slot_under_the_name_of_its_only_part(slice_spec):
  """A name-based Saver with one part stores it so; any number of parts can read it."""
  index = _index(_AS_SAVED, "dnn/emb/t_0/Adam_1")
  index.put(_AS_SAVED, BundleEntry(dtype=_FLOAT, shape=(4, 2), size=32))
  rows = (2, 2) if slice_spec.endswith("2,2:0,2") else (4, 2)
  target = RestoreTarget(_OWN, _key(_OWN), _FLOAT, (4, 2), slice_spec, part_shape=rows)
  plan = _plan(index, target)
  assert plan.sources == (RestoreSource(_AS_SAVED, slice_spec),)
  assert not plan.problems
