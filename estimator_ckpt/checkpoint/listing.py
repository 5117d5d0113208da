"""What a checkpoint holds, tensor by tensor, whatever keys it has.

In a dual checkpoint a tensor has two keys, its variable's name and an object key; in
one that `tf.train.Checkpoint` wrote the name stands in the object graph. Here they
become one `estimator_ckpt.checkpoint.saved_tensor.SavedTensor`, so that checkpoints of all
formats can be listed, and compared, alike.
"""

from __future__ import annotations

import bisect
import collections
import itertools
from collections.abc import Iterable, Iterator, Sequence

from estimator_ckpt.bundle.entry_columns import EntryColumns
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.joined import joined_entry
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.checkpoint import layout, tensor_names
from estimator_ckpt.checkpoint.full_names import FullNames
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.object_paths import ObjectPaths
from estimator_ckpt.checkpoint.paired_keys import PairedKeys
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.checkpoint.saved_tensor import (
  SavedTensor,
  SavedTensors,
  StoredPart,
  object_keys,
)
from estimator_ckpt.checkpoint.tensor_names import NamedTensor

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import TypeAlias

_Group: TypeAlias = "tuple[list[str], BundleEntry]"


_ATTRIBUTES = layout.ATTRIBUTES
_VALUE_SUFFIX = _ATTRIBUTES + layout.VARIABLE_VALUE


def saved_tensors(
  index: Index, graph: ObjectGraph | None, pairs: PairedKeys | None = None
) -> SavedTensors:
  """Lists what a checkpoint holds.

  Args:
    index: lists the tensors of the checkpoint.
    graph: its object graph, if it has one.
    pairs: its keys in pairs, if they were found.

  Returns:
    Its tensors, by name. Keys of the same bytes are one tensor.

  Raises:
    CorruptCheckpointError: an entry is damaged.

  >>> index = Index()
  >>> index.put("w", BundleEntry(dtype=1, shape=(2,), size=8))
  >>> index.alias("var_list/w/.ATTRIBUTES/VARIABLE_VALUE", "w")
  >>> [(tensor.name, len(tensor.keys)) for tensor in saved_tensors(index, None)]
  [('w', 2)]
  """
  if graph is None and not index.has_slices:
    names, values = index.columns()
    if len(set(values)) == len(names):  # Each is a name, and the only one.
      return _tensors(
        index, names, list(zip(names)), values, [()] * len(names)
      ).by_name()
  if graph is not None:
    if pairs is not None:
      found = _listed_in_pairs(index, graph, pairs)
    else:
      found = _listed_by_full_names(index, graph)
    if found is not None:
      return found
  paths = ObjectPaths(graph) if graph is not None else None
  named = tensor_names.named_tensors(index, graph)
  tensors, known = _listed_alone(index, named, paths)
  if tensors:
    rest = {key: index.location(key) for key in index.keys_besides(known)}
    others = [tensor for tensor in named if tensor.key in rest]
    tensors = tensors.followed_by(_listed_together(index, rest, others, paths))
    if len(set(tensors.names)) == len(tensors):
      return tensors.by_name()
  # Of several tensors with one name, the first is that whose keys come first.
  return _listed_together(index, index.locations(), named, paths).by_name()


