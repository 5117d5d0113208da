from __future__ import annotations

import pytest

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import formats
from estimator_ckpt.checkpoint.object_graph import (
  Attribute,
  Node,
  ObjectGraph,
  SlotVariable,
)
from estimator_ckpt.checkpoint.tensor_names import named_tensors
from tests import golden, stored

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def _names(prefix):
  index = Index.read(str(prefix))
  graph = formats.read_object_graph(str(prefix), index)
  return {t.key: t.full_name for t in named_tensors(index, graph)}


def _golden_names(name):
  """Names by key; the suffix that all keys share is cut off."""
  names = _names(golden.path(name))
  return {key.replace(_VALUE, ""): name for key, name in names.items()}


def _write(path, variables):
  """A TF2 checkpoint of `(object path, full_name)` pairs."""
  graph = ObjectGraph()
  tensors = {}
  for number, (object_path, full_name) in enumerate(variables):
    key = graph.add_variable([object_path], full_name)
    tensors[key] = stored.vector(number)
  return stored.write(path / "ckpt-1", tensors, graph)


@pytest.mark.parametrize("name", golden.names("tf1.15"))
def test_in_a_name_based_checkpoint_the_key_is_the_name(name):
  assert all(key == own for key, own in _names(golden.path(name)).items())


def test_the_guides_scaffold():
  names = _golden_names("tf2.15/guide_scaffold")
  assert names["step"] == "global_step"
  assert names["var_list/net.Sdense.Skernel.SAdam_1"] == "net/dense/kernel/Adam_1"
  assert names["var_list/beta1_power"] == "beta1_power"


@pytest.mark.parametrize("version", ["tf2.15", "tf2.21"])
def test_the_guides_converter_calls_every_variable_variable(version):
  expected = set(golden.manifest("tf1.15/adam_dense")["tensors"])
  assert set(_golden_names(f"{version}/converted_names").values()) == {
    *expected,
    "save_counter",
  }


@pytest.mark.parametrize("version", ["tf2.15", "tf2.21"])
def test_variables_without_names_are_called_as_their_objects_are_reached(version):
  names = _golden_names(f"{version}/module_tree")
  assert names["tree/heads/right..v2.Smain"] == "tree/heads/right.v2/main"
  assert names["tree/layers/0/kernel"] == "tree/layers/0/kernel"
  assert names["step"] == "step"
  assert set(_golden_names(f"{version}/variable_list").values()) == {
    "vars/0",
    "vars/1",
    "vars/2",
    "vars/3",
    "save_counter",
  }


def test_keras_2_with_a_legacy_optimizer():
  names = _golden_names("tf2.15/keras2_legacy_adam")
  kernel = "model/layer_with_weights-0/kernel"
  assert names[kernel] == "dense_1/kernel"
  assert names[f"{kernel}/.OPTIMIZER_SLOT/optimizer/m"] == "dense_1/kernel/Adam"
  assert names[f"{kernel}/.OPTIMIZER_SLOT/optimizer/v"] == "dense_1/kernel/Adam_1"
  assert names["optimizer/iter"] == "Adam/iter"


def test_keras_2_with_a_new_optimizer():
  names = _golden_names("tf2.15/keras2_adam")
  assert names["optimizer/_variables/1"] == "dense_1/kernel/Adam"
  assert names["optimizer/_variables/2"] == "dense_1/kernel/Adam_1"
  assert names["optimizer/_iterations"] == "iteration"


def test_keras_3():
  names = _golden_names("tf2.21/keras3_adam")
  assert names["optimizer/_trainable_variables/0"] == "dense_1/kernel"
  assert names["optimizer/_variables/2"] == "adam/dense_1_kernel_momentum"


@pytest.mark.parametrize(
  "variables, expected",
  [
    # The first name belongs to one object only; two objects share the second name.
    (
      [(("m", "a"), "x/w"), (("m", "b"), "w"), (("m", "c"), "w")],
      ["x/w", "m/b", "m/c"],
    ),
    # `Variable` counts as a name only if the path says `Variable` too.
    (
      [(("var_list", "Variable"), "Variable"), (("a",), "Variable_1")],
      ["Variable", "a"],
    ),
    # A variable whose name is another one's path is named by its own path.
    ([(("m", "a"), "m/b"), (("m", "b"), "Variable")], ["m/a", "m/b"]),
    # Escapes, and a path step with a slash that is not a whole name.
    ([(("m", "a/b.c"), "")], ["m/a/b.c"]),
    # A dict whose keys are whole names, and an object that is only called `vars`.
    ([(("vars", "net/w"), "Variable"), (("vars", "b"), "Variable")], ["net/w", "b"]),
    ([(("vars", "w"), "Variable"), (("vars", "b"), "Variable")], ["vars/w", "vars/b"]),
  ],
)
def test_which_name_a_variable_has(tmp_path, variables, expected):
  assert list(_names(_write(tmp_path, variables)).values()) == expected


