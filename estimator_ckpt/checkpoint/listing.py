"""What a checkpoint holds, tensor by tensor, whatever keys it has.

In a dual checkpoint a tensor has two keys, its variable's name and an object key; in
one that `tf.train.Checkpoint` wrote the name stands in the object graph. Here they
become one `SavedTensor`, so that checkpoints of all formats can be listed, and
compared, alike.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator

from estimator_ckpt import value_classes
from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.joined import joined_entry
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice
from estimator_ckpt.checkpoint import layout, tensor_names
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.value_classes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import TypeAlias

_Group: TypeAlias = "tuple[list[str], BundleEntry]"


# An object graph is data: a few bytes of it can spell very long and very many paths.
_MAX_PATH_LENGTH = 1024
_MAX_PATHS = 8

_ATTRIBUTES = "/.ATTRIBUTES/"
_VALUE_SUFFIX = _ATTRIBUTES + layout.VARIABLE_VALUE


class StoredPart(NamedTuple):
  """A piece of a tensor that has bytes of its own.

  Attributes:
    tensor_slice: where it stands in a partitioned tensor; None for a whole one.
    entry: where its bytes are, with its type and shape.
  """

  tensor_slice: TensorSlice | None
  entry: BundleEntry


@value_classes.dataclass(frozen=True)
class SavedTensor:
  """One tensor of a checkpoint.

  Attributes:
    name: its name in a name-based checkpoint; see `estimator_ckpt.checkpoint.tensor_names`.
    keys: every key that its bytes have; those that are names come first.
    entry: where its bytes are, with its type and shape.
    parts: what has bytes: the tensor itself, or its slices.
    object_paths: where it stands in the object graph, the plainest path first;
      components are escaped as they are in keys.
  """

  name: str
  keys: tuple[str, ...]
  entry: BundleEntry
  parts: tuple[StoredPart, ...]
  object_paths: tuple[str, ...] = ()

  @property
  def key(self) -> str:
    """The first of its keys."""
    return self.keys[0]

  @property
  def dtype(self) -> str:
    """The type's name, as `tf.DType.name` says it."""
    return dtypes.name(self.entry.dtype)

  @property
  def shape(self) -> tuple[int, ...]:
    """The dimensions."""
    return self.entry.shape

  @property
  def size(self) -> int:
    """How many bytes it takes in the data files."""
    if len(self.parts) == 1:
      return self.parts[0].entry.size
    return sum(part.entry.size for part in self.parts)

  @property
  def shards(self) -> tuple[int, ...]:
    """The numbers of the data files it is in."""
    if len(self.parts) == 1:
      return (self.parts[0].entry.shard_id,)
    return tuple(sorted({part.entry.shard_id for part in self.parts}))


