"""What stock TensorFlow's warm starts get wrong, and these get right.

The cases are measured failures, and complaints of users. Each test first shows that
TensorFlow still fails as before.
"""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.training.warm_start.settings import warm_start_settings
from estimator_ckpt.warm_start import WarmStart
from tests import golden, tensorflows

v1 = tf.compat.v1
CONVERTED = ["tf2.15/converted_names", "tf2.21/converted_names"]
DENSE = "tf1.15/adam_dense"
NORM = "tf1.15/batch_norm"


def variables(shapes, **options):
  """Variables of nines by name, so that a variable that was not started shows."""
  nines = v1.constant_initializer(9)
  return {
    name: v1.get_variable(name, shape, initializer=nines, use_resource=True, **options)
    for name, shape in shapes.items()
  }


def values(made):
  with v1.Session() as session:
    session.run(v1.global_variables_initializer())
    return session.run(made)


@contextlib.contextmanager
def graph(shapes, **options):
  with tf.Graph().as_default():
    yield variables(shapes, **options)


def started(made, warm_start):
  """The values of the current graph after a warm start."""
  v1.train.warm_start(*warm_start_settings(warm_start))
  return values(made)


def save_in_parts(path):
  """Saves as TensorFlow's guide does, each part as an object; returns the value."""
  whole = np.arange(28, dtype=np.float32).reshape(7, 4)
  with tf.Graph().as_default(), v1.Session() as session:
    parts = v1.get_variable(
      "net/e",
      initializer=tf.constant(whole),
      partitioner=v1.fixed_size_partitioner(3),
      use_resource=True,
    )
    session.run(v1.global_variables_initializer())
    named = {part.op.name: part for part in parts}
    return tensorflows.checkpoint(var_list=named).write(str(path / "ckpt")), whole


@pytest.mark.parametrize("parts", [None, 2, 3])
def test_a_partitioned_object_based_source(tmp_path, parts):
  prefix, whole = save_in_parts(tmp_path)
  options = {"partitioner": v1.fixed_size_partitioner(parts)} if parts else {}
  key = "var_list/net.Se.Spart_0/.ATTRIBUTES/VARIABLE_VALUE"
  if parts != 3:
    for names in ({}, {"net/e": key}):
      with graph({"net/e": (7, 4)}, **options) as made:
        with pytest.raises((ValueError, tf.errors.OpError)):
          v1.train.warm_start(prefix, ".*", None, names)
          values({name: list(v) if parts else v for name, v in made.items()})
  with graph({"net/e": (7, 4)}, **options) as made:
    made = {name: list(v) if parts else [v] for name, v in made.items()}
    found = started(made, prefix)
  np.testing.assert_array_equal(np.concatenate(found["net/e"]), whole)


@pytest.mark.parametrize("source", CONVERTED)
def test_a_name_among_object_keys_and_the_rest_still_maps(source):
  """The guide's converter left `vars/...` paths, and `Variable` as the only name."""
  old, same = "net/dense_2/kernel", "net/dense_1/kernel"
  expected = golden.expected(DENSE)
  shapes = {same: expected[same].shape, "net/renamed/kernel": expected[old].shape}
  path = golden.path(source)
  key = "vars/net.Sdense_2.Skernel/.ATTRIBUTES/VARIABLE_VALUE"
  for names, words in (
    ({}, "did not contain values for all variables"),
    ({"net/renamed/kernel": old}, "not found in .*checkpoint"),
    # With the key, this variable is found, and then the other one is not.
    ({"net/renamed/kernel": key}, f"{same} .*not found in"),
  ):
    with graph(shapes), pytest.raises(ValueError, match=words):
      v1.train.warm_start(path, ".*", None, names)
  for written in (old, key, "vars/net.Sdense_2.Skernel", "vars/" + old):
    with graph(shapes) as made:
      found = started(
        made, WarmStart(path, assignment_map={written: "net/renamed/kernel"})
      )
    np.testing.assert_array_equal(found[same], expected[same])
    np.testing.assert_array_equal(found["net/renamed/kernel"], expected[old])


