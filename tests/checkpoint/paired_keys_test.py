"""The names of a dual checkpoint, told by its keys alone."""

from __future__ import annotations

import pytest

from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.checkpoint import formats, layout
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.listing import saved_tensors
from estimator_ckpt.checkpoint.object_graph import Attribute, Node, ObjectGraph
from estimator_ckpt.checkpoint.paired_keys import PairedKeys

_V = "var_list/v/.ATTRIBUTES/VARIABLE_VALUE"
_OTHER_V = "model/v/.ATTRIBUTES/VARIABLE_VALUE"
_COUNTER_KEY = "save_counter/.ATTRIBUTES/VARIABLE_VALUE"
_STEP_KEY = "global_step/.ATTRIBUTES/VARIABLE_VALUE"


def _index(places: dict[str, int]) -> Index:
  """An index whose keys of the same number have the same bytes, and an object graph."""
  index = Index()
  for key, place in places.items():
    index.put(key, BundleEntry(1, (), 0, 4 * place, 4, place))
  index.put(layout.OBJECT_GRAPH_KEY, BundleEntry(dtypes.STRING, (), 0, 0, 4, 9))
  return index


def _graph(*attributes: Attribute) -> ObjectGraph:
  nodes = [Node(attributes=[attribute]) for attribute in attributes]
  children = {f"child_{number}": number for number in range(1, len(nodes) + 1)}
  return ObjectGraph([Node(children=children), *nodes])


@pytest.mark.parametrize(
  "places, expected",
  [
    ({"v": 1, _V: 1}, {"v": _V}),
    (
      {"v": 1, _V: 1, "global_step": 2, _COUNTER_KEY: 2},
      {"global_step": None, "v": _V},
    ),
    ({"v": 1, _V: 1, _COUNTER_KEY: 3}, {"v": _V}),
    # What the object graph does not have stays under its name.
    ({"v": 1, _V: 1, "w": 2}, {"v": _V, "w": None}),
    ({"v": 1, _V: 1, "iterator/.ATTRIBUTES/STATE": 2}, None),
    ({_V: 1}, None),
    ({"v": 1}, None),
    ({"v": 1, "also_v": 1, _V: 1}, None),
    ({"v": 1, _V: 1, _OTHER_V: 1}, None),
    # What an Estimator writes as TF2 has the step's name.
    ({"global_step": 1, _STEP_KEY: 1}, None),
    ({"global_step": 1, _STEP_KEY: 1, _V: 2}, None),
  ],
)
def test_the_keys_alone_tell_the_names_of_a_dual_checkpoint(places, expected):
  index = _index(places)
  index.remove(layout.OBJECT_GRAPH_KEY)
  assert PairedKeys.of(index) is None  # It has no object graph.
  index = _index(places)
  pairs = PairedKeys.of(index)
  found = pairs and dict(zip(pairs.names, pairs.object_keys))
  assert found == expected
  if expected is not None:
    said = _graph(Attribute("VARIABLE_VALUE", "another_name", _V))
    assert formats.format_of(index, said) is CheckpointFormat.DUAL


@pytest.mark.parametrize(
  "stored, are_all",
  [
    ([(_V, "VARIABLE_VALUE"), (_COUNTER_KEY, "VARIABLE_VALUE")], True),
    ([(_V, "VARIABLE_VALUE")], False),
    ([(_V, "VARIABLE_VALUE"), (_OTHER_V, "VARIABLE_VALUE")], False),
    ([(_V, "VARIABLE_VALUE"), (_COUNTER_KEY, "table")], False),
    ([(_V, "VARIABLE_VALUE")] * 2 + [(_COUNTER_KEY, "VARIABLE_VALUE")], False),
  ],
)
def test_an_object_graph_may_store_more_or_less_than_the_keys_say(stored, are_all):
  index = _index({"v": 1, _V: 1, "global_step": 2, _COUNTER_KEY: 2})
  pairs = PairedKeys.of(index)
  assert pairs is not None
  graph = _graph(*(Attribute(attribute, "v", key) for key, attribute in stored))
  names = pairs.names_in(graph, index)
  assert names == (["v" if key == _V else "" for key, _ in stored] if are_all else None)
  # Whoever lists the checkpoint sees the same tensors in both cases.
  named = [(tensor.name, tensor.keys) for tensor in saved_tensors(index, graph, pairs)]
  assert ("v", ("v", _V)) in named
