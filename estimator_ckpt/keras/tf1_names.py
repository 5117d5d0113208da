"""The names of TF1 code, as a checkpoint of that code has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from estimator_ckpt import errors
from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import tensor_names
from estimator_ckpt.checkpoint.name_pattern import NamePattern, matches_any
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.reader import CheckpointReader
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.keras import source as keras_source
from estimator_ckpt.keras.iterations import is_power


@dataclasses.dataclass(frozen=True)
class Tf1Names:
  """What a checkpoint of TF1 code calls its variables and its optimizer's state.

  Attributes:
    reader: the checkpoint.
    contents: its variables and states. Those that are left out are not in it.
    names: the name of each tensor that a Saver of the code restores, by key.
  """

  reader: CheckpointReader
  contents: keras_source.Contents
  names: Mapping[str, str]

  @classmethod
  def read(cls, prefix: str, omit: Sequence[str] = ()) -> Tf1Names:
    """Reads the names of a checkpoint.

    Args:
      prefix: a checkpoint of any format.
      omit: names that are not wanted, with the slots of such variables: names, scopes
        ending in `/`, or regular expressions.

    Raises:
      CheckpointNotFoundError: there is no checkpoint.
      CorruptCheckpointError: it is damaged.
      OptionError: a pattern matches nothing.
    """
    reader = CheckpointReader(prefix)
    index, graph = _names_alone(reader)
    tensors = tensor_names.named_tensors(index, graph)
    names = {
      tensor.key: tensor.name + tensor.suffix
      for tensor in tensors
      if not tensor.is_save_counter
    }
    contents = keras_source.read_contents(prefix, index, graph)
    patterns = [NamePattern(text, "omit") for text in omit]
    contents, kept = _without(patterns, contents, names)
    for pattern in patterns:
      pattern.check_used(list(names.values()))
    return cls(reader, contents, kept)

  @property
  def prefix(self) -> str:
    """The checkpoint's path."""
    return self.reader.prefix

  @property
  def state(self) -> keras_source.State | None:
    """The state of its optimizer; of several, the first."""
    return self.contents.states[0] if self.contents.states else None

  def name(self, key: str) -> str:
    """The name of a tensor.

    Args:
      key: as in the index. That of a slot may be an object's.

    Returns:
      The name; the key where it has no name.
    """
    return self.names.get(key, key)

  def slots(self, slot: str) -> dict[str, str]:
    """The names of slot variables.

    Args:
      slot: TF1's name of the slot.

    Returns:
      Names by the names of the variables; empty where the optimizer has no such slot.
    """
    members = self.state.slots.get(slot, {}) if self.state is not None else {}
    return {variable: self.name(key) for variable, key in members.items()}

  def check_default(
    self, keras_prefix: str, setting: str, default: float, key: str
  ) -> None:
    """Refuses a default that a power of it shows not to be the beta of this code.

    Args:
      keras_prefix: the checkpoint of Keras, which does not store the beta.
      setting: Keras' name of the beta.
      default: TensorFlow 1's default of it.
      key: the key of its power.

    Raises:
      OptionError: the power is none of the default.
    """
    power = float(self.reader[key])
    if is_power(power, default):
      return
    step = keras_source.scalar(self.reader, self.contents.global_step)
    hint = ""
    if step is not None and 0.0 < power < 1.0:
      hint = f", but at global step {step} of {power ** (1 / (step + 1)):.6g}"
    raise errors.OptionError(
      f"{keras_prefix}: {setting} of Adam is not stored by Keras, and in "
      f"{self.prefix} {key} is {power:.9g}, which is no power of TensorFlow 1's "
      f"default {default}{hint}. Give it: settings={{{setting!r}: ...}}, "
      f"--optimizer_setting={setting}=..."
    )

  def misfits(self, entries: Mapping[str, tuple[int, Sequence[int]]]) -> list[str]:
    """Says which names a checkpoint lacks, or has in another form.

    Args:
      entries: the DataType number and the shape of each tensor that it has, by name.

    Returns:
      A line for each such name.

    Example:
      `dense/bias: float32 of shape [4], and the checkpoint has nothing for it`
    """
    lines = []
    for key, name in sorted(self.names.items(), key=lambda item: item[1]):
      entry = self.reader.index.entry(key)
      wanted = _form(entry.dtype, entry.shape)
      if name not in entries:
        lines.append(f"{name}: {wanted}, and the checkpoint has nothing for it")
      elif _form(*entries[name]) != wanted:
        lines.append(
          f"{name}: {wanted}, and the checkpoint has {_form(*entries[name])}"
        )
    return lines


class BackwardsMap:
  """From TF1's names to the Keras model's, by a map that leads the other way.

  Args:
    mapped: TF1's names by the model's.
  """

  def __init__(self, mapped: Mapping[str, str]):
    self._names = {new: old for old, new in mapped.items()}
    self._scopes: dict[str, str] = {}
    for old, new in mapped.items():
      old_scope, _, old_leaf = old.rpartition("/")
      new_scope, _, new_leaf = new.rpartition("/")
      if old_leaf == new_leaf:
        self._scopes.setdefault(new_scope, old_scope)

  def name(self, name: str) -> str:
    """Finds the name that a TF1 variable has in the model.

    Args:
      name: its name in TF1. A cell's weights may be several variables there; these
        follow their scope.

    Returns:
      The name, or its own where no rule leads to it.
    """
    if name in self._names:
      return self._names[name]
    scope = name.rpartition("/")[0]
    while scope:
      if scope in self._scopes:
        return self._scopes[scope] + name[len(scope) :]
      scope = scope.rpartition("/")[0]
    return name


def _form(dtype: int, shape: Iterable[int]) -> str:
  return f"{dtypes.name(dtype)} of shape {list(shape)}"


def _names_alone(reader: CheckpointReader) -> tuple[Index, ObjectGraph | None]:
  """What a Saver sees of a checkpoint: of one that has names, these alone.

  A dual checkpoint may have tensors of another form under the objects' keys, such as
  the weights of a Keras cell.
  """
  graph = reader.object_graph
  if graph is None:
    return reader.index, None
  named = [
    key
    for key in reader.index.keys()
    if key != layout_lib.OBJECT_GRAPH_KEY and layout_lib.parse_object_key(key) is None
  ]
  # What this package writes as TF2 has the step's name too.
  if not set(named) - {GLOBAL_STEP}:
    return reader.index, graph
  index = Index.read(reader.prefix)
  for key in index.keys():
    if key not in named:
      index.remove(key)
  return index, None


def _without(
  patterns: Sequence[NamePattern],
  contents: keras_source.Contents,
  names: Mapping[str, str],
) -> tuple[keras_source.Contents, dict[str, str]]:
  """Leaves out what patterns match, and the slots of such variables."""
  gone = {key for key, name in names.items() if matches_any(name, patterns)}
  variables = {n: v for n, v in contents.variables.items() if v.key not in gone}
  states = []
  for state in contents.states:
    slots = {}
    for slot, members in state.slots.items():
      gone.update(key for name, key in members.items() if name not in variables)
      kept = {name: key for name, key in members.items() if key not in gone}
      if kept:
        slots[slot] = kept
    if slots or not state.slots:
      states.append(dataclasses.replace(state, slots=slots))
  left = dataclasses.replace(contents, variables=variables, states=states)
  return left, {key: name for key, name in names.items() if key not in gone}