def test_a_string_and_a_list_and_what_they_start():
  """Includes the oldest complaint: a warm start that skips moving statistics."""
  expected = golden.expected(NORM)
  gamma = "net/batch_normalization/gamma"
  moving = "net/batch_normalization/moving_mean"
  path = golden.path(NORM)

  @contextlib.contextmanager
  def made_graph():
    with graph({gamma: expected[gamma].shape}) as made:
      made.update(variables({moving: expected[moving].shape}, trainable=False))
      made["global_step"] = v1.train.get_or_create_global_step()
      yield made

  for regex, moving_is_started, step in ((".*", False, 0), ([".*"], True, 7)):
    with made_graph() as made:
      v1.train.warm_start(path, regex)
      found = values(made)
    assert (found[moving] == 9).all() != moving_is_started
    assert found["global_step"] == step
  for regex in (".*", [".*"], None):
    with made_graph() as made:
      warm_start = WarmStart(path, regex) if regex else WarmStart(path)
      plan = warm_start.plan(v1.global_variables())
      found = started(made, warm_start)
    for name in (gamma, moving):
      np.testing.assert_array_equal(found[name], expected[name])
    assert found["global_step"] == 0
    # The plan's text says so.
    assert "the step; global_step=True starts it\n  global_step" in str(plan)


@pytest.mark.parametrize("source", [DENSE, *CONVERTED])
def test_one_missing_name_does_not_fail_the_rest(source):
  expected = golden.expected(DENSE)
  kernel = "net/dense_1/kernel"
  path = golden.path(source)
  with graph({kernel: (5, 4), "net/new_head": (2,)}):
    with pytest.raises(ValueError):
      v1.train.warm_start(path, ".*")
  with graph({kernel: (5, 4), "net/new_head": (2,)}) as made:
    found = started(made, path)
  np.testing.assert_array_equal(found[kernel], expected[kernel])
  assert (found["net/new_head"] == 9).all()


@pytest.mark.parametrize("source", CONVERTED)
def test_an_object_based_source_takes_a_map_of_scopes(source):
  expected = golden.expected(DENSE)
  path = golden.path(source)
  with graph({"new/dense_1/kernel": (5, 4)}), pytest.raises(ValueError):
    v1.train.init_from_checkpoint(path, {"net/": "new/"})
  with graph({"new/dense_1/kernel": (5, 4)}) as made:
    found = started(made, WarmStart(path, assignment_map={"net/": "new/"}))
  np.testing.assert_array_equal(
    found["new/dense_1/kernel"], expected["net/dense_1/kernel"]
  )


def test_moving_averages_that_the_checkpoint_lacks_begin_at_their_variables():
  kernel = "net/dense_1/kernel"
  shadow = kernel + "/ExponentialMovingAverage"
  path = golden.path(DENSE)
  expected = golden.expected(DENSE)
  with graph({kernel: (5, 4)}) as made, v1.Session() as session:
    average = v1.train.ExponentialMovingAverage(0.9)
    average.apply(list(made.values()))
    saver = v1.train.Saver(average.variables_to_restore())
    with pytest.raises(tf.errors.NotFoundError, match="ExponentialMovingAverage"):
      saver.restore(session, path)
  with graph({kernel: (5, 4)}) as made:
    average = v1.train.ExponentialMovingAverage(0.9)
    average.apply(list(made.values()))
    made[shadow] = average.average(made[kernel])
    found = started(made, path)
  for name in (kernel, shadow):
    np.testing.assert_array_equal(found[name], expected[kernel])


def test_a_source_that_is_gone_after_the_first_run(tmp_path):
  """In every `train()`, TensorFlow's `init_from_checkpoint` starts and reads again."""
  source = golden.copy(DENSE, tmp_path / "source")

  def run(stock):
    with graph({"net/dense_1/kernel": (5, 4)}) as made:
      v1.train.get_or_create_global_step()
      if stock:
        v1.train.init_from_checkpoint(source, {"net/": "net/"})
        scaffold = v1.train.Scaffold()
      else:
        scaffold = eckpt.tf1_scaffold(warm_start=source)
      model_dir = str(tmp_path / f"stock_{stock}")
      with v1.train.MonitoredTrainingSession(
        checkpoint_dir=model_dir, scaffold=scaffold
      ) as session:
        return session.run(made["net/dense_1/kernel"])

  first = {stock: run(stock) for stock in (True, False)}
  np.testing.assert_array_equal(first[True], first[False])
  (tmp_path / "source").rename(tmp_path / "elsewhere")
  with pytest.raises((ValueError, tf.errors.OpError)):
    run(True)
  np.testing.assert_array_equal(run(False), first[False])
