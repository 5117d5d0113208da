"""The one place where private TensorFlow API is used.

Each function or class says why the public API does not do. All were checked on
TensorFlow 2.12.1 and 2.15.1, the first and the last version with Estimator that this
package supports.
"""

from __future__ import annotations

import copy
import dis
import functools
import inspect
import numbers
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple

from estimator_ckpt import errors
from estimator_ckpt.training import retention

try:
  import tensorflow as tf
except ImportError as e:
  raise errors.MissingDependencyError(
    "This part of estimator_ckpt needs TensorFlow, and it is not installed. "
    + errors.tensorflow_advice()
  ) from e

if not (2, 12) <= tuple(map(int, tf.__version__.split(".")[:2])) < (2, 16):
  raise errors.MissingDependencyError(
    "This part of estimator_ckpt needs TensorFlow 2.12 to 2.15, which have Estimator; "
    f"this is {tf.__version__}. Reading and converting checkpoints, and "
    "estimator_ckpt.keras, do not need it."
  )
try:
  tf.estimator.Estimator  # noqa: B018
except (AttributeError, ImportError) as e:
  raise errors.MissingDependencyError(
    f"TensorFlow {tf.__version__} is here without its tensorflow-estimator. "
    + errors.tensorflow_advice()
  ) from e

from tensorflow.python.checkpoint import graph_view, save_util_v1
from tensorflow.python.client import session as session_lib
from tensorflow.python.ops import io_ops, variables
from tensorflow.python.trackable import base as trackable_base
from tensorflow.python.training import monitored_session, warm_starting_util

# The public tf.compat.v1.train.Saver takes a builder but exports no class of them.
from tensorflow.python.training.saver import BulkSaverBuilder as BulkSaverBuilder
from tensorflow.python.training.saving import saveable_object_util
from tensorflow.python.training.saving.saveable_object import (
  SaveableObject as SaveableObject,
)
from tensorflow.python.training.saving.saveable_object import SaveSpec as SaveSpec
from tensorflow.python.util import object_identity


class SaverBase(tf.compat.v1.train.Saver):
  """A Saver whose steps can be called one at a time.

  `Saver.save` records a checkpoint in the state file right after its data is on disk,
  with nothing in between, and keeps its settings and what it keeps private.
  """

  @property
  def is_built(self) -> bool:
    """Whether the save and restore ops are in the graph."""
    return self._is_built

  @property
  def is_empty(self) -> bool:
    """Whether there was nothing to save."""
    return bool(self._is_empty)

  def build_with(
    self,
    var_list: Mapping[str, Sequence[SaveableObject]],
    builder: BulkSaverBuilder,
    max_to_keep: int,
    keep_checkpoint_every_n_hours: float,
  ) -> None:
    """Adds the ops for these saveables to the graph, by this builder."""
    # `Saver` takes a var_list or defers its build, not both.
    self._var_list = dict(var_list)
    self._builder = builder
    self._max_to_keep = max_to_keep
    self._keep_checkpoint_every_n_hours = keep_checkpoint_every_n_hours
    super().build()

  def prefix(self, session: tf.compat.v1.Session, path: str, step: Any) -> str:
    """The prefix that `save` writes; how it pads the step has no public name."""
    path = tf.compat.as_text(path)
    if step is None:
      return path
    if not isinstance(step, numbers.Integral):
      step = tf.compat.v1.train.global_step(session, step)
    return f"{path}-{step:08d}" if self._pad_step_number else f"{path}-{step}"

  @property
  def listed(self) -> list[retention.ListedCheckpoint]:
    """The checkpoints that count for retention; their times have no public name."""
    return [retention.ListedCheckpoint(*each) for each in self._last_checkpoints]

  @property
  def preserve_after(self) -> float:
    """When one that `keep_checkpoint_every_n_hours` preserves was saved at the earliest.

    The base class counts it from the time when the saver was built.
    """
    return self._next_checkpoint_time

  @preserve_after.setter
  def preserve_after(self, seconds: float) -> None:
    self._next_checkpoint_time = seconds

  @property
  def saves_relative_paths(self) -> bool:
    """Whether the state file has paths relative to its directory."""
    return self._save_relative_paths