def _with_slots(path, slots, optimizers=("optimizer",)):
  """A variable `net/w` with slots: `(optimizer, slot name, full_name)`."""
  graph = ObjectGraph()
  key = graph.add_variable([("net", "w")], "net/w")
  tensors = {key: stored.vector(0)}
  variable = graph.lookup(("net", "w"))
  assert variable is not None
  for number, (optimizer, slot_name, full_name) in enumerate(slots):
    slot_key = f"net/w/.OPTIMIZER_SLOT/{optimizer}/{slot_name}{_VALUE}"
    attribute = Attribute("VARIABLE_VALUE", full_name, slot_key)
    graph.nodes.append(Node(attributes=[attribute]))
    slot = SlotVariable(variable, slot_name, len(graph.nodes) - 1)
    graph.nodes[graph.add_path((optimizer,))].slot_variables.append(slot)
    tensors[slot_key] = stored.vector(number + 1)
  return stored.write(path / "ckpt-1", tensors, graph)


@pytest.mark.parametrize(
  "slots, expected",
  [
    # An optimizer of TensorFlow 1 that was saved as an object.
    ([("o", "m", "net/w/Adam"), ("o", "v", "net/w/Adam_1")], ["Adam", "Adam_1"]),
    # Slots without full names get their slot names.
    ([("o", "m", ""), ("o", "v", "")], ["m", "v"]),
    ([("o", "m", "Variable"), ("p", "m", "Variable")], ["o/m", "p/m"]),
  ],
)
def test_slots_are_named_after_their_variable(tmp_path, slots, expected):
  names = list(_names(_with_slots(tmp_path, slots)).values())
  assert names == ["net/w", *(f"net/w/{slot}" for slot in expected)]


def test_slots_that_mean_something_else_in_tensorflow_1_keep_their_name(tmp_path):
  # Keras' momentum has the learning rate in it.
  prefix = _with_slots(tmp_path, [("o", "momentum", "SGD/net/w/momentum")])
  assert list(_names(prefix).values()) == ["net/w", "SGD/net/w/momentum"]


def test_two_keras_optimizers_of_one_variable_keep_their_names(tmp_path):
  given = [f"{o}/net/w/{s}" for o in ("Adam", "Adam_1") for s in ("m", "v")]
  slots = [(name.split("/")[0], name[-1], name) for name in given]
  assert list(_names(_with_slots(tmp_path, slots)).values())[1:] == given


def test_a_table_and_an_iterator(tmp_path):
  graph = ObjectGraph()
  table = graph.add_variable([("lookup", "words")], "", attribute="table")
  state = graph.add_variable([("data",)], "", attribute="ITERATOR")
  tensors = {
    table + "-keys": stored.vector(1, dtype="int64"),
    table + "-values": stored.vector(2),
    state + "_STATE": stored.vector(3),
  }
  prefix = stored.write(tmp_path / "ckpt-1", tensors, graph)
  assert list(_names(prefix).values()) == [
    "lookup/words-keys",
    "lookup/words-values",
    "data/ITERATOR_STATE",
  ]


def test_in_a_dual_checkpoint_the_key_of_the_same_bytes_is_the_name(tmp_path):
  graph = ObjectGraph()
  key = graph.add_variable([("model", "kernel")], "something else")
  prefix = stored.write(tmp_path / "ckpt-1", {key: stored.vector(1)}, graph)
  index = Index.read(prefix)
  index.alias("dense/kernel", key)
  [tensor] = named_tensors(index, graph)
  assert (tensor.name, tensor.object_key, tensor.bare_key) == (
    "dense/kernel",
    key,
    "dense/kernel",
  )


def test_empty_tensors_at_one_place_are_told_apart_by_what_the_graph_says(tmp_path):
  graph = ObjectGraph()
  keys = [graph.add_variable([("var_list", name)], name) for name in ("a", "b")]
  prefix = stored.write(tmp_path / "x", {k: stored.vector() for k in keys}, graph)
  index = Index.read(prefix)
  for name, key in zip("ba", reversed(keys)):
    index.alias(name, key)
  assert index.location("a") == index.location("b")
  names = {t.key: (t.name, t.bare_key) for t in named_tensors(index, graph)}
  assert names == {keys[0]: ("a", "a"), keys[1]: ("b", "b")}


def test_a_copy_of_the_step_is_no_second_tensor(tmp_path):
  graph = ObjectGraph()
  key = graph.add_variable([("var_list", "global_step")], "global_step")
  step = stored.scalar(7)
  tensors = {key: step, "global_step": step}
  prefix = stored.write(tmp_path / "ckpt-1", tensors, graph)
  assert _names(prefix) == {key: "global_step"}
  prefix = stored.write(
    tmp_path / "other", {**tensors, "global_step": stored.scalar(8)}, graph
  )
  assert _names(prefix) == {key: "global_step", "global_step": "global_step"}


def test_two_variables_whose_names_end_as_a_tables_do(tmp_path):
  tensors = {"a-keys": stored.vector(1, 2), "a-values": stored.vector(1)}
  prefix = stored.write(tmp_path / "x", tensors)
  assert {t.name for t in named_tensors(Index.read(prefix), None)} == set(tensors)
  tensors["a-values"] = stored.vector(3, 4)
  prefix = stored.write(tmp_path / "y", tensors)
  assert {t.name for t in named_tensors(Index.read(prefix), None)} == {"a"}
  # If a variable already has that name, the two tensors stay variables.
  prefix = stored.write(tmp_path / "z", {**tensors, "a": stored.vector(5)})
  assert {t.name for t in named_tensors(Index.read(prefix), None)} == {*tensors, "a"}