def _listed_in_pairs(
  index: Index, graph: ObjectGraph, pairs: PairedKeys
) -> SavedTensors | None:
  """The tensors of a dual checkpoint whose keys tell which names the objects have.

  Returns:
    None where the object graph has something beside these variables.
  """
  said = pairs.names_in(graph, index)
  if said is None:
    return None
  paths = ObjectPaths(graph, said)
  own = pairs.object_keys
  keys: list[tuple[str, ...]]
  keys = [(name, key) if key else (name,) for name, key in zip(pairs.names, own)]
  found = [() if key is None else paths for key in own]
  if tensor_names.SAVE_COUNTER_KEY in index:
    # The step is the counter too, so it has one key more.
    place = index.value(tensor_names.SAVE_COUNTER_KEY)
    if place not in pairs.places:
      return None
    row = pairs.places.index(place)
    name, *others = keys[row]
    keys[row] = (name, *sorted([*others, tensor_names.SAVE_COUNTER_KEY]))
    said[said.index("")] = name
    found[row] = paths
  names, places = list(pairs.names), list(pairs.places)
  graph_row = bisect.bisect(names, layout.OBJECT_GRAPH_KEY)
  value = index.value(layout.OBJECT_GRAPH_KEY)
  assert value is not None
  names.insert(graph_row, layout.OBJECT_GRAPH_KEY)
  keys.insert(graph_row, (layout.OBJECT_GRAPH_KEY,))
  places.insert(graph_row, value)
  found.insert(graph_row, ())
  return _tensors(index, names, keys, places, found).by_name()


def _listed_by_full_names(index: Index, graph: ObjectGraph) -> SavedTensors | None:
  """The tensors of a TF2 checkpoint whose object graph has all names.

  Returns:
    None where a tensor has no name there, or not the bytes of its own that it should.
  """
  found = FullNames.of(index, graph)
  if found is None:
    return None
  by_name = dict(found.keys)
  step_key, counter_key = by_name.pop(GLOBAL_STEP), tensor_names.SAVE_COUNTER_KEY
  names, keys = list(by_name), list(by_name.values())
  places: list[bytes] = index.values(keys)  # type: ignore[assignment]
  others = sorted([step_key, counter_key, GLOBAL_STEP, layout.OBJECT_GRAPH_KEY])
  other_places = set(index.values(others))
  if len({*places, *other_places}) < len(keys) + len(other_places):
    return None
  if not all(_ATTRIBUTES in key for key in keys):
    return None
  steps = index.values([step_key, GLOBAL_STEP])
  is_step = index.value(counter_key) in steps
  said = [
    name or (GLOBAL_STEP if is_step else layout.SAVE_COUNTER)
    for name in graph.columns.full_names
  ]
  paths = ObjectPaths(graph, said)
  step = NamedTensor(
    GLOBAL_STEP, step_key, "", step_key, layout.VARIABLE_VALUE, "", GLOBAL_STEP
  )
  counter = NamedTensor(
    layout.SAVE_COUNTER, counter_key, "", counter_key, layout.VARIABLE_VALUE
  )
  tensors = _tensors(index, names, list(zip(keys)), places, [paths] * len(keys))
  rest = {key: index.location(key) for key in others}
  tensors = tensors.followed_by(_listed_together(index, rest, [step, counter], paths))
  return tensors.by_name() if len(set(tensors.names)) == len(tensors) else None


def _listed_alone(
  index: Index,
  named: Sequence[NamedTensor],
  paths: ObjectPaths | None,
) -> tuple[SavedTensors, set[bytes]]:
  """The tensors whose bytes have a name, an object key, or one of each.

  Returns:
    Most of the tensors of most checkpoints, and the bytes of their entries.
  """
  if index.has_slices:
    return SavedTensors.of([]), set()
  counts = collections.Counter(index.all_values())
  names: list[str] = []
  keys: list[tuple[str, ...]] = []
  values: list[bytes] = []
  found: list[tuple[str, ...] | ObjectPaths] = []
  places = zip(
    index.values([tensor.key for tensor in named]),
    index.values([tensor.bare_key or tensor.key for tensor in named]),
  )
  for tensor, (value, bare_value) in zip(named, places):
    name, key, suffix, owner, attribute, _, bare_key = tensor
    own = (key,) if bare_key is None or bare_key == key else (bare_key, key)
    if value is None or value != bare_value or counts[value] != len(own):
      continue
    if len(own) == 2:
      name = own[0]
      if _ATTRIBUTES not in key or _ATTRIBUTES in name:
        continue
    elif _ATTRIBUTES not in key:
      name = key
    elif name + suffix:
      name += suffix
    else:
      continue
    names.append(name)
    keys.append(own)
    values.append(value)
    if paths is None or owner is None:
      found.append(())
    elif attribute == layout.VARIABLE_VALUE and not suffix:
      found.append(paths)
    else:
      found.append(tuple(_paths_of(tensor, paths)))
  return _tensors(index, names, keys, values, found), set(values)


