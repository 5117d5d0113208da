from __future__ import annotations

import pytest

from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.object_roles import classify_objects
from estimator_ckpt.checkpoint.roles import RoleKind
from tests import golden, stored

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def _roles(name):
  roles = classify_objects(stored.object_graph(golden.path(name)))
  return {key.replace(_VALUE, ""): role for key, role in roles.items()}


def test_a_legacy_optimizer_of_keras_2():
  roles = _roles("tf2.15/keras2_legacy_adam")
  kernel = "model/layer_with_weights-0/kernel"
  role = roles[f"{kernel}/.OPTIMIZER_SLOT/optimizer/v"]
  assert (role.kind, role.of, role.slot, role.optimizer) == (
    RoleKind.SLOT,
    kernel + _VALUE,
    "v",
    "optimizer",
  )
  assert {k for k, role in roles.items() if role.kind is RoleKind.NON_SLOT} == {
    f"optimizer/{name}"
    for name in ("iter", "beta_1", "beta_2", "decay", "learning_rate")
  }
  assert kernel not in roles


@pytest.mark.parametrize("name", ["tf2.15/keras2_adam", "tf2.21/keras3_adam"])
def test_an_optimizer_that_lists_its_variables(name):
  roles = _roles(name)
  manifest = golden.manifest(name)["tensors"]
  own = {
    key.replace(_VALUE, "")
    for key in manifest
    if key.startswith(("optimizer/_variables/", "optimizer/_iter", "optimizer/_learn"))
  }
  # The model's variables, which Keras 3 lists in `_trainable_variables`, have no role.
  assert set(roles) == own


@pytest.mark.parametrize("name", ["tf2.15/module_tree", "tf2.15/guide_scaffold"])
def test_no_optimizer_no_roles(name):
  assert _roles(name) == {}


def test_a_variable_that_the_model_reaches_too_is_the_models():
  graph = ObjectGraph()
  graph.add_variable([("optimizer", "iter"), ("step",)], "")
  rate = graph.add_variable([("optimizer", "learning_rate")], "")
  graph.nodes[graph.lookup(("optimizer",))].children["model"] = graph.add_path(("m",))
  graph.add_variable([("m", "w")], "")
  assert list(classify_objects(graph)) == [rate]
