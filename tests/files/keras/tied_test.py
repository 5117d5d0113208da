"""One TF1 variable of which a Keras model has two weights; no TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from tests.bundle_builder import BundleBuilder

_TABLE = np.arange(21, dtype=np.float32).reshape(7, 3)
_MAP = ["net/table:words/embeddings", "net/table:output/kernel transpose=1,0"]
_BACK = ["words/embeddings:net/table", "output/kernel:net/table transpose=1,0"]


def _tf1(path, cuts=()):
  builder = BundleBuilder()
  if cuts:
    builder.partitioned("net/table", _TABLE, cuts)
  else:
    builder.numbers("net/table", _TABLE)
  builder.numbers("global_step", 7, "int64")
  return builder.write(path)


def _keras(path, words, output):
  """Returns the path, and the keys of the two weights."""
  builder = BundleBuilder()
  graph = ObjectGraph()
  keys = []
  for name, value in (("words/embeddings", words), ("output/kernel", output)):
    keys.append(graph.add_variable([["model", *name.split("/")]], name))
    builder.numbers(keys[-1], value)
  counter = graph.add_variable([["save_counter"]], "save_counter")
  builder.numbers(counter, 1, "int64")
  builder.object_graph(graph)
  return builder.write(path), keys


def _there(source, target, **options):
  like, keys = _keras(f"{target}_like", np.zeros((7, 3)), np.zeros((3, 7)))
  report = eckpt.convert(
    source, target, "tf2", like=like, optimizer="none", **{"name_map": _MAP, **options}
  )
  with eckpt.open_checkpoint(target) as reader:
    return report, [reader[key] for key in keys]


def test_a_variable_with_two_rules_becomes_two_weights(tmp_path):
  source = _tf1(tmp_path / "m")
  report, (words, output) = _there(source, str(tmp_path / "k"))
  np.testing.assert_array_equal(words, _TABLE)
  np.testing.assert_array_equal(output, _TABLE.T)
  rows = {row.variable: row.sources for row in report.variables[0].rows}
  assert rows == {
    "words/embeddings": ("net/table",),
    "output/kernel": ("net/table as output/kernel",),
  }
  assert eckpt.verify(tmp_path / "k").ok


def test_both_weights_have_the_rows_in_the_order_of_ids(tmp_path):
  source = _tf1(tmp_path / "m", cuts=[3, 5])
  report, _ = _there(source, str(tmp_path / "untold"))
  [note] = report.variables[0].notes
  assert "as output/kernel" not in note
  strategy = {"net/table": "mod"}
  _, (words, output) = _there(
    source, str(tmp_path / "told"), partition_strategy=strategy
  )
  rows = [0, 3, 5, 1, 4, 6, 2]
  np.testing.assert_array_equal(words, _TABLE[rows])
  np.testing.assert_array_equal(output, _TABLE[rows].T)


def test_a_rule_that_no_weight_takes_is_an_error(tmp_path):
  source = _tf1(tmp_path / "m")
  with pytest.raises(errors.VariableMismatchError, match="net/table as other/thing"):
    _there(
      source,
      str(tmp_path / "k"),
      name_map=[_MAP[0], "net/table:other/thing"],
    )


def test_a_rule_that_forgets_the_transposition_is_suggested_with_it(tmp_path):
  source, _ = _keras(tmp_path / "k", _TABLE, _TABLE.T)
  tf1 = _tf1(tmp_path / "tf1")
  forgetful = [rule.partition(" ")[0] for rule in _MAP]
  with pytest.raises(errors.VariableMismatchError) as caught:
    _there(tf1, str(tmp_path / "there"), name_map=forgetful)
  assert "'net/table': 'output/kernel transpose=1,0'" in str(caught.value)
  forgetful = [rule.partition(" ")[0] for rule in _BACK]
  with pytest.raises(errors.VariableMismatchError) as caught:
    eckpt.convert(source, tmp_path / "back", "tf1", like=tf1, name_map=forgetful)
  assert "'output/kernel': 'net/table transpose=1,0'" in str(caught.value)


@pytest.mark.parametrize("rules", [_BACK, _BACK[::-1]])
def test_weights_of_equal_values_become_one_variable(rules, tmp_path):
  source, _ = _keras(tmp_path / "k", _TABLE, _TABLE.T)
  like, back = _tf1(tmp_path / "like"), tmp_path / "back"
  eckpt.convert(source, back, "tf1", like=like, name_map=rules)
  with eckpt.open_checkpoint(back) as reader:
    assert set(reader) == {"net/table"}
    np.testing.assert_array_equal(reader["net/table"], _TABLE)
  assert eckpt.verify(back).ok


@pytest.mark.parametrize("rules", [_BACK, _BACK[::-1]])
def test_weights_of_other_values_are_an_error_that_names_both(rules, tmp_path):
  source, _ = _keras(tmp_path / "k", _TABLE, _TABLE.T + 1)
  like = _tf1(tmp_path / "like")
  with pytest.raises(errors.VariableMismatchError) as caught:
    eckpt.convert(source, tmp_path / "back", "tf1", like=like, name_map=rules)
  for name in ("'words/embeddings'", "'output/kernel'", "'net/table'"):
    assert name in str(caught.value)
  assert not list(tmp_path.glob("back*"))
  # As the error says.
  options = {"ignore": ["output/kernel"]}
  eckpt.convert(
    source,
    tmp_path / "back",
    "tf1",
    like=like,
    name_map=_BACK[:1],
    keras_options=options,
  )
  with eckpt.open_checkpoint(tmp_path / "back") as reader:
    np.testing.assert_array_equal(reader["net/table"], _TABLE)