def _tensors(
  index: Index,
  names: Sequence[str],
  keys: Sequence[tuple[str, ...]],
  values: Sequence[bytes],
  paths: Sequence[tuple[str, ...] | ObjectPaths],
) -> SavedTensors:
  """Tensors in one part, by the bytes of their entries."""
  columns = EntryColumns.read_all(values)
  if columns is not None:
    return SavedTensors(names, keys, columns, paths)
  entries = [index.entry(own[0]) for own in keys]
  rows = zip(names, keys, entries, itertools.repeat(()), paths)
  return SavedTensors.of(map(SavedTensor._make, rows))


def _listed_together(
  index: Index,
  locations: dict[str, tuple[bytes, ...]],
  named: Iterable[NamedTensor],
  paths: ObjectPaths | None,
) -> SavedTensors:
  """All tensors that some keys stand for, whatever keys their bytes have."""
  named = list(named)
  names = {tensor.key: tensor.name + tensor.suffix for tensor in named}
  owned = {tensor.key: tensor for tensor in named if tensor.object_key is not None}
  tensors = []
  for keys, entry in _groups(index, locations, named, names):
    parts: tuple[StoredPart, ...] = ()
    if entry.slices:
      parts = tuple(
        StoredPart(*pair) for pair in index.slice_entries(_sliced(index, keys))
      )
    own = [owned[key] for key in keys if key in owned]
    found: tuple[str, ...] | ObjectPaths = ()
    if paths is not None and own:
      found = paths
      stored = tuple(
        t.key for t in own if t.attribute == layout.VARIABLE_VALUE and not t.suffix
      )
      if stored != object_keys(keys) or len(stored) < len(own):
        found = tuple(path for tensor in own for path in _paths_of(tensor, paths))
    name = keys[0]
    if _ATTRIBUTES in name:
      name = names.get(name) or name.rpartition(_VALUE_SUFFIX)[0] or name
    tensors.append(SavedTensor(name, keys, entry, parts, found))
  return SavedTensors.of(tensors)


def paths_follow(tensors: SavedTensors) -> bool:
  """Whether the object paths of all tensors follow from their names, for certain.

  Args:
    tensors: those of one checkpoint, or some of them.

  Returns:
    False where the paths have to be looked at to tell; see `ObjectPaths.follow`.
  """
  finders = set()
  for name, paths in zip(tensors.names, tensors.paths):
    if isinstance(paths, ObjectPaths):
      finders.add(paths)
    elif paths and not {layout.SAVE_COUNTER, *_spelled_paths(name)}.issuperset(paths):
      return False
  return all(finder.follow() for finder in finders)


def unexpected_paths(tensors: SavedTensors) -> list[tuple[str, ...]]:
  """The object paths of each tensor, but of those whose paths all follow from the name.

  In a dual checkpoint, the step is also the counter of saves.

  Args:
    tensors: those of one checkpoint, or some of them.
  """
  if paths_follow(tensors):
    return [()] * len(tensors)
  found = []
  for tensor in tensors:
    paths = tensor.object_paths
    expected = {layout.SAVE_COUNTER, *_spelled_paths(tensor.name)}
    found.append(() if expected.issuperset(paths) else paths)
  return found


def _spelled_paths(name: str) -> tuple[str, str]:
  """The object paths that a name spells."""
  flat = f"{layout.VAR_LIST}/{layout.escape_local_name(name)}"
  return layout.nested_path(name), flat


def _sliced(index: Index, keys: tuple[str, ...]) -> str:
  """One of the keys of a partitioned tensor: a key whose entry has slices."""
  return next(key for key in keys if index.entry(key).slices)


