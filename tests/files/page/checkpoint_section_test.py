from __future__ import annotations

import json
import math

import numpy as np
import pytest

from estimator_ckpt.checkpoint.roles import RoleKind
from estimator_ckpt.files.page.checkpoint_section import (
  CATEGORIES,
  TensorValues,
  checkpoint_section,
  plain,
)
from estimator_ckpt.files.page.statistics import distribution
from estimator_ckpt.files.summary import inspect_checkpoint
from estimator_ckpt.files.tensor_values import summarize
from tests import golden
from tests.bundle_builder import BundleBuilder, dual_builder

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def expanded(column):
  return [column["distinct"][at] for at in column["at"]]


def decoded_paths(tensors) -> list[list[str]]:
  """Decodes object paths, by the rule that the module under test gives."""
  found = []
  for name, codes in zip(tensors["name"], expanded(tensors["paths"])):
    dots = name.replace(".", "..")
    by_code = {0: "var_list/" + dots.replace("/", ".S"), 1: dots}
    found.append([by_code.get(code, code) for code in codes])
  return found


def decoded_keys(tensors) -> list[list[str]]:
  found = []
  for name, paths, codes in zip(
    tensors["name"], decoded_paths(tensors), expanded(tensors["keys"])
  ):
    found.append(
      [c if isinstance(c, str) else paths[c - 1] + _VALUE if c else name for c in codes]
    )
  return found


@pytest.mark.parametrize("name", golden.names())
def test_every_golden_comes_out_as_it_is(name):
  summary = inspect_checkpoint(golden.path(name))
  section = checkpoint_section(summary)
  assert json.loads(json.dumps(section, allow_nan=False)) == section
  tensors = section["tensors"]
  assert tensors["name"] == [t.name for t in summary.tensors]
  assert decoded_paths(tensors) == [list(t.object_paths) for t in summary.tensors]
  assert decoded_keys(tensors) == [list(t.keys) for t in summary.tensors]
  assert expanded(tensors["dtype"]) == [t.dtype for t in summary.tensors]
  assert expanded(tensors["shape"]) == [list(t.shape) for t in summary.tensors]
  assert tensors["bytes"] == [t.size for t in summary.tensors]
  parts = {
    row: [[*part[:3]] for part in tensors["slices"][str(row)]]
    for row, tensor in enumerate(summary.tensors)
    if tensor.entry.slices
  }
  for row, tensor in enumerate(summary.tensors):
    places = [[p.entry.shard_id, p.entry.offset, p.entry.size] for p in tensor.parts]
    whole = [
      [expanded(tensors["file"])[row], tensors["offset"][row], tensors["bytes"][row]]
    ]
    assert parts.get(row, whole) == places


def test_slots_lead_to_their_variable(tmp_path):
  section = checkpoint_section(
    inspect_checkpoint(dual_builder().write(tmp_path / "model.ckpt-7"))
  )
  tensors = section["tensors"]
  row = tensors["name"].index("net/w/Adam")
  assert tensors["name"][tensors["of"][row]] == "net/w"
  assert expanded(tensors["optimizer"])[row] == "Adam"
  assert section["categories"][tensors["category"][row]] == "Optimizer slots"
  assert tensors["of"][tensors["name"].index("net/w")] == -1


def test_slots_of_an_object_graph_lead_to_their_variable():
  section = checkpoint_section(
    inspect_checkpoint(golden.path("tf2.15/keras2_legacy_adam"))
  )
  tensors = section["tensors"]
  of = {
    tensors["name"][row]: tensors["name"][o]
    for row, o in enumerate(tensors["of"])
    if o >= 0
  }
  assert of
  assert all(slot != variable for slot, variable in of.items())


def test_every_kind_has_one_colour():
  kinds = [kind for _, own in CATEGORIES for kind in own]
  assert sorted(kinds, key=str) == sorted(RoleKind, key=str)


def test_missing_data_is_said(tmp_path):
  prefix = dual_builder().write(tmp_path / "model.ckpt-7")
  (tmp_path / "model.ckpt-7.data-00000-of-00001").unlink()
  section = checkpoint_section(inspect_checkpoint(prefix))
  assert section["data_files"][0]["bytes"] is None
  assert "missing" in expanded(section["tensors"]["trouble"])
  assert section["problems"]


def test_values_stand_in_the_row_of_their_tensor(tmp_path):
  builder = BundleBuilder()
  arrays = {"a": [1.0, np.inf], "b": [np.nan, 0.0, 2.0]}
  for name, values in arrays.items():
    builder.numbers(name, values)
  builder.strings("c", [b"\xff\x00"])
  summary = inspect_checkpoint(builder.write(tmp_path / "model.ckpt-1"))
  found = {
    name: TensorValues(summarize(array), distribution(array))
    for name, array in ((n, np.array(v, np.float32)) for n, v in arrays.items())
  }
  found["c"] = TensorValues(summarize(np.array([b"\xff\x00"], object)), None)
  values = checkpoint_section(summary, found)["values"]
  assert values["max"] == ["Infinity", 2.0, "\\xff\x00"]
  assert values["nans"] == [0, 1, 0]
  assert values["infinities"] == [1, 0, 0]
  assert values["zeros"] == [0, 1, 0]
  assert [bins and sum(bins) for bins in values["bins"]] == [[], 2, None]
  json.dumps(values, allow_nan=False)


@pytest.mark.parametrize(
  ("value", "shown"),
  [
    (math.inf, "Infinity"),
    (math.nan, None),
    (1 / 3, 0.333333),
    (2**60, 2**60),
    (b"x" * 100, "x" * 60 + "…"),
    (None, None),
  ],
)
def test_values_are_what_json_has(value, shown):
  assert plain(value) == shown