def saver_settings(saver: tf.compat.v1.train.Saver) -> dict[str, Any]:
  """What a Saver was told to do; its attributes have no public names.

  Args:
    saver: any Saver, built or deferred.

  Returns:
    The arguments it was made with: `var_list` (None for "everything"), `max_to_keep`,
    `keep_checkpoint_every_n_hours`, `sharded`, `pad_step_number`,
    `save_relative_paths`, `restore_sequentially`, `reshape`, `filename`, `name`.
  """
  return {
    "var_list": saver._var_list,
    "max_to_keep": saver._max_to_keep,
    "keep_checkpoint_every_n_hours": saver._keep_checkpoint_every_n_hours,
    "sharded": saver._sharded,
    "pad_step_number": saver._pad_step_number,
    "save_relative_paths": saver._save_relative_paths,
    "restore_sequentially": saver._restore_sequentially,
    "reshape": saver._reshape,
    "filename": saver._filename,
    "name": saver._name,
  }


def delete_checkpoint(prefix: str, meta_graph_suffix: str) -> None:
  """Deletes the files of a checkpoint; what the file system refuses is logged and left.

  Public, but deprecated without anything that does the same.

  Args:
    prefix: the checkpoint.
    meta_graph_suffix: the suffix of its MetaGraph.
  """
  try:
    tf.compat.v1.train.remove_checkpoint(prefix, meta_graph_suffix=meta_graph_suffix)
  except (tf.errors.OpError, OSError) as error:
    tf.compat.v1.logging.warning("%s was not deleted: %s", prefix, error)


_CoordinatedSessionCreator = (
  monitored_session._MonitoredSession._CoordinatedSessionCreator
)


class SaveCall(NamedTuple):
  """Where a saver was called from.

  Attributes:
    coordinator: the coordinator of the MonitoredSession, or None outside of one.
    hook: the CheckpointSaverHook that saves, or None.
  """

  coordinator: tf.train.Coordinator | None
  hook: tf.compat.v1.train.CheckpointSaverHook | None

  @property
  def has_listeners(self) -> bool:
    """Whether somebody is told of the checkpoint as soon as `save` returns."""
    return self.hook is not None and bool(self.hook._listeners)


def hooks_of_session() -> Sequence[Any]:
  """All hooks of the MonitoredSession that calls a hook's `after_create_session`.

  A hook is not told of others. Empty where no MonitoredSession calls.
  """
  frame: Any = sys._getframe(1)
  while frame is not None:
    owner = frame.f_locals.get("self")
    if isinstance(owner, _CoordinatedSessionCreator):
      return owner._hooks
    frame = frame.f_back
  return ()


def saves_with(hook: tf.compat.v1.train.CheckpointSaverHook) -> Any:
  """The saver of a hook; None for the one that is in the graph's collection."""
  return hook._saver if hook._scaffold is None else hook._scaffold.saver


def save_call() -> SaveCall:
  """Looks at who calls a saver.

  A Scaffold has nothing to do with hooks, and a saver gets the bare session. So whoever
  has only a saver cannot know when training ends, nor who waits for the checkpoint. The
  callers know. A MonitoredSession calls its hooks in `create_session` of the first class
  below, in `_CoordinatedSession.run`, and in its own `_close_internal`.
  """
  coordinator = hook = None
  frame: Any = sys._getframe(1)
  while frame is not None and coordinator is None:
    owner = frame.f_locals.get("self")
    if hook is None and isinstance(owner, tf.compat.v1.train.CheckpointSaverHook):
      hook = owner
    elif isinstance(owner, monitored_session._CoordinatedSession):
      coordinator = owner._coord
    elif isinstance(owner, _CoordinatedSessionCreator):
      coordinator = owner.coord
    elif isinstance(owner, monitored_session._MonitoredSession):
      coordinator = owner._coordinated_creator.coord
    frame = frame.f_back
  return SaveCall(coordinator, hook)


