"""Scaffolds whose saver writes a checkpoint format and restores any.

For `tf.estimator.EstimatorSpec(scaffold=...)` and
`tf.compat.v1.train.MonitoredTrainingSession(scaffold=...)`:

    with tf.compat.v1.train.MonitoredTrainingSession(
        checkpoint_dir=model_dir, scaffold=eckpt.dual_scaffold()) as session:
      ...
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Collection
from typing import Any, Callable, TypeVar

from estimator_ckpt import errors
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.saver import CheckpointSaver
from estimator_ckpt.training.tensorflow_private import tf
from estimator_ckpt.training.warm_start.warm_starting_saver import (
  InitFn,
  WarmStartingSaver,
)
from estimator_ckpt.warm_start.request import WarmStart

_SCAFFOLD_OPTIONS = frozenset(
  [
    "init_op",
    "init_feed_dict",
    "init_fn",
    "ready_op",
    "ready_for_local_init_op",
    "local_init_op",
    "local_init_feed_dict",
    "summary_op",
  ]
)
SAVER_OPTIONS = frozenset(
  [
    "var_list",
    "checkpoint",
    "layout",
    "strict",
    "max_to_keep",
    "keep_checkpoint_every_n_hours",
    "sharded",
    "pad_step_number",
    "save_relative_paths",
    "restore_sequentially",
    "reshape",
    "separate",
    "asynchronous",
    "durable",
    "save_on_signals",
    "filename",
    "name",
    "warm_start",
  ]
)


_F = TypeVar("_F", bound=Callable[..., Any])


def shows_options(function: _F, without: Collection[str] = ()) -> _F:
  """Puts the options that a function passes to a saver into its signature.

  `help` then shows their names and defaults, rather than `**options` alone.

  Args:
    function: its last parameter is `**options`.
    without: options that the function does not take.

  Returns:
    The same function, with another signature.
  """
  signature = inspect.signature(function)
  *own, rest = signature.parameters.values()
  keyword = inspect.Parameter.KEYWORD_ONLY
  options = [
    inspect.Parameter(p.name, keyword, default=p.default)
    for p in inspect.signature(CheckpointSaver).parameters.values()
    if p.kind is keyword and p.name not in {*without, *signature.parameters}
  ]
  options.append(inspect.Parameter("warm_start", keyword, default=None))
  # The rest stands for other arguments of a Saver and, in a factory, of a Scaffold.
  rest = rest.replace(annotation=inspect.Parameter.empty)
  shown = signature.replace(parameters=[*own, *options, rest])
  function.__signature__ = shown  # type: ignore[attr-defined]
  return function


@shows_options
def tf1_scaffold(**options: Any) -> tf.compat.v1.train.Scaffold:
  """Makes a Scaffold that writes name-based (TF1) checkpoints and restores any format.

  Args:
    **options: as for `dual_scaffold`; `checkpoint` and `layout` have no meaning here.

  Returns:
    A Scaffold.

  Raises:
    OptionError: an unknown option or value.
  """
  return make_scaffold(CheckpointFormat.TF1, **options)


@shows_options
def tf2_scaffold(**options: Any) -> tf.compat.v1.train.Scaffold:
  """Makes a Scaffold that writes object-based (TF2) checkpoints and restores any format.

  Args:
    **options: as for `dual_scaffold`.

  Returns:
    A Scaffold.

  Raises:
    OptionError: an unknown option or value.
  """
  return make_scaffold(CheckpointFormat.TF2, **options)


@shows_options
def dual_scaffold(**options: Any) -> tf.compat.v1.train.Scaffold:
  """Makes a Scaffold that writes dual checkpoints and restores any format.

  Call it where the graph is built: in `with tf.Graph().as_default()` or in a model_fn.

      scaffold = eckpt.dual_scaffold(max_to_keep=3)
      with tf.compat.v1.train.MonitoredTrainingSession(
          checkpoint_dir="model_dir", scaffold=scaffold) as session:
        ...

  Args:
    **options: the options of `dual_checkpointing`; any argument of
      `tf.compat.v1.train.Scaffold` except `saver`; and `scaffold`, a Scaffold to take
      over, whose saver is replaced and whose settings are kept.

  Returns:
    A Scaffold.

  Raises:
    OptionError: an unknown option or value.
  """
  return make_scaffold(CheckpointFormat.DUAL, **options)


def make_scaffold(
  checkpoint_format: CheckpointFormat | str, **options: Any
) -> tf.compat.v1.train.Scaffold:
  """Makes a Scaffold that writes checkpoints of a format and restores any format.

  Args:
    checkpoint_format: "tf1", "tf2", "dual", or a CheckpointFormat.
    **options: as for `dual_scaffold`.

  Returns:
    A Scaffold.

  Raises:
    OptionError: an unknown option or value.
  """
  scaffold = options.pop("scaffold", None)
  check_options(options, SAVER_OPTIONS | _SCAFFOLD_OPTIONS)
  found = saver_of(scaffold)
  saver = make_saver(
    checkpoint_format,
    found,
    **{k: v for k, v in options.items() if k in SAVER_OPTIONS},
  )
  settings = {k: v for k, v in options.items() if k in _SCAFFOLD_OPTIONS}
  init_fn = settings.pop("init_fn", None)
  if init_fn is None and scaffold is not None:
    init_fn = user_init_fn(scaffold)
  return tf.compat.v1.train.Scaffold(
    saver=saver,
    init_fn=make_init_fn(saver, init_fn),
    copy_from_scaffold=scaffold,
    **settings,
  )


def saver_of(scaffold: tf.compat.v1.train.Scaffold | None) -> Any:
  """The saver of a Scaffold, even if an evaluation's Scaffold hides it."""
  if scaffold is None:
    return None
  hidden = getattr(scaffold, "checkpoint_saver", None)
  return scaffold.saver if hidden is None else hidden


