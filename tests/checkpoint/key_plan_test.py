"""The keys that each format writes."""

from __future__ import annotations

import pytest

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.key_plan import Saved, plan_save
from estimator_ckpt.checkpoint.object_graph import ObjectGraph

_SAVED = [Saved("net/w"), Saved("net/w/Adam"), Saved("global_step")]
_W = "var_list/net.Sw/.ATTRIBUTES/VARIABLE_VALUE"


def test_tf1_writes_names_only():
  plan = plan_save(_SAVED, CheckpointFormat.TF1, has_global_step=True)
  assert plan.keys == {s.name: s.name for s in _SAVED}
  assert not plan.aliases and plan.object_graph is None
  assert not plan.needs_step_key and not plan.needs_save_counter


def test_tf2_writes_object_keys_and_the_step_that_estimator_reads():
  plan = plan_save(_SAVED, CheckpointFormat.TF2, has_global_step=True)
  assert plan.keys["net/w"] == _W
  assert not plan.aliases
  assert plan.needs_step_key and plan.needs_save_counter
  assert plan.object_graph.lookup(("net", "w")) == plan.object_graph.lookup(
    ("var_list", "net/w")
  )
  assert plan.object_graph.lookup(("save_counter",)) is not None


def test_dual_adds_every_name_as_an_alias():
  plan = plan_save(_SAVED, CheckpointFormat.DUAL, has_global_step=True)
  assert plan.aliases["net/w"] == _W
  assert set(plan.aliases) == {s.name for s in _SAVED}
  assert not plan.needs_step_key


def test_tables_keep_their_suffixes_and_what_tf2_does_not_know_keeps_its_name():
  saved = [
    Saved("table", ("-keys", "-values"), is_variable=False),
    Saved("iterator", ("-state",), is_variable=False),
  ]
  plan = plan_save(saved, CheckpointFormat.DUAL)
  assert plan.keys["table"] == "var_list/table/.ATTRIBUTES/table"
  assert plan.aliases == {
    "table-keys": "var_list/table/.ATTRIBUTES/table-keys",
    "table-values": "var_list/table/.ATTRIBUTES/table-values",
  }
  assert plan.name_only == ("iterator",)
  assert plan.keys["iterator"] == "iterator"


def test_what_the_users_objects_do_not_reach_goes_below_var_list():
  graph = ObjectGraph()
  key = graph.add_variable([("model", "kernel")], "net/w")
  saved = [Saved("net/w", object_key=key), Saved("net/b")]
  plan = plan_save(saved, CheckpointFormat.TF2, graph)
  assert plan.keys["net/w"] == "model/kernel/.ATTRIBUTES/VARIABLE_VALUE"
  assert plan.keys["net/b"] == "var_list/net.Sb/.ATTRIBUTES/VARIABLE_VALUE"
  assert plan.object_graph.lookup(("net", "b")) is None


def test_names_like_object_keys_have_keys_of_their_own():
  saved = [
    Saved("a/.ATTRIBUTES/VARIABLE_VALUE"),
    Saved("a"),
    Saved("a.Sb"),
    Saved("a/b"),
  ]
  plan = plan_save(saved, CheckpointFormat.DUAL)
  assert len({*plan.keys.values(), *plan.aliases}) == 8


def test_two_things_under_one_key_are_refused():
  saved = [Saved("x"), Saved("var_list/x/.ATTRIBUTES/VARIABLE_VALUE")]
  with pytest.raises(errors.OptionError, match="one of them would be lost"):
    plan_save(saved, CheckpointFormat.DUAL)
  with pytest.raises(errors.OptionError, match="the object graph"):
    plan_save([Saved(layout.OBJECT_GRAPH_KEY, is_variable=False)], CheckpointFormat.TF2)


def test_ten_thousand_names():
  saved = [Saved(f"scope_{i % 100}/layer_{i}/kernel") for i in range(10_000)]
  plan = plan_save(saved, CheckpointFormat.DUAL)
  assert len(set(plan.keys.values())) == 10_000
