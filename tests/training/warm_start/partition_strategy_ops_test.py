"""A warm start puts the rows of embeddings that "mod" dealt out into the order of ids."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.warm_start import WarmStart, warm_start_report
from tests.training.warm_start.graphs import save_objects, values, variable

v1 = tf.compat.v1
_ROWS, _PARTS = 11, 4
_TABLE = np.arange(_ROWS * 2, dtype=np.float32).reshape(_ROWS, 2)


def _dealt_out(table):
  return np.concatenate([table[part::_PARTS] for part in range(_PARTS)])


@pytest.fixture
def source(tmp_path):
  """A checkpoint of an embedding and its slot, and of a kernel, in parts."""
  with tf.Graph().as_default(), v1.Session() as session:
    arrays = {
      "emb/table": _dealt_out(_TABLE),
      "emb/table/Momentum": _dealt_out(_TABLE + 100),
      "dense/kernel": _TABLE,
    }
    for name, value in arrays.items():
      v1.get_variable(
        name,
        value.shape,
        initializer=lambda shape, dtype=None, partition_info=None, value=value: value[
          partition_info.var_offset[0] :
        ][: shape[0]],
        partitioner=v1.fixed_size_partitioner(_PARTS),
      )
    session.run(v1.global_variables_initializer())
    return v1.train.Saver().save(session, str(tmp_path / "m"))


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default() as graph:
    yield graph


def _names(parts=None):
  return {
    name: variable(name, _TABLE.shape, parts=parts)
    for name in ("emb/table", "emb/table/Momentum", "dense/kernel")
  }


@pytest.mark.parametrize("parts", [None, 3, _PARTS])
@pytest.mark.parametrize("key", ["emb", "emb/", "emb/table"])
def test_rows_are_in_the_order_of_ids_in_any_number_of_parts(key, parts, source):
  _names(parts)
  found = values(
    WarmStart(source, optimizer_state=True, partition_strategy={key: "mod"})
  )
  np.testing.assert_array_equal(found["emb/table"], _TABLE)
  np.testing.assert_array_equal(found["emb/table/Momentum"], _TABLE + 100)
  np.testing.assert_array_equal(found["dense/kernel"], _TABLE)


def test_parts_that_were_saved_one_by_one_too(tmp_path):
  path = save_objects(tmp_path, {"emb/table": _dealt_out(_TABLE)}, parts=_PARTS)
  variable("emb/table", _TABLE.shape)
  found = values(WarmStart(path, partition_strategy={"emb": "mod"}))
  np.testing.assert_array_equal(found["emb/table"], _TABLE)


def test_a_changed_vocabulary_counts_ids_and_not_stored_rows(source, tmp_path):
  words = [f"w{i}" for i in range(_ROWS)]
  old, new = tmp_path / "old.txt", tmp_path / "new.txt"
  old.write_text("\n".join(words))
  new.write_text("\n".join(words[::-1]))
  variable("emb/table", _TABLE.shape)
  vocabulary = tf.estimator.VocabInfo(
    new_vocab=str(new), new_vocab_size=_ROWS, num_oov_buckets=0, old_vocab=str(old)
  )
  found = values(
    WarmStart(
      source,
      vocab_info={"emb/table": vocabulary},
      partition_strategy={"emb": "mod"},
    )
  )
  np.testing.assert_array_equal(found["emb/table"], _TABLE[::-1])


def test_the_report_says_that_parts_are_joined_without_being_told(source):
  made = _names()
  plan = WarmStart(source).plan(made.values())
  [note] = plan.notes
  assert note.startswith("dense/kernel, emb/table were saved in several parts")
  assert note in str(plan) and note in warm_start_report.summary(plan)
  assert warm_start_report.as_json(plan)["notes"] == [note]
  told = {"emb": "mod", "dense": "div"}
  plan = WarmStart(source, partition_strategy=told).plan(made.values())
  assert not plan.notes and "put together as 'mod'" in str(plan)


def test_a_graph_in_as_many_parts_takes_each_as_it_is_and_nothing_is_noted(source):
  _names(_PARTS)
  plan = WarmStart(source).plan(v1.global_variables())
  assert not plan.notes
  np.testing.assert_array_equal(
    values(WarmStart(source))["emb/table"], _dealt_out(_TABLE)
  )


def test_a_scope_that_matches_nothing_is_an_error_with_the_nearest(source):
  warm_start = WarmStart(source, partition_strategy={"em": "mod"})
  plan = warm_start.plan(_names().values())
  with pytest.raises(
    errors.VariableMismatchError, match="has 'em'.*Did you mean 'emb'"
  ):
    plan.raise_for_problems()
  with pytest.raises(errors.OptionError, match="'mod' or 'div'"):
    eckpt.WarmStart(source, partition_strategy={"emb": "modulo"})
  assert "partition_strategy={'em': 'mod'}" in repr(warm_start)
