"""absl flags for a training binary; importing this module defines none.

    from estimator_ckpt import flags as checkpoint_flags

    checkpoint_flags.define_checkpoint_flags()
    checkpoint_flags.define_run_config_flags()

    @checkpoint_flags.checkpointing_from_flags()
    def model_fn(features, labels, mode): ...

    def main(_):
      estimator = tf.estimator.Estimator(
        model_fn, config=checkpoint_flags.run_config_from_flags())

This is the only module of the library that reads FLAGS.
"""

from __future__ import annotations

import functools
from typing import Any, Callable

from absl import flags

from estimator_ckpt import errors
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.layout import LAYOUTS
from estimator_ckpt.training import decorators, model_fns, signal_handlers
from estimator_ckpt.training.tensorflow_private import tf
from estimator_ckpt.warm_start import options as warm_start_options
from estimator_ckpt.warm_start.request import WarmStart

_CHECKPOINT_FLAGS = (
  "checkpoint_asynchronous",
  "checkpoint_durable",
  "checkpoint_format",
  "checkpoint_layout",
  "checkpoint_save_on_signals",
  "checkpoint_separate",
  "checkpoint_strict",
)
# Flags that mean nothing without --warm_start_from, with their defaults.
_WARM_START_OPTIONS: dict[str, Any] = {
  "warm_start_variables": [],
  "assignment_map": [],
  "warm_start_only_mapped": False,
  "warm_start_optimizer_state": False,
  "warm_start_global_step": False,
  "warm_start_moving_averages": warm_start_options.MATCH,
  "warm_start_strict": True,
}
_WARM_START_FLAGS = ("warm_start_from", *_WARM_START_OPTIONS)
_RUN_CONFIG_FLAGS = (
  "model_dir",
  "save_checkpoints_steps",
  "save_checkpoints_secs",
  "keep_checkpoint_max",
  "keep_checkpoint_every_n_hours",
)


