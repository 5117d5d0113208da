"""The name that each tensor of a checkpoint has, whatever the checkpoint's format.

In a name-based (TF1) checkpoint it is the key. In a dual one it is the key that stands
for the same bytes. In an object-based (TF2) one it is, in this order:

1.  the `full_name` that the object graph has for it, if no other object has that too.
    It is taken for `Variable`, what TensorFlow calls a variable without a name, only
    where the object path says so as well;
2.  the object path: `model/dense/kernel`; below `var_list/` (and below `vars/`, which
    TensorFlow's guide converts to) the step that is a whole name.

Slots of Keras 2 optimizers are named as TensorFlow 1 names the same slot, where there
is one optimizer that it can be: `dense/kernel/Adam` for what Keras calls
`Adam/dense/kernel/m`. A slot without any name is `<variable>/<slot>`.

A TF2 checkpoint of an Estimator has the key `global_step` too; one that Keras'
`model_to_estimator` wrote has the object `estimator_global_step`. Its `full_name`s are
the names that its graph gave: each is one variable's, those of Keras slots and
`Variable` included, and only these names lead back.
"""

from __future__ import annotations

import bisect
import collections
import operator
import re
from collections.abc import Collection, Mapping, Sequence

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.joined import joined_entry, tensorflow_stitches
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import roles as optimizer_names
from estimator_ckpt.checkpoint.graph_columns import GraphColumns
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.optimizers import OPTIMIZERS
from estimator_ckpt.older_pythons import cached_property
from estimator_ckpt.value_classes import NamedTuple

SAVE_COUNTER_KEY = layout_lib.object_key([layout_lib.SAVE_COUNTER])

# Of these, a TF2 checkpoint has one if an Estimator wrote it. The second is from
# tensorflow_estimator/python/estimator/keras_lib.py.
_ESTIMATORS_STEPS = (
  optimizer_names.GLOBAL_STEP,
  layout_lib.object_key(["estimator_global_step"]),
)
# More tensors of one object are not looked for: any key may begin with a short one.
_MAX_SUFFIXED = 64
# What TensorFlow calls variables that were given no name.
_UNNAMED = r"Variable(_\d+)?"
_TABLE_SUFFIXES = ("-keys", "-values")
# Dicts at the root of an object graph whose keys are whole names.
_NAME_DICTS = (layout_lib.VAR_LIST, "vars")
# Keras 2 optimizers whose slots mean what those of a TensorFlow 1 optimizer mean.
_TF1_SLOTS = {
  (kind.keras, frozenset(slot.legacy for slot in kind.slots)): (
    kind.tf1,
    tuple(slot.legacy for slot in kind.slots),
  )
  for kind in OPTIMIZERS
  if kind.same_in_legacy and kind.slots and not kind.optional
}


class NamedTensor(NamedTuple):
  """A tensor of a checkpoint and what it is called.

  Attributes:
    name: its name in a name-based checkpoint, without `suffix`.
    key: a key of the index it stands under.
    suffix: what the key has behind that of the object or the name, `-keys` for the keys
      of a lookup table.
    object_key: its key in the object graph; None where the graph does not have it.
    attribute: what of the object it is; None where the graph does not have it.
    path_name: the name its object path spells, or "".
    bare_key: the name-based key it has; None where it has none.
  """

  name: str
  key: str
  suffix: str = ""
  object_key: str | None = None
  attribute: str | None = None
  path_name: str = ""
  bare_key: str | None = None

  @property
  def full_name(self) -> str:
    """The key it has in a name-based checkpoint."""
    return self.name + self.suffix

  @property
  def owner(self) -> str:
    """What a lookup table's two tensors have in common: the key without suffix."""
    return self.key[: -len(self.suffix)] if self.suffix else self.key

  @property
  def is_save_counter(self) -> bool:
    """Whether it is tf.train.Checkpoint's own counter of saves."""
    return self.object_key == SAVE_COUNTER_KEY


def named_tensors(index: Index, graph: ObjectGraph | None) -> list[NamedTensor]:
  """Names every tensor of a checkpoint, except the object graph itself.

  Args:
    index: the checkpoint's index.
    graph: its object graph, if it has one.

  Returns:
    The tensors. Aliases are one tensor. Names need not be distinct: an object graph
    may say the same of two.
  """
  if graph is None:
    return _name_based(index, index.keys())
  found = _ObjectTensors(index, graph).tensors()
  bare_keys, left = _match_bare_keys(index, found)
  return found.named(bare_keys) + _name_based(index, left)


