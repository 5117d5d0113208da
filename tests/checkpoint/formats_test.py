from __future__ import annotations

import pytest

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import formats
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.object_graph import Attribute, Node, ObjectGraph
from estimator_ckpt.errors import (
  CheckpointNotFoundError,
  CorruptCheckpointError,
  OptionError,
)
from tests import golden


@pytest.mark.parametrize("value", ["tf1", "tf2", "dual"])
def test_a_format_is_its_value(value):
  assert CheckpointFormat(value).value == value
  assert CheckpointFormat.parse(value) is CheckpointFormat(value)
  assert CheckpointFormat.parse(f" {value.upper()}") is CheckpointFormat(value)
  assert CheckpointFormat.parse(CheckpointFormat(value)) is CheckpointFormat(value)


@pytest.mark.parametrize(
  "value, hint", [("duel", "Did you mean 'dual'?"), ("keras", ""), (2, ""), (None, "")]
)
def test_an_unknown_format_is_named_with_the_choices(value, hint):
  with pytest.raises(OptionError) as caught:
    CheckpointFormat.parse(value)
  message = str(caught.value)
  assert message.startswith(f"{value!r} is not a checkpoint format.")
  assert message.endswith("Choose one of tf1, tf2, dual.")
  assert ("Did you mean" in message) == bool(hint)
  assert hint in message


@pytest.mark.parametrize("name", golden.names())
def test_goldens_have_the_format_of_their_saver(name):
  keys = golden.manifest(name)["tensors"]
  expected = "tf2" if golden.OBJECT_GRAPH_KEY in keys else "tf1"
  assert formats.detect_format(golden.path(name)).value == expected


@pytest.mark.parametrize("name", ["tf2.15/keras2_legacy_adam", "tf2.15/guide_scaffold"])
def test_with_every_name_as_a_key_it_is_dual(name, tmp_path):
  prefix = golden.copy(name, tmp_path / "model_dir")
  index = Index.read(prefix)
  graph = formats.read_object_graph(prefix, index)
  names = {k: v for k, v in graph.keys_by_full_name().items() if k != "save_counter"}
  last = list(names)[-1]
  for full_name, key in names.items():
    if full_name != last:
      index.alias(full_name, key)
  index.write(prefix)
  assert formats.detect_format(prefix) is CheckpointFormat.TF2
  index.alias(last, names[last])
  index.write(prefix)
  assert formats.detect_format(prefix) is CheckpointFormat.DUAL
  assert formats.detect_format(tmp_path / "model_dir") is CheckpointFormat.DUAL
  assert formats.detect_format(prefix + ".index") is CheckpointFormat.DUAL


def _graph(*attributes):
  return ObjectGraph([Node(attributes=list(attributes))])


def _index(*keys):
  index = Index.read(golden.path("tf1.15/adam_dense"))
  for key in index.keys():
    index.rename(key, f"other/{key}")
  for key in keys:
    index.alias(key, index.keys()[0])
  return index


_W = Attribute("VARIABLE_VALUE", "w", "w/.ATTRIBUTES/VARIABLE_VALUE")
_COUNTER = Attribute(
  "VARIABLE_VALUE", "save_counter", "save_counter/.ATTRIBUTES/VARIABLE_VALUE"
)


@pytest.mark.parametrize(
  "graph, keys, expected",
  [
    (None, ["w"], CheckpointFormat.TF1),
    (_graph(_W), ["w"], CheckpointFormat.DUAL),
    (_graph(_W), [], CheckpointFormat.TF2),
    (_graph(_W, _COUNTER), ["w"], CheckpointFormat.DUAL),
    # A checkpoint without names has nothing name-based.
    (_graph(), ["w"], CheckpointFormat.TF2),
    (_graph(_COUNTER), ["save_counter"], CheckpointFormat.TF2),
    (_graph(Attribute("VARIABLE_VALUE", "", "k")), ["w"], CheckpointFormat.TF2),
    # An attribute that is no variable's value has no name in a name-based checkpoint.
    (_graph(_W, Attribute("CONFIG", "config", "k")), ["w"], CheckpointFormat.DUAL),
  ],
)
def test_the_object_graph_and_the_keys_tell_the_format(graph, keys, expected):
  assert formats.format_of(_index(*keys), graph) is expected


def test_without_an_object_graph_none_is_read():
  prefix = golden.path("tf1.15/adam_dense")
  assert formats.read_object_graph(prefix, Index.read(prefix)) is None


def test_a_damaged_object_graph_is_told(tmp_path):
  prefix = golden.copy("tf2.15/variable_list", tmp_path / "model_dir")
  index = Index.read(prefix)
  offset = index.entry(golden.OBJECT_GRAPH_KEY).offset
  with open(index.data_paths(prefix)[0], "r+b") as file:
    file.seek(offset + 20)
    file.write(b"\0\0\0")
  with pytest.raises(CorruptCheckpointError, match="'_CHECKPOINTABLE_OBJECT_GRAPH'"):
    formats.detect_format(prefix)


def test_a_missing_checkpoint_is_told(tmp_path):
  with pytest.raises(CheckpointNotFoundError):
    formats.detect_format(tmp_path / "model.ckpt-1")
