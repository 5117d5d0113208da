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
_SAVER_OPTIONS = frozenset(
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
    "filename",
    "name",
    "warm_start",
  ]
)


_F = TypeVar("_F", bound=Callable[..., Any])


def shows_options(function: _F) -> _F:
  """Puts the options that a function passes to a saver into its signature.

  `help` then names them, with their defaults, and not `**options` alone.

  Args:
    function: a function that ends in `**options`.

  Returns:
    The function.
  """
  signature = inspect.signature(function)
  *own, rest = signature.parameters.values()
  keyword = inspect.Parameter.KEYWORD_ONLY
  options = [
    inspect.Parameter(p.name, keyword, default=p.default)
    for p in inspect.signature(CheckpointSaver).parameters.values()
    if p.kind is keyword
  ]
  options.append(inspect.Parameter("warm_start", keyword, default=None))
  # What is left are the other arguments of a Saver and, in a factory, of a Scaffold.
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
    OptionError: an unknown option or a value that cannot be meant.
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
    OptionError: an unknown option or a value that cannot be meant.
  """
  return make_scaffold(CheckpointFormat.TF2, **options)


@shows_options
def dual_scaffold(**options: Any) -> tf.compat.v1.train.Scaffold:
  """Makes a Scaffold that writes dual checkpoints and restores any format.

  Call it where the graph is built: within `with tf.Graph().as_default()`, or in a
  model_fn.

      scaffold = eckpt.dual_scaffold(max_to_keep=3)
      with tf.compat.v1.train.MonitoredTrainingSession(
          checkpoint_dir="model_dir", scaffold=scaffold) as session:
        ...

  Args:
    **options: those of `dual_checkpointing`, without functions for `checkpoint` and
      `warm_start`; any argument of `tf.compat.v1.train.Scaffold` except `saver`; and
      `scaffold`, a Scaffold to take over: its saver is replaced and its settings kept.

  Returns:
    A Scaffold.

  Raises:
    OptionError: an unknown option or a value that cannot be meant.
  """
  return make_scaffold(CheckpointFormat.DUAL, **options)


def make_scaffold(
  checkpoint_format: CheckpointFormat | str, **options: Any
) -> tf.compat.v1.train.Scaffold:
  """As `dual_scaffold`, for any format.

  Args:
    checkpoint_format: what is written.
    **options: see `dual_scaffold`.

  Returns:
    A Scaffold.

  Raises:
    OptionError: an unknown option or a value that cannot be meant.
  """
  scaffold = options.pop("scaffold", None)
  check_options(options, _SAVER_OPTIONS | _SCAFFOLD_OPTIONS)
  found = saver_of(scaffold)
  saver = make_saver(
    checkpoint_format,
    found,
    **{k: v for k, v in options.items() if k in _SAVER_OPTIONS},
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
  """The saver of a Scaffold, also where an evaluation's Scaffold does not show it."""
  if scaffold is None:
    return None
  hidden = getattr(scaffold, "checkpoint_saver", None)
  return scaffold.saver if hidden is None else hidden


def user_init_fn(scaffold: tf.compat.v1.train.Scaffold) -> InitFn | None:
  """The init_fn that a user gave to a Scaffold, below those of decorators and factories.

  Args:
    scaffold: any Scaffold.

  Returns:
    The function, or None for none.
  """
  init_fn = tfp.user_init_fn(scaffold)
  while init_fn is not None and hasattr(init_fn, "of_user"):
    init_fn = init_fn.of_user
  return init_fn


def make_init_fn(
  saver: CheckpointSaver, user_init_fn: InitFn | None, apart: bool = False
) -> InitFn | None:
  """The init_fn of a Scaffold: the saver's warm start first, then the user's own.

  Args:
    saver: the Scaffold's saver.
    user_init_fn: the user's, or None.
    apart: see `WarmStartingSaver.init_fn`.

  Returns:
    The function, or None for none.
  """
  if not isinstance(saver, WarmStartingSaver):
    return user_init_fn
  init_fn = saver.init_fn(user_init_fn, apart)
  init_fn.of_user = user_init_fn  # type: ignore[attr-defined]
  return init_fn


def check_options(
  options: dict[str, Any], known: frozenset[str] = _SAVER_OPTIONS
) -> None:
  """Raises for an option that does not exist, naming the nearest that does.

  Args:
    options: what was given.
    known: what may be.

  Raises:
    OptionError: as said.
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
  """A saver of a format, with the settings of the one it takes the place of.

  Args:
    checkpoint_format: what is written.
    replaced: the saver of a user's Scaffold: None, a `tf.compat.v1.train.Saver`, a
      `tf.train.Checkpoint`, whose objects become `checkpoint=`, or the saver of another
      decorator or factory.
    **options: arguments of CheckpointSaver; they win over the replaced one's.
      `checkpoint` and `warm_start` may be functions that return them.

  Returns:
    The saver, not built yet; the replaced one itself if it writes the format already
    and nothing is added to its options.

  Raises:
    OptionError: `replaced` is of another kind, or contradicts the options.
  """
  settings: dict[str, Any] = {}
  if isinstance(replaced, (tf.train.Checkpoint, tf.compat.v1.train.Checkpoint)):
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
      "it out, or give its settings as options."
    )
  given = dict(options)
  called = _called(options)
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
    options: its options, as they were given.
    replaced: the saver of the user's own Scaffold, or None.
  """

  options: dict[str, Any]
  replaced: Any


def _made_again(
  saver: CheckpointSaver, checkpoint_format: CheckpointFormat, options: dict[str, Any]
) -> CheckpointSaver:
  """A saver that a second decorator or factory takes over."""
  if saver.checkpoint_format is not checkpoint_format:
    raise errors.OptionError(
      f"The Scaffold writes {saver.checkpoint_format.value!r} checkpoints already, by a "
      f"factory or decorator of estimator_ckpt, and another one asks for "
      f"{checkpoint_format.value!r}. Leave one of them out."
    )
  made = saver.made_with
  if made is None:
    raise errors.OptionError(
      "The Scaffold has a CheckpointSaver of its own. Leave it out, or leave out the "
      "decorator or factory."
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
    # The hook that saves has this saver, and cannot be given another.
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
  # Variables and arrays have an == of their own, which gives no truth value.
  plain = (str, int, float, os.PathLike)
  return isinstance(a, plain) and isinstance(b, plain) and a == b


def _called(options: dict[str, Any]) -> dict[str, Any]:
  """The options, with functions for objects replaced by what they return."""
  called = dict(options)
  for name in ("checkpoint", "warm_start"):
    value = options.get(name)
    if inspect.isfunction(value) or inspect.ismethod(value):
      called[name] = value()
  return called