def _name_based(index: Index, keys: Sequence[str]) -> list[NamedTensor]:
  """Tensors called what their keys say; a lookup table's two have one name."""
  if not any(key.endswith(_TABLE_SUFFIXES) for key in keys):
    new = tuple.__new__  # The constructor would take twice as long.
    return [new(NamedTensor, (key, key, "", None, None, "", key)) for key in keys]
  known = set(keys)
  found = []
  for key in keys:
    if not key.endswith(_TABLE_SUFFIXES):
      found.append(NamedTensor(key, key, "", None, None, "", key))
      continue
    name, suffix = key, ""
    for own, other in (_TABLE_SUFFIXES, _TABLE_SUFFIXES[::-1]):
      table = key[: -len(own)]
      if key.endswith(own) and table + other in known and table not in known:
        shapes = [index.entry(table + s).shape for s in (own, other)]
        if table and all(shapes) and shapes[0][0] == shapes[1][0]:
          name, suffix = table, own
    found.append(NamedTensor(name, key, suffix, bare_key=key))
  return found


def _match_bare_keys(index: Index, found: _Found) -> tuple[list[str | None], list[str]]:
  """Finds the name-based keys that stand for the same bytes as objects' tensors.

  Returns:
    For each tensor its name-based key, or None; and the keys that are left.
  """
  bare_keys: list[str | None] = [None] * len(found.keys)
  taken = {*found.keys, layout_lib.OBJECT_GRAPH_KEY}
  # Where each key is a tensor's, the keys of the index need not be looked at.
  all_taken = len(index) + (layout_lib.OBJECT_GRAPH_KEY not in index)
  if len(taken) == all_taken:
    return bare_keys, []
  # A name that the object graph says too comes first: empty tensors may share a place.
  rest = []
  names = list(map(operator.add, found.names, found.suffixes))
  places = zip(index.places(names), index.places(found.keys))
  for position, (name, (by_name, by_key)) in enumerate(zip(names, places)):
    if (
      by_name is not None
      and name not in taken
      and (by_name == by_key or _same_content(index, name, found.keys[position]))
    ):
      bare_keys[position] = name
      taken.add(name)
    elif found.keys[position] != SAVE_COUNTER_KEY:
      rest.append(position)
  if len(taken) == all_taken:
    return bare_keys, []
  free = dict.fromkeys(key for key in index.keys() if key not in taken)
  by_place: dict[object, list[str]] = collections.defaultdict(list)
  for key, place in zip(free, index.places(list(free))) if rest else ():
    by_place[place].append(key)
  for position, place in zip(rest, index.places([found.keys[p] for p in rest])):
    for key in by_place.get(place, ()):
      if key in free and key.endswith(found.suffixes[position]):
        bare_keys[position] = key
        del free[key]
        break
  return bare_keys, list(free)


def _same_content(index: Index, a: str, b: str) -> bool:
  """Whether a name-based key has what an object's has, in a form of its own.

  A TF2 checkpoint of this package may hold a copy of the step under `global_step`, and
  a dual one has slices under the name that stand whole under the object's key.
  """
  if index.entry(a).slices:
    whole, by_key = joined_entry(index, a), index.entry(b)
    if whole is None:
      # The bytes of columns, or of parts in several data files, do not tell. Training
      # stores such a tensor twice where TensorFlow does not put its parts together.
      whole = index.entry(a)
      twice = not by_key.slices and not tensorflow_stitches(whole.dtype)
      return twice and (whole.dtype, whole.shape) == (by_key.dtype, by_key.shape)
    return whole.content == by_key.content
  content = small_content(index, a)
  return content is not None and content == small_content(index, b)


def small_content(index: Index, key: str) -> tuple[object, ...] | None:
  """A value that is equal for equal scalars; None for a tensor that is no scalar."""
  entry = index.entry(key)
  if entry.shape or entry.slices or entry.size > 8:
    return None
  return entry.dtype, entry.size, entry.crc32c


class _Found:
  """The tensors of an object graph, as columns.

  Attributes:
    names: the name of each, without suffix.
    keys: the key of each.
    suffixes: what each key has behind that of the object.
    attributes: what of its object each one is.
    paths: the name that the path of each object spells.
  """

  def __init__(
    self,
    names: list[str],
    keys: list[str],
    suffixes: list[str],
    attributes: list[str],
    paths: list[str],
  ):
    self.names = names
    self.keys = keys
    self.suffixes = suffixes
    self.attributes = attributes
    self.paths = paths

  def named(self, bare_keys: Sequence[str | None]) -> list[NamedTensor]:
    """The tensors, each called as its name-based key where it has one."""
    suffixes = self.suffixes
    names = [
      name if bare is None else bare[: len(bare) - len(suffix)]
      for name, bare, suffix in zip(self.names, bare_keys, suffixes)
    ]
    new = tuple.__new__  # The constructor would take twice as long.
    return [
      new(NamedTensor, fields)
      for fields in zip(
        names, self.keys, suffixes, self.keys, self.attributes, self.paths, bare_keys
      )
    ]