def cached_summary_writer(directory: str) -> tf.compat.v1.summary.FileWriter | None:
  """The FileWriter that somebody writes summaries of a directory with, or None.

  `FileWriterCache.get` would make one, and an event file where there is none.
  """
  return tf.compat.v1.summary.FileWriterCache._cache.get(directory)


def all_saveable_objects() -> list[Any]:
  """What a Saver without a var_list saves: global variables and SAVEABLE_OBJECTS."""
  return variables._all_saveable_objects()


def saveables_by_name(var_list: Any) -> dict[str, list[SaveableObject]]:
  """The saveables a name-based Saver makes of a var_list, by the name it gives them.

  Partitioned variables, reference variables and distributed ones each need code of
  their own, which TensorFlow has and does not export.

  Args:
    var_list: a list of variables and SaveableObjects, or a dict of names to them.

  Returns:
    Names to saveables; several for a partitioned variable.

  Raises:
    OptionError: two things of one name, or a thing that cannot be saved.
  """
  try:
    if not isinstance(var_list, Mapping):
      _check_saveable_names(var_list)
      var_list = saveable_object_util.op_list_to_dict(list(var_list))
    named = {
      name: list(saveable_object_util.saveable_objects_for_op(op, name))
      for name, op in sorted(var_list.items())
    }
    for name, op in var_list.items():
      info = getattr(op, "_save_slice_info", None)
      if info is not None:
        # No way leads from a saveable to its variable, which knows what it is a part of.
        named[name][0].part_spec = info.spec
  except (ValueError, TypeError) as e:
    if isinstance(e, errors.CheckpointError):
      raise
    raise errors.OptionError(f"These cannot be saved together: {e}") from e
  return named


def _check_saveable_names(var_list: Sequence[Any]) -> None:
  # TensorFlow keeps only the last of several SaveableObjects of one name, silently.
  seen: dict[str, Any] = {}
  for op in tf.nest.flatten(list(var_list)):
    if isinstance(op, SaveableObject):
      if seen.setdefault(op.name, op) is not op:
        raise errors.OptionError(
          f"Two saveables are called {op.name!r}, so only one could be restored. Give "
          "each a name of its own, or pass var_list={name: saveable}."
        )


class PythonState:
  """An object whose state is a Python string, as `tf.train.experimental.PythonState`.

  Args:
    saveable: what TensorFlow makes of it; its callbacks are private.
  """

  def __init__(self, saveable: Any):
    self.key: str = saveable.name
    self._saveable = saveable

  def feed(self) -> dict[Any, Any]:
    """The tensor that is saved, with the state as it is now."""
    return dict(self._saveable.feed_dict_additions())

  def restore(self, state: bytes) -> None:
    """Gives the object its state back."""
    self._saveable._restore_callback(state)


class FeedingSession(session_lib.SessionInterface):
  """A session that feeds something in every run; `Saver.save` takes no feed.

  Args:
    session: the session that does the work.
    feed: what is added to each run's own.
  """

  def __init__(self, session: tf.compat.v1.Session, feed: Mapping[Any, Any]):
    self._session = session
    self._feed = feed

  @property
  def graph(self) -> tf.Graph:
    """The wrapped session's graph."""
    return self._session.graph

  @property
  def sess_str(self) -> Any:
    """The wrapped session's target."""
    return self._session.sess_str

  def run(self, fetches: Any, feed_dict: Any = None, **options: Any) -> Any:
    """Runs with the wrapped session, feeding what was given beside."""
    return self._session.run(fetches, {**(feed_dict or {}), **self._feed}, **options)

  def partial_run_setup(self, *args: Any, **options: Any) -> Any:
    """As the wrapped session's."""
    return self._session.partial_run_setup(*args, **options)

  def partial_run(self, *args: Any, **options: Any) -> Any:
    """As the wrapped session's."""
    return self._session.partial_run(*args, **options)


