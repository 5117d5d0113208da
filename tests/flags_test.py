"""The flags of a training binary: what they are checked for, and what they do."""

from __future__ import annotations

import os
import signal

import pytest
import tensorflow as tf
from absl import flags as absl_flags

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt import flags as checkpoint_flags
from tests import models


def _parsed(*arguments):
  values = absl_flags.FlagValues()
  checkpoint_flags.define_checkpoint_flags(values)
  checkpoint_flags.define_run_config_flags(values)
  values(["binary", *arguments])
  return values


@pytest.mark.parametrize(
  "arguments, words",
  [
    (["--checkpoint_format=tf3"], "should be one of <tf1|tf2|dual>"),
    (["--checkpoint_layout=deep"], "should be one of <default|flat|nested>"),
    (
      ["--checkpoint_separate", "--checkpoint_format=tf2"],
      "--checkpoint_separate is for --checkpoint_format=dual",
    ),
    (["--save_checkpoints_steps=0"], "positive integer"),
    (["--checkpoint_save_on_signals=SIGTREM"], "Did you mean 'SIGTERM'"),
    (["--save_checkpoints_secs=-1"], "positive integer"),
    (["--keep_checkpoint_max=-1"], "non-negative integer"),
    (["--keep_checkpoint_max=many"], "many"),
    (["--keep_checkpoint_every_n_hours=-0.5"], "non-negative number"),
    (
      ["--save_checkpoints_steps=5", "--save_checkpoints_secs=5"],
      "--save_checkpoints_steps or --save_checkpoints_secs, not both",
    ),
  ],
)
def test_flags_that_cannot_be_meant(arguments, words):
  with pytest.raises(absl_flags.IllegalFlagValueError) as error:
    _parsed(*arguments)
  assert words in str(error.value)
  assert arguments[0].split("=")[0].strip("-") in str(error.value)


def test_a_run_config_has_what_the_flags_say(tmp_path):
  config = checkpoint_flags.run_config_from_flags(
    _parsed(
      f"--model_dir={tmp_path}",
      "--save_checkpoints_steps=7",
      "--keep_checkpoint_max=3",
      "--keep_checkpoint_every_n_hours=2",
    ),
    tf_random_seed=5,
  )
  assert config.model_dir == str(tmp_path)
  assert config.save_checkpoints_steps == 7 and config.save_checkpoints_secs is None
  assert config.keep_checkpoint_max == 3 and config.tf_random_seed == 5
  assert config.keep_checkpoint_every_n_hours == 2
  plain = tf.estimator.RunConfig()
  default = checkpoint_flags.run_config_from_flags(_parsed())
  for name in ("save_checkpoints_secs", "keep_checkpoint_max"):
    assert getattr(default, name) == getattr(plain, name)


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_a_model_fn_does_what_the_flags_say_when_it_runs(tmp_path, checkpoint_format):
  values = _parsed()
  model_fn = checkpoint_flags.checkpointing_from_flags(values)(models.model_fn)
  values.checkpoint_format = checkpoint_format
  models.estimator(model_fn, tmp_path).train(models.input_fn, steps=1)
  assert eckpt.detect_format(tmp_path).value == checkpoint_format


def test_signals_by_flag(tmp_path):
  class Signals(tf.estimator.SessionRunHook):
    def after_run(self, run_context, run_values):
      os.kill(os.getpid(), signal.SIGUSR1)

  values = _parsed("--checkpoint_save_on_signals=SIGTERM,SIGUSR1")
  model_fn = checkpoint_flags.checkpointing_from_flags(values)(models.model_fn)
  estimator = models.estimator(model_fn, tmp_path)
  estimator.train(models.input_fn, steps=9, hooks=[Signals()])
  assert eckpt.stopped_by_signal() == signal.SIGUSR1
  assert estimator.latest_checkpoint().endswith("-1")


def test_strictness_by_flag(tmp_path, caplog):
  models.estimator(models.model_fn, tmp_path).train(models.input_fn, steps=1)

  def other_fn(features, labels, mode):
    new = tf.compat.v1.get_variable("new", [1])
    return models.spec(mode, models.network(features["x"], False) + new, labels)

  def estimator(*arguments):
    decorate = checkpoint_flags.checkpointing_from_flags(_parsed(*arguments))
    return models.estimator(decorate(other_fn), tmp_path)

  with pytest.raises(errors.VariableMismatchError, match="'new' .* is not in"):
    next(estimator().predict(models.eval_input_fn))
  assert next(estimator("--nocheckpoint_strict").predict(models.eval_input_fn))
  [record] = [r for r in caplog.records if r.name.startswith("estimator_ckpt")]
  assert "'new'" in record.getMessage()


def test_flags_that_were_not_defined(tmp_path):
  values = absl_flags.FlagValues()
  values(["binary"])
  with pytest.raises(errors.OptionError, match="flags.define_run_config_flags()"):
    checkpoint_flags.run_config_from_flags(values)
  model_fn = checkpoint_flags.checkpointing_from_flags(values)(models.model_fn)
  with pytest.raises(errors.OptionError, match="flags.define_checkpoint_flags()"):
    models.estimator(model_fn, tmp_path).train(models.input_fn, steps=1)


@pytest.mark.parametrize("bad", [3, None, lambda x, y: None])
def test_something_that_is_no_model_fn(bad):
  with pytest.raises(errors.OptionError, match="model_fn"):
    checkpoint_flags.checkpointing_from_flags(_parsed())(bad)