def define_checkpoint_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines the flags --checkpoint_..., --warm_start_... and --assignment_map.

  Args:
    flag_values: where the flags are defined.

  Raises:
    absl.flags.DuplicateFlagError: the binary has one of these flags already.
  """
  flags.DEFINE_enum(
    "checkpoint_format",
    CheckpointFormat.DUAL.value,
    [f.value for f in CheckpointFormat],
    "The format of checkpoints that are written: name-based (tf1), object-based (tf2), or "
    "both in one (dual). Every format is restored.",
    flag_values=flag_values,
  )
  flags.DEFINE_enum(
    "checkpoint_layout",
    "default",
    list(LAYOUTS),
    "Where variables stand in the object graph: below var_list/ (flat), along their "
    "scopes (nested), or both (default).",
    flag_values=flag_values,
  )
  flags.DEFINE_boolean(
    "checkpoint_strict",
    True,
    "Whether a variable that the restored checkpoint lacks, or has with another shape "
    "or dtype, is an error. If not, the variable is initialized, with a warning.",
    flag_values=flag_values,
  )
  flags.DEFINE_boolean(
    "checkpoint_separate",
    False,
    "Whether a dual checkpoint is written as two over the same data: one with TF1 names "
    "only, and one for TF2 in the directory tf2/ beside it.",
    flag_values=flag_values,
  )
  flags.DEFINE_boolean(
    "checkpoint_asynchronous",
    False,
    "Whether training goes on while a checkpoint is written.",
    flag_values=flag_values,
  )
  flags.DEFINE_boolean(
    "checkpoint_durable",
    False,
    "Whether a checkpoint is synced to the disk before the file `checkpoint` names it, "
    "so that it survives a power cut.",
    flag_values=flag_values,
  )
  flags.DEFINE_list(
    "checkpoint_save_on_signals",
    [],
    "Signals at which training ends its step, saves and stops, such as SIGTERM,SIGUSR1.",
    flag_values=flag_values,
  )
  flags.register_validator(
    "checkpoint_save_on_signals", _check_signals, flag_values=flag_values
  )
  flags.register_multi_flags_validator(
    ["checkpoint_format", "checkpoint_separate"],
    lambda given: (
      not given["checkpoint_separate"]
      or given["checkpoint_format"] == CheckpointFormat.DUAL.value
    ),
    "--checkpoint_separate is for --checkpoint_format=dual.",
    flag_values=flag_values,
  )
  _define_warm_start_flags(flag_values)


def _define_warm_start_flags(flag_values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "warm_start_from",
    None,
    "Start from this checkpoint, model_dir or SavedModel of any format, if --model_dir "
    "has no checkpoint yet.",
    flag_values=flag_values,
  )
  flags.DEFINE_multi_string(
    "warm_start_variables",
    [],
    "Start only variables whose names begin with this regular expression; repeat it for "
    "more. By default, every variable starts that the checkpoint can supply.",
    flag_values=flag_values,
  )
  flags.DEFINE_multi_string(
    "assignment_map",
    [],
    "old:new. old is a name, a scope/, a regular expression or an object path in "
    "--warm_start_from; new is its name in the model. Or a file of such lines. Repeat it "
    "for more.",
    flag_values=flag_values,
  )
  for name, meaning in (
    ("only_mapped", "Start only variables that --assignment_map mentions."),
    ("optimizer_state", "Start slots and beta powers too."),
    ("global_step", "Start the global step too."),
    ("strict", "Fail before training if a variable that was asked for cannot start."),
  ):
    name = f"warm_start_{name}"
    default = _WARM_START_OPTIONS[name]
    flags.DEFINE_boolean(name, default, meaning, flag_values=flag_values)
  flags.DEFINE_enum(
    "warm_start_moving_averages",
    warm_start_options.MATCH,
    list(warm_start_options.MOVING_AVERAGES),
    "Start moving averages from those of the checkpoint (match), start variables from "
    "their moving averages too (use), or leave moving averages alone (skip).",
    flag_values=flag_values,
  )
  flags.register_multi_flags_validator(
    _WARM_START_FLAGS, _check_warm_start_flags, flag_values=flag_values
  )


def _check_signals(names: list[str]) -> bool:
  try:
    signal_handlers.signal_numbers(names)
  except errors.OptionError as e:
    raise flags.ValidationError(str(e)) from e
  return True


def _check_warm_start_flags(given: dict[str, Any]) -> bool:
  if given["warm_start_from"] is None:
    for name, default in _WARM_START_OPTIONS.items():
      if given[name] != default:
        raise flags.ValidationError(f"--{name} needs --warm_start_from.")
    return True
  try:
    _warm_start(given)
  except errors.CheckpointError as e:
    raise flags.ValidationError(str(e)) from e
  return True


def _warm_start(given: dict[str, Any]) -> WarmStart | None:
  if given["warm_start_from"] is None:
    return None
  return WarmStart(
    given["warm_start_from"],
    given["warm_start_variables"] or None,
    given["assignment_map"],
    only_mapped=given["warm_start_only_mapped"],
    optimizer_state=given["warm_start_optimizer_state"],
    global_step=given["warm_start_global_step"],
    moving_averages=given["warm_start_moving_averages"],
    strict=given["warm_start_strict"],
  )


def define_run_config_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines --model_dir, --save_checkpoints_... and --keep_checkpoint_....

  Args:
    flag_values: where the flags are defined.

  Raises:
    absl.flags.DuplicateFlagError: the binary has one of these flags already.
  """
  flags.DEFINE_string(
    "model_dir",
    None,
    "The directory of checkpoints: they are written there, and a job resumes from them.",
    flag_values=flag_values,
  )
  flags.DEFINE_integer(
    "save_checkpoints_steps",
    None,
    "Save a checkpoint every so many steps.",
    lower_bound=1,
    flag_values=flag_values,
  )
  flags.DEFINE_integer(
    "save_checkpoints_secs",
    None,
    "Save a checkpoint every so many seconds. The default is 600, if "
    "--save_checkpoints_steps is not given.",
    lower_bound=1,
    flag_values=flag_values,
  )
  flags.DEFINE_integer(
    "keep_checkpoint_max",
    5,
    "How many checkpoints are kept; 0 keeps all.",
    lower_bound=0,
    flag_values=flag_values,
  )
  flags.DEFINE_float(
    "keep_checkpoint_every_n_hours",
    10000.0,
    "Keep one more checkpoint for every so many hours of training.",
    lower_bound=0.0,
    flag_values=flag_values,
  )
  flags.register_multi_flags_validator(
    ["save_checkpoints_steps", "save_checkpoints_secs"],
    lambda given: (
      given["save_checkpoints_steps"] is None or given["save_checkpoints_secs"] is None
    ),
    "Give --save_checkpoints_steps or --save_checkpoints_secs, not both.",
    flag_values=flag_values,
  )


