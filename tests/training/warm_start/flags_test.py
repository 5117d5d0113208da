"""The flags of a warm start: their checks, and their effects."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags

from estimator_ckpt import flags as checkpoint_flags
from estimator_ckpt.examples import digits
from tests import golden, models

_SOURCE = f"--warm_start_from={golden.directory('tf1.15/digits_old_names')}"


def parsed(*arguments):
  values = absl_flags.FlagValues()
  checkpoint_flags.define_checkpoint_flags(values)
  values(["binary", *arguments])
  return values


@pytest.mark.parametrize(
  "arguments, words",
  [
    (["--assignment_map=a/:b/"], "--assignment_map needs --warm_start_from"),
    (["--nowarm_start_strict"], "--warm_start_strict needs --warm_start_from"),
    ([_SOURCE, "--assignment_map=a/:b"], "maps a scope to something that is no scope"),
    ([_SOURCE, "--assignment_map=a"], "neither a rule"),
    ([_SOURCE, "--warm_start_variables=("], "no regular expression"),
    ([_SOURCE, "--warm_start_only_mapped"], "there is none"),
    ([_SOURCE, "--warm_start_moving_averages=used"], "should be one of"),
  ],
)
def test_flags_that_cannot_be_meant(arguments, words):
  with pytest.raises(absl_flags.IllegalFlagValueError) as error:
    parsed(*arguments)
  assert words in str(error.value)


@pytest.mark.parametrize("assignment_map", ["old/:/", r"old/(.*):\1"])
def test_a_binary_starts_from_old_names(tmp_path, assignment_map):
  values = parsed(
    _SOURCE,
    f"--assignment_map={assignment_map}",
    "--warm_start_optimizer_state",
    "--warm_start_global_step",
  )
  model_fn = checkpoint_flags.checkpointing_from_flags(values)(digits.model_fn)
  config = tf.estimator.RunConfig(save_checkpoints_steps=10)
  estimator = tf.estimator.Estimator(
    model_fn, str(tmp_path), config, params={"learning_rate": 0.001}
  )
  train, _ = digits.load()
  estimator.train(digits.input_fn(train, 32, training=True), steps=1)
  expected = golden.expected("tf1.15/digits_old_names")
  found = models.named_values(tmp_path / "model.ckpt-300")
  for name, value in expected.items():
    name = name[len("old/") :] if name.startswith("old/") else name
    np.testing.assert_array_equal(found[name], value, err_msg=name)