def serialize_objects(
  root: Any,
) -> tuple[list[SaveableObject], bytes, list[PythonState]]:
  """The saveables and the object graph that tf.train.Checkpoint would write.

  Its own `save` runs them in a graph or session of its choosing; here they become part
  of a Saver's.

  Args:
    root: a `tf.train.Checkpoint` or another trackable.

  Returns:
    Saveables whose names are checkpoint keys, a serialized TrackableObjectGraph, and
    the objects whose state is Python's, which are among the saveables too.
  """
  # With a cache, Python state is fed when it is saved; without, it would be a constant.
  saveables, graph, _, registered = save_util_v1.serialize_gathered_objects(
    graph_view.ObjectGraphView(root),
    saveables_cache=object_identity.ObjectIdentityWeakKeyDictionary(),
  )
  if registered:
    names = sorted(name for objects in registered.values() for name in objects)
    raise errors.OptionError(
      "These objects are stored by a registered saver of their own, which a Saver cannot "
      f"run: {', '.join(names)}. Leave them out of checkpoint=, or save their variables."
    )
  states = [PythonState(s) for s in saveables if hasattr(s, "feed_dict_additions")]
  return saveables, graph.SerializeToString(), states


def frozen_objects(var_list: Any) -> tuple[list[SaveableObject], bytes] | None:
  """The objects of a var_list that stands for the object graph of a model.

  `tf.keras.estimator.model_to_estimator` makes such a Saver, of object keys and with the
  serialized object graph among them, for its `checkpoint_format="checkpoint"`.

  Args:
    var_list: a Saver's.

  Returns:
    As `serialize_objects`, or None for any other var_list.
  """
  if not isinstance(var_list, (list, tuple)):
    return None
  name = trackable_base.OBJECT_GRAPH_PROTO_KEY
  graphs = [s for s in var_list if isinstance(s, SaveableObject) and s.name == name]
  if len(graphs) != 1:
    return None
  data = tf.get_static_value(graphs[0].specs[0].tensor)
  if data is None:
    return None
  return [saveable for saveable in var_list if saveable is not graphs[0]], data.item()


def is_save_only(saveable: SaveableObject) -> bool:
  """Whether a saveable is written and no op restores it, as Python state."""
  return isinstance(saveable, trackable_base.NoRestoreSaveable) or hasattr(
    saveable, "feed_dict_additions"
  )


def distributed_variable(saveable: SaveableObject) -> tf.Variable | None:
  """The first component of a strategy's variable, if the saveable is of one.

  A MirroredStrategy's saveables have no op that would lead to their variable.
  """
  kinds = ("_distributed_variable", "_mirrored_variable", "_sync_on_read_variable")
  found = [getattr(saveable, kind) for kind in kinds if hasattr(saveable, kind)]
  return getattr(next(iter(found), saveable.op), "_primary", None)


def slice_key(saveable: SaveableObject) -> str:
  """Identifies the variable behind a saveable, whoever made the saveable.

  Saveables of one variable made for a name and for an object are different objects.
  """
  variable = distributed_variable(saveable)
  op = getattr(saveable, "handle_op", saveable.op) if variable is None else variable
  # A lookup table's own name need not be its op's.
  op = getattr(op, "resource_handle", op)
  op = getattr(op, "op", op)
  name = getattr(op, "name", None)
  return name if isinstance(name, str) else f"id:{id(op)}"


def part_spec(saveable: SaveableObject) -> str | None:
  """Where the variable of a saveable stands in a partitioned one, as SaveV2 takes it.

  Args:
    saveable: one that saves it as a variable of its own.

  Returns:
    The slice spec, or None for what is no part.
  """
  return getattr(saveable, "part_spec", None)


