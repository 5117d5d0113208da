"""Reading a checkpoint's tensors as numpy arrays, without TensorFlow."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Callable, Mapping, NamedTuple, TypeVar

from estimator_ckpt.bundle import dtypes as dtypes_lib
from estimator_ckpt.bundle import files, slices
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice
from estimator_ckpt.bundle.shards import Shards, num_elements
from estimator_ckpt.checkpoint import formats, layout, tensor_names
from estimator_ckpt.checkpoint import partition_strategy as strategy_lib
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint import roles as roles_lib
from estimator_ckpt.checkpoint.object_graph import Attribute, ObjectGraph
from estimator_ckpt.checkpoint.partition_strategy import PartitionStrategyLike
from estimator_ckpt.errors import (
  CheckpointError,
  CheckpointIOError,
  CheckpointKeyError,
  CorruptCheckpointError,
  UnsupportedCheckpointError,
)
from estimator_ckpt.html_table import html_table
from estimator_ckpt.text_table import Column

if TYPE_CHECKING:
  import numpy as np

_T = TypeVar("_T")

# Below this a tensor is read faster than it is mapped.
_MIN_MAPPED_SIZE = 1 << 16


class Slot(NamedTuple):
  """A slot variable of an optimizer.

  Attributes:
    variable_key: the key of the variable it belongs to.
    slot_name: for example `m` and `v` of Adam.
    key: the slot variable's own key.
  """

  variable_key: str
  slot_name: str
  key: str


def open_checkpoint(
  path: str | os.PathLike[str],
  *,
  verify: bool = True,
  memory_map: bool = True,
  partition_strategy: PartitionStrategyLike = None,
) -> CheckpointReader:
  """Opens a checkpoint of any format.

  Args:
    path: a prefix, or anything else that `estimator_ckpt.checkpoint.prefix.resolve` takes: a
      directory, one of a checkpoint's files, a SavedModel.
    verify: whether a tensor's bytes are checked against its checksum when it is read
      for the first time. Without it, a mapped tensor costs nothing until it is used.
    memory_map: whether large tensors in local files are mapped rather than read.
    partition_strategy: `{scope: "mod"}` for partitioned embeddings that TensorFlow 1
      looked up with `partition_strategy="mod"`, its default: their rows come in the order
      of ids. Rows of other partitioned variables come part after part, as for "div".
      Slots and moving averages follow their variables.

  Returns:
    A mapping from keys to arrays.

  Raises:
    CheckpointNotFoundError: there is no checkpoint.
    CorruptCheckpointError: its index is damaged, or the path is of something else.
    UnsupportedCheckpointError: its version or byte order is not supported.
    OptionError: a scope of `partition_strategy` has no variable in several parts, or
      the sizes of the parts are not those of "mod".

  Example:
    with open_checkpoint("model_dir") as reader:
      kernel = reader["dense/kernel"]
  """
  return CheckpointReader(
    prefix_lib.resolve(path),
    verify=verify,
    memory_map=memory_map,
    partition_strategy=partition_strategy,
  )


class CheckpointReader(Mapping[str, "np.ndarray"]):
  """A mapping from a checkpoint's keys to its tensors, each read when it is asked for.

  Keys are the bundle's: variable names, object keys, or both, as the format has it;
  `names` and `object_paths` lead to them. Arrays are read-only, and stay good after
  the reader is closed. A large tensor in a local file is a `numpy.memmap`, if it is
  aligned for its type. Partitioned tensors come as one array. Strings are object
  arrays of bytes. bfloat16 and the types of eight bits and less are those of ml_dtypes.

  Threads may share a reader.

  Attributes:
    prefix: the checkpoint's path.
    index: lists the tensors of the checkpoint.
    format: its `CheckpointFormat`.
    shapes: the tensors' shapes by key.
    dtypes: the tensors' types by key, by TensorFlow's names: `"float32"`, `"string"`.
    object_graph: its object graph, or None.
    names: keys by variable name.
    object_paths: keys by object path, as `"model/dense/kernel"`, every path that an
      object has. Components are escaped as they are in keys.
    slots: its optimizers' slot variables, as the object graph relates them.
    mod_parts: for keys whose rows are put into the order of ids, the rows of each part.
  """

  def __init__(
    self,
    prefix: str,
    *,
    verify: bool = True,
    memory_map: bool = True,
    partition_strategy: PartitionStrategyLike = None,
  ):
    """Reads the index; `open_checkpoint` takes more kinds of paths.

    Args:
      prefix: the checkpoint's path.
      verify: see `open_checkpoint`.
      memory_map: see `open_checkpoint`.
      partition_strategy: see `open_checkpoint`.

    Raises:
      CheckpointNotFoundError: there is no checkpoint.
      CorruptCheckpointError: its index is damaged.
      UnsupportedCheckpointError: its version or byte order is not supported.
      OptionError: `partition_strategy` does not fit the checkpoint.
    """
    self.prefix = prefix
    self.index = Index.read(prefix)
    self._keys = self.index.keys()
    self._shards = Shards.of(prefix, self.index)
    self._verify = verify
    self._memory_map = memory_map
    self._lock = threading.RLock()
    self._verified: set[tuple[int, int, int, int]] = set()
    self._maps: dict[int, np.memmap] = {}
    self._cached: dict[str, object] = {}
    self._closed = False
    self.mod_parts = self._read_mod_parts(partition_strategy)

  def __enter__(self) -> CheckpointReader:
    return self

  def __exit__(self, *unused: object) -> None:
    self.close()

  def close(self) -> None:
    """Closes the files. Arrays that were read stay valid."""
    with self._lock:
      self._closed = True
      self._maps.clear()

  def __iter__(self) -> Iterator[str]:
    return iter(self._keys)

  def __len__(self) -> int:
    return len(self._keys)

  def __contains__(self, key: object) -> bool:
    return key in self.index

  def __repr__(self) -> str:
    return f"CheckpointReader({self.prefix!r}, {len(self)} tensors)"

  def _repr_html_(self) -> str:
    columns = [Column("key"), Column("dtype"), Column("shape"), Column("bytes", True)]
    rows = []
    for key in self._keys:
      entry = self.index.entry(key)
      slices = self.index.slice_entries(key)
      size = sum(part.size for _, part in slices) if slices else entry.size
      dtype = dtypes_lib.name(entry.dtype)
      rows.append([key, dtype, str(list(entry.shape)), f"{size:,}"])
    return html_table(f"{self.prefix}: {len(self):,} keys", columns, rows)

  def __getitem__(self, key: str) -> np.ndarray:
    """A tensor.

    Args:
      key: one of the bundle's; see `names` for variable names.

    Returns:
      A read-only array.

    Raises:
      CheckpointKeyError: no such tensor.
      CheckpointNotFoundError: a data file is missing.
      CorruptCheckpointError: its entry or its bytes are damaged.
      UnsupportedCheckpointError: it is a variant or a resource.
      MissingDependencyError: its type needs ml_dtypes, or a newer one.
    """
    if self._closed:
      raise CheckpointError(f"{self.prefix}: the reader is closed")
    try:
      entry = self.index.entry(key)
    except CheckpointKeyError as error:
      known = self._names_with(key)
      if known is None:
        raise
      raise CheckpointKeyError(
        f"{error.args[0]}; as a variable's name it stands for the key {known!r}"
      ) from None
    array = self._whole(entry, self.index.slice_entries(key), key)
    rows = self.mod_parts.get(key)
    if rows is not None:
      array = array[strategy_lib.stored_rows(rows)]
      array.flags.writeable = False
    return array

  def joined(self, keys: Sequence[str]) -> np.ndarray:
    """A tensor whose slices stand under several keys, each an incomplete tensor.

    Args:
      keys: those of the incomplete tensors.

    Returns:
      A read-only array.

    Raises:
      CheckpointError: as for `reader[key]`.
    """
    parts = [part for key in keys for part in self.index.slice_entries(key)]
    entry = self.index.entry(keys[0])._replace(slices=tuple(s for s, _ in parts))
    return self._whole(entry, parts, ", ".join(keys))

  def _whole(
    self,
    entry: BundleEntry,
    parts: list[tuple[TensorSlice, BundleEntry]],
    key: str,
  ) -> np.ndarray:
    if entry.dtype in (dtypes_lib.VARIANT, dtypes_lib.RESOURCE):
      raise UnsupportedCheckpointError(
        f"{self.prefix}: {key!r} is a {dtypes_lib.name(entry.dtype)}; only the"
        " TensorFlow object that wrote it (a dataset iterator, a tensor list) reads it"
      )
    try:
      array = self._stitched(entry, parts, key) if parts else self._array(entry, key)
    except ValueError as error:
      if isinstance(error, CheckpointError):
        raise
      # numpy has limits of its own to what a shape may be.
      raise CorruptCheckpointError(
        f"{self.prefix}: {key!r} of shape {list(entry.shape)}: {error}"
      ) from error
    array.flags.writeable = False
    return array

  @property
  def shapes(self) -> dict[str, tuple[int, ...]]:
    """The tensors' shapes by key."""
    return self._cache(
      "shapes", lambda: {key: self.index.entry(key).shape for key in self._keys}
    )

  @property
  def dtypes(self) -> dict[str, str]:
    """The names of the tensors' types by key."""
    return self._cache(
      "dtypes",
      lambda: {key: dtypes_lib.name(self.index.entry(key).dtype) for key in self._keys},
    )

  @property
  def format(self) -> formats.CheckpointFormat:
    """The checkpoint's format."""
    return self._cache(
      "format", lambda: formats.format_of(self.index, self.object_graph)
    )

  @property
  def object_graph(self) -> ObjectGraph | None:
    """The object graph, or None."""
    return self._cache(
      "object_graph", lambda: formats.read_object_graph(self.prefix, self.index)
    )

  @property
  def names(self) -> dict[str, str]:
    """Keys by variable name; a name that two objects have is not among them."""
    return self._cache("names", self._read_names)

  @property
  def object_paths(self) -> dict[str, str]:
    """Keys by object path."""
    return self._cache("object_paths", self._read_object_paths)

  @property
  def slots(self) -> list[Slot]:
    """The slot variables that the object graph relates to variables."""
    return self._cache("slots", self._read_slots)

  def _cache(self, name: str, read: Callable[[], _T]) -> _T:
    with self._lock:
      if name not in self._cached:
        self._cached[name] = read()
      return self._cached[name]  # type: ignore[return-value]

  def _names_with(self, name: object) -> str | None:
    try:
      return self.names.get(name)  # type: ignore[call-overload]
    except CheckpointError:
      return None

  def _read_mod_parts(self, given: PartitionStrategyLike) -> dict[str, tuple[int, ...]]:
    strategy = strategy_lib.PartitionStrategy.parse(given)
    if not strategy:
      return {}
    tensors = tensor_names.named_tensors(self.index, self.object_graph)
    shapes = {t.full_name: self.index.entry(t.key).shape for t in tensors}
    roles = roles_lib.classify(shapes, shapes)
    keys: dict[str, list[str | None]] = {}
    parts: dict[str, tuple[int, ...]] = {}
    for t in tensors:
      rows = strategy_lib.parts_of(self.index, t.key, t.bare_key)
      if rows is not None:
        parts[t.full_name] = rows
        keys[t.full_name] = [t.key, t.bare_key, t.object_key]
    told = strategy.mod_parts(parts)
    for name, rows in parts.items():
      # A slot may stand outside of the scope of its variable.
      if strategy.of(name) is None and roles[name].of in told:
        told[name] = rows
    return {key: told[name] for name in told for key in keys[name] if key is not None}

  def _read_names(self) -> dict[str, str]:
    graph = self.object_graph
    names = {}
    if graph is not None:
      for name, key in graph.keys_by_full_name().items():
        if key is not None and key in self.index:
          names[name] = key
    for key in self._keys:
      # Without an object graph, a key that looks like an object's is a name too.
      if graph is None or (
        key != layout.OBJECT_GRAPH_KEY and layout.parse_object_key(key) is None
      ):
        names[key] = key
    return names

  def _read_object_paths(self) -> dict[str, str]:
    graph = self.object_graph
    if graph is None:
      return {}
    paths = graph.paths()
    stored: dict[int, list[Attribute]] = {}
    for node_id, attribute in graph.attributes():
      stored.setdefault(node_id, []).append(attribute)
    found = {}
    for parent, name, child in graph.edges():
      start = paths[parent] if child in stored else None
      if start is None:
        continue
      for attribute in stored[child]:
        path = "/".join(map(layout.escape_local_name, (*start, name)))
        if attribute.name != layout.VARIABLE_VALUE:
          path += f"/.ATTRIBUTES/{attribute.name}"
        found[path] = attribute.checkpoint_key
    return found

  def _read_slots(self) -> list[Slot]:
    graph = self.object_graph
    if graph is None:
      return []
    keys = {
      node_id: attribute.checkpoint_key
      for node_id, attribute in graph.attributes()
      if attribute.name == layout.VARIABLE_VALUE
    }
    return [
      Slot(keys[variable], slot.slot_name, keys[own])
      for _, slots in graph.columns.slots
      for slot in slots
      for variable, own in [
        (slot.original_variable_node_id, slot.slot_variable_node_id)
      ]
      if variable in keys and own in keys
    ]

  def _array(self, entry: BundleEntry, key: str) -> np.ndarray:
    """The array of a tensor, or of a slice."""
    import numpy as np

    dtype = dtypes_lib.to_numpy(entry.dtype)
    if entry.dtype == dtypes_lib.STRING:
      elements = self._shards.read_strings(entry, key, self._verify)
      array = np.empty(len(elements), dtype)
      array[:] = elements
      return array.reshape(entry.shape)
    place = (entry.shard_id, entry.offset, entry.size, entry.crc32c)
    verify = self._verify and place not in self._verified
    if (
      self._memory_map
      and entry.size >= _MIN_MAPPED_SIZE
      and entry.offset % dtype.alignment == 0
      and self._shards.v1 is None
      and files.is_local(self.prefix)
    ):
      if verify:
        self._shards.verify(entry, key)
      else:
        self._shards.check_bounds(entry, key)
      mapped = self._map(entry.shard_id)[entry.offset : entry.offset + entry.size]
      array = mapped.view(dtype).reshape(entry.shape)
    else:
      data = self._shards.read(entry, key, verify)
      array = np.frombuffer(data, dtype) if data else np.empty(0, dtype)
      array = array.reshape(entry.shape)
    self._verified.add(place)
    return array

  def _map(self, shard_id: int) -> np.memmap:
    import numpy as np

    with self._lock:
      known = self._maps.get(shard_id)
      if known is None:
        path = self._shards.path(shard_id)
        try:
          known = np.memmap(files.local_path(path), np.uint8, "r")
        except OSError as error:
          raise CheckpointIOError(f"{path} cannot be mapped: {error}") from error
        self._maps[shard_id] = known
      return known

  def _stitched(
    self,
    entry: BundleEntry,
    parts: list[tuple[TensorSlice, BundleEntry]],
    key: str,
  ) -> np.ndarray:
    """The array of a partitioned tensor."""
    import numpy as np

    self._check_slices(entry, parts, key)
    array = np.empty(entry.shape, dtypes_lib.to_numpy(entry.dtype))
    for tensor_slice, part in parts:
      bounds = slices.bounds(tensor_slice, entry.shape)
      array[tuple(slice(*pair) for pair in bounds)] = self._array(
        part, f"{key}, slice {tensor_slice}"
      )
    return array

  def _check_slices(
    self,
    entry: BundleEntry,
    parts: list[tuple[TensorSlice, BundleEntry]],
    key: str,
  ) -> None:
    """Checks slices against their tensor, before memory is taken for it."""
    try:
      slices.check_tiling(entry.slices, entry.shape)
    except CorruptCheckpointError as error:
      raise CorruptCheckpointError(f"{self.index.name}: {key!r}: {error}") from None
    total = 0
    for tensor_slice, part in parts:
      name = f"{key}, slice {tensor_slice}"
      shape = tuple(b - a for a, b in slices.bounds(tensor_slice, entry.shape))
      if part.dtype != entry.dtype or part.shape != shape or part.slices:
        raise CorruptCheckpointError(
          f"{self.index.name}: {name!r} is {dtypes_lib.name(part.dtype)} of shape"
          f" {list(part.shape)}, expected {dtypes_lib.name(entry.dtype)} of shape"
          f" {list(shape)}"
        )
      self._shards.check_bounds(part, name)
      if part.dtype == dtypes_lib.STRING and num_elements(shape) > part.size:
        raise CorruptCheckpointError(
          f"{self.index.name}: {name!r} has {part.size} bytes for"
          f" {num_elements(shape)} strings"
        )
      total += part.size
    available = sum(map(self._shards.size, {part.shard_id for _, part in parts}))
    if total > available:
      raise CorruptCheckpointError(
        f"{self.index.name}: the slices of {key!r} have {total} bytes, and their data"
        f" files only {available}: some overlap"
      )
