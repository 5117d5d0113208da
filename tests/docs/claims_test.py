"""README's statements about `tf2` and `dual` are true."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from tests.page_runner import ROOT

_NAME = "net/out/kernel"


def model_fn(features, labels, mode):
  with tf.compat.v1.variable_scope("net"):
    y = tf.compat.v1.layers.dense(features, 1, name="out")
  loss = tf.reduce_mean(tf.square(y - labels))
  step = tf.compat.v1.train.get_or_create_global_step()
  train_op = tf.compat.v1.train.AdamOptimizer(0.1).minimize(loss, step)
  return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


def input_fn():
  return tf.data.Dataset.from_tensors((tf.ones([4, 2]), tf.ones([4, 1]))).repeat()


def _resumes(model_dir):
  tf.estimator.Estimator(model_fn, model_dir).train(input_fn, steps=1)
  return tf.train.load_variable(model_dir, "global_step") == 3


def _has_value(model_dir):
  value = tf.estimator.Estimator(model_fn, model_dir).get_variable_value(_NAME)
  return value.shape == (2, 1)


def _starts(model_dir):
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    kernel = tf.compat.v1.get_variable(_NAME, [2, 1])
    tf.compat.v1.train.init_from_checkpoint(model_dir, {_NAME: kernel})
    session.run(tf.compat.v1.global_variables_initializer())
    expected = tf.train.load_variable(model_dir, _NAME)
    return np.array_equal(session.run(kernel), expected)


def _restores(model_dir):
  kernel = tf.Variable(tf.zeros([2, 1]))
  checkpoint = tf.train.Checkpoint(var_list={_NAME: kernel})
  checkpoint.restore(tf.train.latest_checkpoint(model_dir)).expect_partial()
  return bool(np.any(kernel.numpy()))


# The rows of README's table, in its order.
_ROWS = {
  "a plain Estimator resumes": _resumes,
  f'`estimator.get_variable_value("{_NAME}")`': _has_value,
  "`tf.train.load_variable`, `tf.compat.v1.train.init_from_checkpoint`, by name": _starts,
  "`tf.train.Checkpoint`, eager Keras": _restores,
}


def said() -> dict[str, list[str]]:
  text = (ROOT / "README.md").read_text(encoding="utf-8")
  table = text.partition("| in a `model_dir` of |")[2].partition("\n\n")[0]
  rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]
  return {row[0]: row[1:] for row in rows}


def test_each_row_is_tested():
  assert list(said()) == list(_ROWS)


@pytest.mark.parametrize("column, checkpoint_format", enumerate(["tf2", "dual"]))
@pytest.mark.parametrize("row", _ROWS)
def test_it_is_as_the_table_says(row, column, checkpoint_format, tmp_path):
  decorated = eckpt.checkpointing(checkpoint_format)(model_fn)
  tf.estimator.Estimator(decorated, tmp_path).train(input_fn, steps=2)
  if said()[row][column] == "yes":
    assert _ROWS[row](str(tmp_path))
  else:
    with pytest.raises((RuntimeError, ValueError, tf.errors.NotFoundError)):
      _ROWS[row](str(tmp_path))