def saved_tensors(index: Index, graph: ObjectGraph | None) -> list[SavedTensor]:
  """Lists what a checkpoint holds.

  Args:
    index: lists the tensors of the checkpoint.
    graph: its object graph, if it has one.

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
  locations = index.locations()
  named = tensor_names.named_tensors(index, graph, locations)
  names = {tensor.key: tensor.name + tensor.suffix for tensor in named}
  paths = _paths_by_key(named, graph) if graph is not None else {}
  tensors = []
  for keys, entry in _groups(index, locations, named, names):
    parts: tuple[StoredPart, ...] = (StoredPart(None, entry),)
    if entry.slices:
      parts = tuple(
        StoredPart(*pair) for pair in index.slice_entries(_sliced(index, keys))
      )
    object_paths = [path for key in keys if key in paths for path in paths[key]]
    name = keys[0]
    if _ATTRIBUTES in name:
      name = names.get(name) or name.rpartition(_VALUE_SUFFIX)[0] or name
    tensors.append(SavedTensor(name, keys, entry, parts, tuple(object_paths)))
  return sorted(tensors, key=operator.attrgetter("name"))


def _sliced(index: Index, keys: tuple[str, ...]) -> str:
  """One of the keys of a partitioned tensor: a key whose entry has slices."""
  return next(key for key in keys if index.entry(key).slices)


class ObjectPaths:
  """The paths from an object graph's root to the objects that store something.

  Args:
    graph: the object graph.

  >>> graph = ObjectGraph()
  >>> key = graph.add_variable([("var_list", "net/w"), ("net", "w")], "net/w")
  >>> ObjectPaths(graph).of(key)
  ['net/w', 'var_list/net.Sw']
  """

  def __init__(self, graph: ObjectGraph):
    self._nodes = graph.nodes_by_key()
    self._shortest = graph.paths()
    self._spelled: dict[int, str | None] = {0: ""}
    self._found: dict[int, list[str]] = {}
    escape = layout.escape_local_name
    nodes, found = graph.nodes, self._found
    for parent, node in enumerate(nodes):
      start: str | None = None
      for name, child in node.children.items():
        if not nodes[child].attributes:
          continue
        if start is None:
          start = self._spell(parent)
          if start is None:
            break
        path = start + escape(name)
        if len(path) > _MAX_PATH_LENGTH:
          path = "..." + path[-_MAX_PATH_LENGTH:]
        paths = found.get(child)
        if paths is None:
          found[child] = [path]
        elif len(paths) < _MAX_PATHS:
          paths.append(path)

  def of(self, key: str) -> list[str]:
    """The paths of the object that stores a key, each up to its parents the shortest.

    Args:
      key: a checkpoint key of the object graph.

    Returns:
      The paths, first those that end in a name rather than a number, as in a list,
      and of these the shortest; none for a slot variable, which has no parent, and for
      a key that the graph does not have. Beyond some number they are left out, and
      beyond some length their beginning is.
    """
    paths = self._found.get(self._nodes.get(key, -1), [])
    if len(paths) == 2:  # most often; to compare takes less than to sort
      first, second = paths
      in_order = _plainness(first) <= _plainness(second)
      return paths if in_order else [second, first]
    return sorted(paths, key=_plainness) if len(paths) > 1 else paths

  def _spell(self, node_id: int) -> str | None:
    """The shortest path of a node, with a slash behind it, made once for all children."""
    steps: list[tuple[int, str]] = []
    while node_id not in self._spelled:
      step = self._shortest.parent(node_id)
      if step is None:
        self._spelled[node_id] = None
        break
      steps.append((node_id, step[1]))
      node_id = step[0]
    path = self._spelled[node_id]
    for below, name in reversed(steps):
      if path is not None:
        path = path + layout.escape_local_name(name) + "/"
        path = path[-2 * _MAX_PATH_LENGTH :]
      self._spelled[below] = path
    return path


def _plainness(path: str) -> tuple[bool, int, str]:
  is_number = path[-1:].isdigit() and path.rpartition("/")[2].isdigit()
  return (is_number, path.count("/"), path)


def _paths_by_key(
  named: Iterable[tensor_names.NamedTensor], graph: ObjectGraph
) -> dict[str, list[str]]:
  """The object paths of every key that the object graph has."""
  paths = ObjectPaths(graph)
  found = {}
  for tensor in named:
    if tensor.object_key is None:
      continue
    object_key = tensor.object_key
    stored = object_key
    if tensor.suffix:
      stored = object_key[: -len(tensor.suffix)]
    # No edge leads to a slot variable; its key spells a path nevertheless.
    own = paths.of(stored) or [object_key.rpartition(_ATTRIBUTES)[0]]
    suffix = tensor.suffix
    if tensor.attribute not in (None, layout.VARIABLE_VALUE):
      suffix = f"{_ATTRIBUTES}{tensor.attribute}{suffix}"
    if suffix or not all(own):
      own = [path + suffix for path in own if path]
    found[tensor.key] = own
  return found


def _groups(
  index: Index,
  locations: dict[str, tuple[bytes, ...]],
  named: Iterable[tensor_names.NamedTensor],
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
    (keys, _entry(index, keys) if place in mixed else index.entry_at(place, keys[0]))
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