class _ObjectTensors:
  """Names the tensors that an object graph has."""

  def __init__(self, index: Index, graph: ObjectGraph):
    self._index = index
    self._is_estimators = any(key in index for key in _ESTIMATORS_STEPS)
    self._graph = graph
    self._columns = graph.columns
    root = self._columns.children_of(0)
    self._dicts_of_names = {
      own: self._columns.children_of(root[own])
      for own in _dicts_of_names(self._columns)
    }

  @cached_property
  def _paths(self) -> Sequence[layout_lib.Path | None]:
    return self._columns.paths()

  def tensors(self) -> _Found:
    columns = self._columns
    places, suffixed = self._stored()
    owners = [columns.owners[place] for place in places]
    attributes = [columns.attributes[place] for place in places]
    full_names = [columns.full_names[place] for place in places]
    keys = [columns.keys[place] for place in places]
    paths = self._path_names(owners, attributes, full_names, keys)
    names = self._full_names(full_names, paths)
    self._name_slots(owners, paths, names)
    self._name_keras_slots(owners, names)
    names = [name or path for name, path in zip(names, paths)]
    suffixes = [""] * len(keys)
    if not suffixed:
      return _Found(names, keys, suffixes, attributes, paths)
    rows = []
    for place, row in zip(places, zip(names, keys, suffixes, attributes, paths)):
      for key in suffixed.get(place, row[1:2]):
        rows.append((row[0], key, key[len(row[1]) :], *row[3:]))
    return _Found(*map(list, zip(*rows)))

  def _stored(self) -> tuple[Sequence[int], dict[int, list[str]]]:
    """The stored values that the index has, by their places in the columns.

    Returns:
      The places, of which one key comes once; and for those whose key is no tensor's,
      the keys of their tensors, which begin with it.
    """
    keys = self._columns.keys
    first = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1)))
    values = self._index.values(keys)
    if len(first) == len(keys) and None not in values:
      return range(len(keys)), {}
    sorted_keys: list[str] = []
    places = []
    suffixed = {}
    for place, (key, value) in enumerate(zip(keys, values)):
      if not key or first[key] != place:
        continue
      if value is not None:
        places.append(place)
        continue
      # A table's two tensors, an iterator's state: keys that begin with it.
      sorted_keys = sorted_keys or sorted(self._index.keys())
      start = bisect.bisect_left(sorted_keys, key)
      own = []
      for candidate in sorted_keys[start : start + _MAX_SUFFIXED]:
        if not candidate.startswith(key):
          break
        if candidate not in first and "/" not in candidate[len(key) :]:
          own.append(candidate)
      if own:
        places.append(place)
        suffixed[place] = own
    return places, suffixed

  def _path_names(
    self,
    owners: Sequence[int],
    attributes: Sequence[str],
    full_names: Sequence[str],
    keys: Sequence[str],
  ) -> list[str]:
    """The names that the paths of objects spell."""
    # Where a dict of names has the object, most often its name is the full name.
    in_dicts: list[str | None] = [None] * len(keys)
    escaped = layout_lib.escape_local_names(full_names)
    ending = layout_lib.object_key((), layout_lib.VARIABLE_VALUE)
    for own, children in self._dicts_of_names.items():
      own_keys = [f"{own}/{name}/{ending}" for name in escaped]
      reached = list(map(children.get, full_names))
      if own_keys == keys and reached == owners:
        in_dicts = list(full_names)
      elif children:
        in_dicts = [
          name if own_key == key and node_id == owner else known
          for own_key, key, node_id, owner, name, known in zip(
            own_keys, keys, reached, owners, full_names, in_dicts
          )
        ]
    return [
      path
      if path is not None and attribute == layout_lib.VARIABLE_VALUE
      else self._path_name(owner, attribute, key)
      for path, attribute, owner, key in zip(in_dicts, attributes, owners, keys)
    ]

  def _path_name(self, node_id: int, attribute: str, own_key: str) -> str:
    key = layout_lib.parse_object_key(own_key)
    path: Sequence[str]
    if attribute == layout_lib.VARIABLE_VALUE and key is not None:
      own, name = key.path if len(key.path) == 2 else ("", "")
      is_spelled = own_key == layout_lib.object_key((own, name))
      if is_spelled and self._dicts_of_names.get(own, {}).get(name) == node_id:
        return name
    if key is not None and key.slot is not None:
      # A slot variable has no parent, and so no path.
      path = (*key.path, key.slot)
    elif key is not None and self._columns.lookup(key.path) == node_id:
      path = key.path
    else:
      path = self._paths[node_id] or (own_key,)
    if len(path) == 2 and path[0] in self._dicts_of_names:
      path = path[1:]
    if attribute not in (layout_lib.VARIABLE_VALUE, "table"):
      path = (*path, attribute)
    return "/".join(path)

  def _full_names(self, said: Sequence[str], paths: Sequence[str]) -> list[str]:
    """The names the graph says; "" where what it says is not to be trusted."""
    names = list(said)
    if names == paths:
      return names
    counts = collections.Counter(names)
    spelled = set(paths)
    for position, (name, path) in enumerate(zip(names, paths)):
      if name != path and (counts[name] > 1 or self._is_doubtful(name, spelled)):
        names[position] = ""
    return names

  def _is_doubtful(self, name: str, spelled: Collection[str]) -> bool:
    """Whether what an object graph says may be no name, or another object's."""
    if self._is_estimators:
      return False
    return name in spelled or re.fullmatch(_UNNAMED, name) is not None

  def _name_slots(
    self, owners: Sequence[int], paths: Sequence[str], names: list[str]
  ) -> None:
    """Names the slots that have no name of their own after their variables."""
    position_of: dict[int, int] = {}
    if self._columns.slots:
      for position, node_id in enumerate(owners):
        position_of.setdefault(node_id, position)
    unnamed: dict[str, list[tuple[int, str]]] = collections.defaultdict(list)
    for node_id, slots in self._columns.slots:
      optimizer = "/".join(self._paths[node_id] or ())
      for slot in slots:
        own = position_of.get(slot.slot_variable_node_id)
        variable = position_of.get(slot.original_variable_node_id)
        if own is None or variable is None or names[own]:
          continue
        of = names[variable] or paths[variable]
        unnamed[f"{of}/{slot.slot_name}"].append((own, f"{of}/{optimizer}"))
    for name, members in unnamed.items():
      for position, qualified in members:
        # Two optimizers have such a slot: the optimizer's path tells them apart.
        slot_name = name.rpartition("/")[2]
        names[position] = name if len(members) == 1 else f"{qualified}/{slot_name}"

  def _name_keras_slots(self, nodes: Sequence[int], names: list[str]) -> None:
    """Gives Keras 2 optimizers' slots the names TensorFlow 1 gives the same slots."""
    if self._is_estimators or not optimizer_names.mention_keras(names):
      return
    roles = optimizer_names.classify(name for name in names if name)
    slots: dict[str, dict[tuple[str, int], dict[str, str]]] = {}
    for name, role in roles.items():
      if role.keras and role.of is not None and role.optimizer and role.slot:
        optimizers = slots.setdefault(role.of, {})
        optimizers.setdefault((role.optimizer, role.instance), {})[role.slot] = name
    renamed = _tf1_slot_names(slots, set(names))
    said = self._dicts_of_names.values()
    for position, (node_id, name) in enumerate(zip(nodes, names)):
      if not any(children.get(name) == node_id for children in said):
        names[position] = renamed.get(name, name)


def _tf1_slot_names(
  slots: Mapping[str, Mapping[tuple[str, int], Mapping[str, str]]], taken: set[str]
) -> dict[str, str]:
  renamed: dict[str, str] = {}
  for variable, optimizers in slots.items():
    if len(optimizers) != 1:
      continue
    (((optimizer, _), by_slot),) = optimizers.items()
    known = _TF1_SLOTS.get((optimizer, frozenset(by_slot)))
    if known is None:
      continue
    tf1_name, order = known
    news = [
      f"{variable}/{tf1_name}" + (f"_{number}" if number else "")
      for number in range(len(order))
    ]
    if not taken.intersection(news):
      renamed.update(zip((by_slot[slot] for slot in order), news))
  return renamed


def _dicts_of_names(columns: GraphColumns) -> frozenset[str]:
  """The children of the root that map whole names to variables."""
  found = set()
  root = columns.children_of(0)
  for name in _NAME_DICTS:
    node_id = root.get(name)
    if node_id is None:
      continue
    # `vars` may be anybody's list; a dict of names has a scope somewhere.
    children = columns.children_of(node_id)
    if name == layout_lib.VAR_LIST or any("/" in child for child in children):
      found.add(name)
  return frozenset(found)