def _paths_of(tensor: NamedTensor, paths: ObjectPaths) -> list[str]:
  """The object paths of a tensor that the object graph has."""
  object_key, suffix = tensor.object_key, tensor.suffix
  assert object_key is not None
  stored = object_key[: -len(suffix)] if suffix else object_key
  if not suffix and tensor.attribute in (None, layout.VARIABLE_VALUE):
    return paths.of_value(stored)
  # No edge leads to a slot variable; its key spells a path nevertheless.
  own = paths.of(stored) or [object_key.rpartition(_ATTRIBUTES)[0]]
  if tensor.attribute not in (None, layout.VARIABLE_VALUE):
    suffix = f"{_ATTRIBUTES}{tensor.attribute}{suffix}"
  return [path + suffix for path in own if path]


def _groups(
  index: Index,
  locations: dict[str, tuple[bytes, ...]],
  named: Iterable[NamedTensor],
  names: dict[str, str],
) -> Iterator[tuple[tuple[str, ...], BundleEntry]]:
  """Keys that stand for the same bytes, names before object keys, and their entry."""
  places: dict[tuple[bytes, ...], list[str]] = {}
  for key, location in locations.items():
    keys = places.get(location)
    if keys is None:
      places[location] = [key]
    else:
      keys.append(key)
  # Places whose keys have entries of their own.
  mixed: set[tuple[bytes, ...]] = set()
  for tensor in named:
    # A name may stand for a copy of the tensor, as that of the step.
    if tensor.object_key is not None and tensor.bare_key is not None:
      copy, place = locations[tensor.bare_key], locations[tensor.key]
      if copy != place:
        places[place] += places[copy]
        places[copy] = []
        mixed.add(place)
  groups = [
    (keys, _entry(index, keys) if place in mixed else index.entry(keys[0]))
    for place, keys in places.items()
    if keys
  ]
  for keys, entry in _with_joined(index, groups):
    if len(keys) == 1:
      yield tuple(keys), entry
    elif entry.size or entry.slices:
      yield _in_order(keys, names), entry
    else:
      # Tensors without bytes stand at the same place without being the same.
      same: dict[str, list[str]] = {}
      for key in keys:
        same.setdefault(names.get(key, key), []).append(key)
      for group in same.values():
        yield _in_order(group, names), entry


def _entry(index: Index, keys: list[str]) -> BundleEntry:
  """The entry of a tensor: one with slices, if any of its keys has that."""
  entries = [index.entry(key) for key in keys]
  return next((entry for entry in entries if entry.slices), entries[0])


def _with_joined(index: Index, groups: list[_Group]) -> list[_Group]:
  """Adds a whole tensor's keys to those of its slices, where they share the bytes."""
  if not any(entry.slices for _, entry in groups):
    return groups
  whole = {_place(entry): keys for keys, entry in groups if not entry.slices}
  joined: set[int] = set()
  for keys, entry in groups:
    if entry.slices:
      same = joined_entry(index, keys[0])
      found = whole.get(_place(same)) if same is not None and same.size else None
      if found is not None and id(found) not in joined:
        joined.add(id(found))
        keys.extend(found)
  return [(keys, entry) for keys, entry in groups if id(keys) not in joined]


def _place(entry: BundleEntry) -> tuple[object, ...]:
  return (entry.shard_id, entry.offset, entry.size, entry.dtype, entry.shape)


def _in_order(keys: list[str], names: dict[str, str]) -> tuple[str, ...]:
  if len(keys) == 2 and (_ATTRIBUTES in keys[0]) != (_ATTRIBUTES in keys[1]):
    return (keys[1], keys[0]) if _ATTRIBUTES in keys[0] else (keys[0], keys[1])
  # Of several names, that which the object graph says too comes first.
  said = {names.get(key) for key in keys if _ATTRIBUTES in key}
  return tuple(sorted(keys, key=lambda key: (_ATTRIBUTES in key, key not in said)))