def user_init_fn(scaffold: tf.compat.v1.train.Scaffold) -> InitFn | None:
  """The init_fn that a user gave to a Scaffold, without what decorators and factories add.

  Args:
    scaffold: the user's own, or one that a decorator or factory made of it.

  Returns:
    The user's function; None if the user gave none.
  """
  init_fn = tfp.user_init_fn(scaffold)
  while init_fn is not None and hasattr(init_fn, "of_user"):
    init_fn = init_fn.of_user
  return init_fn


def make_init_fn(
  saver: CheckpointSaver, user_init_fn: InitFn | None, apart: bool = False
) -> InitFn | None:
  """Makes the init_fn of a Scaffold: the saver's warm start first, then the user's own.

  Args:
    saver: starts the variables, if it is a WarmStartingSaver.
    user_init_fn: the user's function, or None.
    apart: whether variables start only when the init_fn is called, and not in the
      init_op; see `WarmStartingSaver.init_fn`.

  Returns:
    The init_fn; None if there is nothing to do.
  """
  if not isinstance(saver, WarmStartingSaver):
    return user_init_fn
  init_fn = saver.init_fn(user_init_fn, apart)
  init_fn.of_user = user_init_fn  # type: ignore[attr-defined]
  return init_fn


def check_options(
  options: dict[str, Any], known: frozenset[str] = SAVER_OPTIONS
) -> None:
  """Checks that all options exist.

  Args:
    options: the options by name.
    known: the names that exist.

  Raises:
    OptionError: an unknown option; the message names the nearest that exists.
  """
  for name in options:
    if name not in known:
      near = errors.nearest(name, known)
      hint = f" Did you mean {near!r}?" if near else ""
      raise errors.OptionError(
        f"There is no option {name!r}.{hint} Known: {', '.join(sorted(known))}."
      )