def save_v2(
  filename: Any, names: list[str], slices: list[str], tensors: list[Any]
) -> Any:
  """The SaveV2 op; `tf.raw_ops` has it too, but not with plain lists in every version."""
  return io_ops.save_v2(filename, names, slices, tensors)


def restore_v2(
  filename: Any, names: list[str], slices: list[str], dtypes: list[Any]
) -> Any:
  """The RestoreV2 op, as `save_v2`."""
  return io_ops.restore_v2(filename, names, slices, dtypes)


def cpu_of(device: str) -> str:
  """The CPU of the task that a device belongs to, as Savers find it."""
  return saveable_object_util.set_cpu0(device)


def saved_name(variable: Any) -> str:
  """The name a variable is saved under; of a part, that of the whole.

  Where a part stands in its variable has no public name.
  """
  info = getattr(variable, "_save_slice_info", None)
  return variable.op.name if info is None else info.full_name


def assign(saveable: SaveableObject, value: tf.Tensor) -> tf.Operation:
  """The op that gives a value to what a saveable saves.

  Every kind of variable has its own way to be restored, which its saveable knows. That
  of the most common kind adds a copy to each of thousands; this does not.
  """
  if type(saveable) is not saveable_object_util.ResourceVariableSaveable:
    restored = saveable.restore([value], None)
    return getattr(restored, "op", restored)
  if not saveable._var_shape.is_compatible_with(value.shape):
    raise ValueError(
      f"{saveable.name!r} of shape {saveable._var_shape} cannot be {value.shape}"
    )
  with tf.device(saveable._var_device):
    return tf.raw_ops.AssignVariableOp(resource=saveable.handle_op, value=value)


def replace_initializer(variable: Any, op: tf.Operation) -> None:
  """Makes another op initialize a variable, as `init_from_checkpoint` does.

  That leaves what was grouped before, as a model_fn does with
  `global_variables_initializer()` for its own init_op. There the op takes the place too.
  """
  for initializer in _initializers(variable):
    # A copy: what is changed is what is listed.
    for group in list(initializer._control_outputs):
      _drop_inputs(group, {initializer})
      group._add_control_input(op)
  variable._initializer_op = op


def start_in_init_op(
  variables_started: Sequence[Any], start: tf.Operation
) -> tf.Operation | None:
  """Makes the Scaffold's own init_op run an op instead of variables' initializers.

  A run of its own would optimize the whole graph once more, and initializing what is
  started anyway takes time; also, a variable of a cluster would count as ready for the
  workers before it has its value. The Scaffold makes the op before it builds its saver,
  and the control inputs of an operation have no public way to change.

  Args:
    variables_started: the variables that `start` gives their values.
    start: the op.

  Returns:
    The init_op, or None where it is not one of the default kind; then nothing changed.
  """
  init_ops = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.INIT_OP)
  if len(init_ops) != 1 or getattr(init_ops[0], "type", None) != "NoOp":
    return None
  [init_op] = init_ops
  _drop_inputs(init_op, {op for v in variables_started for op in _initializers(v)})
  init_op._add_control_input(start)
  return init_op


def _initializers(variable: Any) -> list[tf.Operation]:
  # A distributed variable makes a new group of its copies' initializers every time.
  copies = getattr(variable, "values", None)
  if copies is None or callable(copies):
    return [variable.initializer]
  return [copy.initializer for copy in copies]


def _drop_inputs(op: tf.Operation, dropped: set[tf.Operation]) -> None:
  """Takes control inputs off a group, and off the groups in it."""
  inputs = op.control_inputs
  kept = [i for i in inputs if i not in dropped]
  for group in kept:
    if group.type == "NoOp":
      _drop_inputs(group, dropped)
  if len(kept) != len(inputs):
    op._remove_all_control_inputs()
    op._add_control_inputs(kept)