def checkpointing_from_flags(
  flag_values: flags.FlagValues = flags.FLAGS, **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
  """A decorator like `checkpointing` that reads the flags when the model_fn runs.

  Args:
    flag_values: where the flags are defined.
    **options: further options of `checkpointing`; they win over flags.

  Returns:
    A decorator of a model_fn.

  Raises:
    OptionError: something that is no model_fn is decorated. When the model_fn runs: the
      flags are not defined.
  """

  def decorate(model_fn: Callable[..., Any]) -> Callable[..., Any]:
    signature = model_fns.model_fn_signature(model_fn)

    @functools.wraps(model_fn)
    def decorated(*args: Any, **kwargs: Any) -> Any:
      names = _CHECKPOINT_FLAGS + _WARM_START_FLAGS
      _require(flag_values, names, "define_checkpoint_flags")
      given = {
        "warm_start": _warm_start({n: flag_values[n].value for n in _WARM_START_FLAGS}),
        "layout": flag_values.checkpoint_layout,
        "strict": flag_values.checkpoint_strict,
        "separate": flag_values.checkpoint_separate,
        "asynchronous": flag_values.checkpoint_asynchronous,
        "durable": flag_values.checkpoint_durable,
        "save_on_signals": flag_values.checkpoint_save_on_signals,
        **options,
      }
      if flag_values.checkpoint_format == CheckpointFormat.TF1.value:
        given.pop("checkpoint", None)
      by_format = decorators.checkpointing(flag_values.checkpoint_format, **given)
      return by_format(model_fn)(*args, **kwargs)

    decorated.__signature__ = signature  # type: ignore[attr-defined]
    return decorated

  return decorate


def run_config_from_flags(
  flag_values: flags.FlagValues = flags.FLAGS, **settings: Any
) -> tf.estimator.RunConfig:
  """Makes the RunConfig that the flags describe.

  Args:
    flag_values: where the flags are defined.
    **settings: further arguments of RunConfig; they win over flags.

  Returns:
    The RunConfig.

  Raises:
    OptionError: the flags are not defined.
  """
  _require(flag_values, _RUN_CONFIG_FLAGS, "define_run_config_flags")
  given: dict[str, Any] = {
    "model_dir": flag_values.model_dir,
    "keep_checkpoint_max": flag_values.keep_checkpoint_max,
    "keep_checkpoint_every_n_hours": flag_values.keep_checkpoint_every_n_hours,
  }
  # RunConfig takes one of the two, and an explicit None counts as given.
  for name in ("save_checkpoints_steps", "save_checkpoints_secs"):
    if flag_values[name].value is not None:
      given[name] = flag_values[name].value
  return tf.estimator.RunConfig(**{**given, **settings})


def _require(
  flag_values: flags.FlagValues, names: tuple[str, ...], function: str
) -> None:
  missing = [name for name in names if name not in flag_values]
  if missing:
    raise errors.OptionError(
      f"The flags {', '.join('--' + name for name in missing)} are not defined. Call "
      f"estimator_ckpt.flags.{function}() where the binary defines its flags."
    )