def make_saver(
  checkpoint_format: CheckpointFormat | str, replaced: Any = None, **options: Any
) -> CheckpointSaver:
  """Makes a saver of a format, with the settings of the saver that it replaces.

  Args:
    checkpoint_format: "tf1", "tf2", "dual", or a CheckpointFormat.
    replaced: the saver of a user's Scaffold: None, a `tf.compat.v1.train.Saver`, a
      `tf.train.Checkpoint`, whose objects become `checkpoint=`, or the saver of another
      decorator or factory.
    **options: arguments of CheckpointSaver, which win over the settings of `replaced`.
      `checkpoint` and `warm_start` may be functions that return the value.

  Returns:
    The saver, not built yet. It is `replaced` itself, if that one writes the format
    already and no option is added.

  Raises:
    OptionError: `replaced` is of another class, or contradicts the options.
  """
  settings: dict[str, Any] = {}
  if isinstance(replaced, tfp.CHECKPOINTS):
    if options.get("checkpoint") is not None:
      raise errors.OptionError(
        "Both checkpoint= and the Scaffold's saver name the objects of the checkpoint. "
        "Give one of them."
      )
    if CheckpointFormat.parse(checkpoint_format) is not CheckpointFormat.TF1:
      settings["checkpoint"] = replaced
  elif isinstance(replaced, CheckpointSaver):
    return _made_again(replaced, CheckpointFormat.parse(checkpoint_format), options)
  elif type(replaced) is tf.compat.v1.train.Saver:
    settings = tfp.saver_settings(replaced)
  elif replaced is not None:
    raise errors.OptionError(
      f"The Scaffold's saver is a {type(replaced).__module__}.{type(replaced).__name__}, "
      "and only tf.compat.v1.train.Saver and tf.train.Checkpoint can be taken over. Leave "
      "the saver out, or give its settings as options."
    )
  given = dict(options)
  called = call_functions(options)
  warm_start = called.pop("warm_start", None)
  settings.update(called)
  if warm_start is None:
    saver = CheckpointSaver(checkpoint_format, **settings)
  else:
    if not isinstance(warm_start, WarmStart):
      warm_start = WarmStart(warm_start)
    saver = WarmStartingSaver(checkpoint_format, warm_start=warm_start, **settings)
  saver.made_with = MadeWith(given, replaced)
  return saver


@dataclasses.dataclass(frozen=True)
class MadeWith:
  """What a decorator or factory made a saver with.

  Attributes:
    options: the options of the decorator or factory, as they were given.
    replaced: the saver of the user's own Scaffold, or None.
  """

  options: dict[str, Any]
  replaced: Any


def _made_again(
  saver: CheckpointSaver, checkpoint_format: CheckpointFormat, options: dict[str, Any]
) -> CheckpointSaver:
  """Makes the saver of two decorators or factories, which may agree or add options."""
  made = saver.made_with
  if made is None:
    raise errors.OptionError(
      "The Scaffold has a saver of estimator_ckpt of its own. Leave out that saver, or the "
      "decorator or factory."
    )
  if saver.checkpoint_format is not checkpoint_format:
    raise errors.OptionError(
      f"The Scaffold writes {saver.checkpoint_format.value!r} checkpoints already, by a "
      f"factory or decorator of estimator_ckpt, and another decorator or factory asks for "
      f"{checkpoint_format.value!r}. Leave one of them out."
    )
  for name in options.keys() & made.options.keys():
    if not _is_same(options[name], made.options[name]):
      raise errors.OptionError(
        f"Two decorators or factories contradict each other: {name}="
        f"{made.options[name]!r} and {name}={options[name]!r}. Leave one of them out."
      )
  if options.keys() <= made.options.keys():
    return saver
  if made.options.get("asynchronous"):
    # The hook that saves has this saver, and cannot get another one.
    added = ", ".join(sorted(options.keys() - made.options.keys()))
    raise errors.OptionError(
      f"A second decorator or factory adds {added} to one that has asynchronous=True. "
      "Give all options in one of them."
    )
  savers = tf.compat.v1.get_collection_ref(tf.compat.v1.GraphKeys.SAVERS)
  savers[:] = [each for each in savers if each is not saver]
  return make_saver(checkpoint_format, made.replaced, **{**made.options, **options})


def _is_same(a: Any, b: Any) -> bool:
  if a is b:
    return True
  if isinstance(a, dict) and isinstance(b, dict):
    return a.keys() == b.keys() and all(_is_same(a[key], b[key]) for key in a)
  if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
    return len(a) == len(b) and all(map(_is_same, a, b))
  # The == of variables and arrays gives no truth value.
  plain = (str, int, float, os.PathLike)
  return isinstance(a, plain) and isinstance(b, plain) and a == b


def call_functions(options: dict[str, Any]) -> dict[str, Any]:
  """Calls the functions that stand for the values of `checkpoint` and `warm_start`.

  Args:
    options: options of a saver.

  Returns:
    The options, with what the functions have returned.
  """
  called = dict(options)
  for name in ("checkpoint", "warm_start"):
    value = options.get(name)
    if inspect.isfunction(value) or inspect.ismethod(value):
      called[name] = value()
  return called