def user_init_fn(scaffold: tf.compat.v1.train.Scaffold) -> Any:
  """The init_fn(scaffold, session) a Scaffold was given; its property hides the first."""
  return scaffold._user_init_fn


def save_with(
  hook: Any,
  replaced: tf.compat.v1.train.Scaffold,
  scaffold: tf.compat.v1.train.Scaffold,
) -> None:
  """Has a CheckpointSaverHook of one Scaffold, or of its saver, save with another.

  A hook keeps what it was made with, and there is no other way to tell it. One with a
  saver of its own is left alone. Checked on TensorFlow 2.12 and 2.15.

  Args:
    hook: any hook.
    replaced: the Scaffold that it may have.
    scaffold: the one that it is to have instead.
  """
  if not isinstance(hook, tf.compat.v1.train.CheckpointSaverHook):
    return
  has_saver = hook._saver is not None and hook._saver is replaced.saver
  if has_saver or hook._scaffold is replaced:
    hook._saver, hook._scaffold = None, scaffold


def call_when_initialized(
  scaffold: tf.compat.v1.train.Scaffold, function: Callable[[Any], None]
) -> None:
  """Has `function(session)` called before a Scaffold's init_fn, which cannot be set later.

  A session calls it once, on the chief, if there was no checkpoint to restore.
  """
  init_fn = scaffold.init_fn

  def both(session: tf.compat.v1.Session) -> None:
    function(session)
    if init_fn is not None:
      init_fn(session)

  scaffold._init_fn = both


class Training(NamedTuple):
  """An Estimator that is about to train, and the Scaffold of what its model_fn made."""

  estimator: tf.compat.v1.estimator.Estimator
  scaffold: tf.compat.v1.train.Scaffold


def training_that_warm_starts() -> Training | None:
  """Whose WarmStartSettings are being unpacked; to be called where they are.

  An Estimator does not tell its settings who it is. It unpacks them in a method, to train
  in `_train_with_estimator_spec`, whose variables tell it.

  Returns:
    The training; None if whoever unpacks them is no Estimator, or does not train.
  """
  unpacking = sys._getframe(2).f_locals
  estimator, spec = unpacking.get("self"), unpacking.get("estimator_spec")
  # That of compat.v1 is the base of the other.
  if not isinstance(estimator, tf.compat.v1.estimator.Estimator):
    return None
  if not isinstance(spec, tf.estimator.EstimatorSpec) or spec.mode != "train":
    return None
  return Training(estimator, spec.scaffold)


def is_warm_started(estimator: tf.estimator.Estimator) -> bool:
  """Whether an Estimator was given `warm_start_from=`, which has no public name."""
  return estimator._warm_start_settings is not None


def estimator_with_model_fn(
  estimator: tf.estimator.Estimator, decorate: Callable[[Any], Any]
) -> tf.estimator.Estimator:
  """A copy of an Estimator whose model_fn is decorated.

  An Estimator keeps its model_fn in an attribute, and its constructor takes another one:
  a canned one's takes none, and a TPUEstimator wraps it. What a class keeps of itself, in
  bound methods and closures, is made to mean the copy. Read from tensorflow-estimator
  2.12 and 2.15.

  Args:
    estimator: the Estimator, which stays as it is.
    decorate: decorates the model_fn that the Estimator calls.

  Returns:
    The copy, of the same class.
  """
  copied = copy.copy(estimator)
  memo: dict[int, Any] = {id(estimator): copied}
  for name, value in list(vars(copied).items()):
    vars(copied)[name] = _rebound(value, estimator, copied, memo)
  copied._model_fn = decorate(copied._model_fn)
  return copied


def trains_its_model_fn(estimator: tf.estimator.Estimator) -> bool:
  """Whether an Estimator's `train` ends in TensorFlow's, which calls its model_fn.

  Estimator forbids a class to have a `train` of its own, and a class can get around it.
  `adanet.Estimator` does, and trains Estimators that it makes. What its `train` calls is
  read from its code, since it is too late once it trains.

  Args:
    estimator: the Estimator.

  Returns:
    False if a `train` of its class has neither `super()` nor `Base.train`.
  """
  stock = (tf.estimator.Estimator, tf.compat.v1.estimator.Estimator)
  for kind in type(estimator).__mro__:
    if kind in stock or kind is tf.compat.v1.estimator.tpu.TPUEstimator:
      return True
    own = vars(kind).get("train")
    if own is None:
      continue
    code = getattr(inspect.unwrap(own), "__code__", None)
    names = [i.argval for i in dis.get_instructions(code)] if code is not None else []
    bases = {base.__name__ for base in kind.__mro__[1:]}
    # `Estimator.train` is called; `Estimator(...)` would make another one.
    if any(a in bases and b == "train" for a, b in zip(names, names[1:])):
      return True
    if not {"super", "__class__"} & set(names):
      return False
  return True


def _rebound(value: Any, old: Any, new: Any, memo: dict[int, Any]) -> Any:
  """A function, method or partial that means another object than it did."""
  if id(value) in memo:
    return memo[id(value)]
  result = value
  if isinstance(value, types.MethodType) and value.__self__ is old:
    result = types.MethodType(value.__func__, new)
  elif isinstance(value, functools.partial):
    parts = [value.func, *value.args, *value.keywords.values()]
    made = [_rebound(part, old, new, memo) for part in parts]
    if any(a is not b for a, b in zip(parts, made)):
      arguments = made[1 : 1 + len(value.args)]
      keywords = dict(zip(value.keywords, made[1 + len(value.args) :]))
      result = functools.partial(made[0], *arguments, **keywords)
  elif isinstance(value, types.FunctionType) and value.__closure__:
    memo[id(value)] = value  # A function may be in a closure of its own.
    result = _with_closure(value, old, new, memo)
  memo[id(value)] = result
  return result


def _with_closure(
  function: types.FunctionType, old: Any, new: Any, memo: dict[int, Any]
) -> types.FunctionType:
  cells = []
  for cell in function.__closure__ or ():
    try:
      inner = cell.cell_contents
    except ValueError:  # It is empty.
      cells.append(cell)
      continue
    made = _rebound(inner, old, new, memo)
    cells.append(cell if made is inner else types.CellType(made))
  if all(a is b for a, b in zip(cells, function.__closure__ or ())):
    return function
  copied = types.FunctionType(
    function.__code__,
    function.__globals__,
    function.__name__,
    function.__defaults__,
    tuple(cells),
  )
  copied.__kwdefaults__ = function.__kwdefaults__
  functools.update_wrapper(copied, function)
  return copied


def calling_estimator() -> tf.estimator.Estimator | None:
  """The Estimator that is calling a model_fn, which does not tell it who it is.

  The nearest of the callers whose `self` is an Estimator.

  Returns:
    The Estimator; None if no Estimator calls.
  """
  frame = sys._getframe(1)
  while frame is not None:
    found = frame.f_locals.get("self")
    # That of compat.v1 is the base of the other.
    if isinstance(found, tf.compat.v1.estimator.Estimator):
      return found
    frame = frame.f_back  # type: ignore[assignment]
  return None


def warm_start_settings_of(estimator: tf.estimator.Estimator) -> Any:
  """What an Estimator was given as `warm_start_from=`, or None."""
  return estimator._warm_start_settings


def set_warm_start_settings(estimator: tf.estimator.Estimator, settings: Any) -> None:
  """Has an Estimator start from other settings; there is no public way."""
  estimator._warm_start_settings = settings


def variables_to_warm_start(selected: Any) -> list[str]:
  """The names of the variables that `WarmStartSettings.vars_to_warm_start` means.

  A string or None means trainable variables, a list of strings all variables.

  Args:
    selected: the value of that field.

  Returns:
    The names; of a partitioned variable, the name of the whole.
  """
  return list(warm_starting_util._get_grouped_variables(selected))
