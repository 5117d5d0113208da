"""The index of a bundle: which tensors there are, and where their bytes are."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from estimator_ckpt.bundle import coding, files, slices, table, v1_files
from estimator_ckpt.bundle.coding import normal_text
from estimator_ckpt.bundle.entry_columns import FEW, EntryColumns
from estimator_ckpt.bundle.file_names import data_path, index_path
from estimator_ckpt.bundle.messages import BundleEntry, BundleHeader, TensorSlice
from estimator_ckpt.errors import (
  CheckpointKeyError,
  CheckpointNotFoundError,
  CorruptCheckpointError,
  OptionError,
  UnsupportedCheckpointError,
  nearest,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
  from estimator_ckpt.bundle.v1_checkpoint import V1Checkpoint

_HEADER_KEY = b""
# So many keys are written by NumPy, where it is loaded, in half of the time.
_MANY = 2000


class Index:
  """A bundle's index file in memory.

  Values stay the bytes they are in the file until `entry` asks for one, so copying,
  renaming and writing back never change what an entry says. Keys are text; bytes that
  are not UTF-8 survive as lone surrogates.

  Attributes:
    header: the bundle's header; replace it to change the number of shards.
    name: the file, for errors.
    v1: the checkpoint of the format V1 that the tensors stand in, or None.

  >>> index = Index()
  >>> index.put("w", BundleEntry(dtype=1, shape=(2,), size=8))
  >>> index.alias("dense/kernel", "w")
  >>> index.keys()
  ['dense/kernel', 'w']
  """

  def __init__(self, header: BundleHeader | None = None, name: str = "index"):
    """An index without tensors.

    Args:
      header: the bundle's header; by default one shard, written by this version.
      name: the file, for errors.
    """
    self.header = header or BundleHeader()
    self.name = name
    self.v1: V1Checkpoint | None = None
    self._header_bytes: tuple[BundleHeader, bytes] | None = None
    # Of tensors, and of slices; and for a partitioned tensor its slices' keys.
    self._values: dict[str, bytes] = {}
    self._slice_values: dict[bytes, bytes] = {}
    self._slice_keys: dict[str, list[bytes]] = {}
    # What `entry` has parsed, by the bytes, which aliases have in common.
    self._entries: dict[bytes, BundleEntry] = {}

  @classmethod
  def read(cls, prefix: str) -> Index:
    """Reads the index of the bundle at a prefix, or makes one of a V1 checkpoint.

    Args:
      prefix: the checkpoint's path, without `.index`.

    Returns:
      The index.

    Raises:
      CheckpointNotFoundError: there is none.
      CorruptCheckpointError: it is damaged or something else.
      UnsupportedCheckpointError: its version or byte order is not supported.
    """
    path = index_path(prefix)
    try:
      data = files.read(path)
    except CheckpointNotFoundError:
      if not v1_files.is_v1(prefix):
        raise
      from estimator_ckpt.bundle.v1_checkpoint import V1Checkpoint

      v1 = V1Checkpoint(prefix)
      index = cls(BundleHeader(num_shards=len(v1.paths)), v1.prefix)
      index.v1 = v1
      for key, entry, tensor_slice in v1.entries:
        index.put(key, entry, tensor_slice)
      return index
    return cls.parse(data, path)

  @classmethod
  def parse(cls, data: bytes, name: str) -> Index:
    """Reads an index.

    Args:
      data: the file's bytes.
      name: the file, for errors.

    Returns:
      The index.

    Raises:
      CorruptCheckpointError: the bytes are damaged or something else.
      UnsupportedCheckpointError: its version or byte order is not supported.
    """
    values: dict[str, bytes] = {}
    special: list[tuple[bytes, bytes]] = []
    for _, keys, own in table.read_columns(data, name):
      # First come the header's empty key, and those of slices: they start with a zero.
      first = 0
      while first < len(keys) and keys[first] < b"\1":
        first += 1
      special += zip(keys[:first], own)
      values.update(zip(coding.decode_texts(keys[first:]), own[first:]))
    if not special or special[0][0] != _HEADER_KEY:
      raise CorruptCheckpointError(
        f"{name}: a table without a bundle's header; it is no checkpoint's index"
      )
    try:
      header = BundleHeader.parse(special[0][1])
      header.check()
      index = cls(header, name)
      index._header_bytes = (header, special[0][1])
      for key, value in special[1:]:
        tensor, _ = slices.parse_slice_name(key)
        index._slice_keys.setdefault(tensor, []).append(key)
        index._slice_values[key] = value
    except (CorruptCheckpointError, UnsupportedCheckpointError) as error:
      raise type(error)(f"{name}: {error}") from None
    index._values = values
    return index

  def keys(self) -> list[str]:
    """The tensors' keys in the table's order; a partitioned tensor is one."""
    return coding.in_byte_order(self._values)

  def columns(self) -> tuple[list[str], list[bytes]]:
    """The tensors' keys in the table's order, and the `value` of each."""
    keys = self.keys()
    if keys == list(self._values):  # as they were read
      return keys, list(self._values.values())
    return keys, self.values(keys)  # type: ignore[return-value]

  def __iter__(self) -> Iterator[str]:
    return iter(self.keys())

  def __len__(self) -> int:
    return len(self._values)

  def __contains__(self, key: object) -> bool:
    return isinstance(key, str) and normal_text(key) in self._values

  def entry(self, key: str) -> BundleEntry:
    """The entry of a tensor.

    Args:
      key: the tensor's key.

    Returns:
      The entry. For a partitioned tensor, the one that has `slices`.

    Raises:
      CheckpointKeyError: no such tensor.
      CorruptCheckpointError: its entry is damaged.
    """
    value = self._value(key)
    return self._entries.get(value) or self._parse(value, key)

  def slice_keys(self) -> list[str]:
    """The tensors that slices stand under, whether these have an entry or not."""
    return coding.in_byte_order(self._slice_keys)

  def slice_entries(self, key: str) -> list[tuple[TensorSlice, BundleEntry]]:
    """The slices of a partitioned tensor, in the order its entry lists them.

    Args:
      key: the tensor's key.

    Returns:
      The slices with their own entries; nothing for a tensor that is not partitioned.

    Raises:
      CheckpointKeyError: no such tensor.
      CorruptCheckpointError: a slice is missing or damaged.
    """
    found = []
    for tensor_slice in self.entry(key).slices:
      value = self._slice_values.get(slices.slice_key(key, tensor_slice))
      if value is None:
        raise CorruptCheckpointError(
          f"{self.name}: slice {tensor_slice} of {key!r} has no entry"
        )
      found.append((tensor_slice, self._parse(value, f"{key}, slice {tensor_slice}")))
    return found

  def alias(self, new_key: str, key: str) -> None:
    """Makes a second key for the bytes of a tensor, slices and all.

    Args:
      new_key: the key to add. Nothing happens if it is an alias of `key` already.
      key: the tensor's key.

    Raises:
      CheckpointKeyError: no tensor `key`.
      OptionError: `new_key` is another tensor's, or cannot be a key.
    """
    value = self._value(key)
    old, new = normal_text(key), normal_text(new_key)
    if new == old:
      return
    slices.check_tensor_key(new)
    old_slices = self._slice_keys.get(old, ())
    new_slices = list(slices.moved_keys(old_slices, old, new).values())
    taken = self._values.get(new)
    if taken is not None:
      own = [self._slice_values[k] for k in self._slice_keys.get(new, ())]
      if taken == value and own == [self._slice_values[k] for k in old_slices]:
        return
      raise OptionError(
        f"{self.name}: {key!r} cannot also be {new_key!r}, which is the key of another"
        " tensor"
      )
    self._values[new] = value
    if new_slices:
      self._slice_keys[new] = new_slices
      for old_slice, new_slice in zip(old_slices, new_slices):
        self._slice_values[new_slice] = self._slice_values[old_slice]

  def alias_all(self, keys: Mapping[str, str]) -> None:
    """Does what `alias` does for each pair of a new key and its tensor's key, faster."""
    plain = self._plain(keys)
    if plain is not None and not any(map(self._values.__contains__, plain[0])):
      self._values.update(zip(*plain))
      return
    for new_key, key in keys.items():
      self.alias(new_key, key)

  def location(self, key: str) -> tuple[bytes, ...]:
    """A value that is equal for two keys of the same bytes, as aliases are.

    Args:
      key: the tensor's key.

    Returns:
      The entry's bytes, and those of its slices, which alone say where they are.

    Raises:
      CheckpointKeyError: no such tensor.
    """
    slice_keys = self._slice_keys.get(normal_text(key), ())
    return (self._value(key), *(self._slice_values[k] for k in slice_keys))

  def value(self, key: str) -> bytes | None:
    """The bytes of a tensor's entry, the first element of its `location`, or None."""
    return self._values.get(normal_text(key))

  def values(self, keys: Sequence[str]) -> list[bytes | None]:
    """The `value` of each of many keys, in order."""
    return list(map(self._values.get, keys))

  def places(self, keys: Sequence[str]) -> list[object]:
    """For each of many keys, what equals only that of keys of the same bytes; or None."""
    if not self._slice_keys:
      return list(self.values(keys))
    return [self.location(key) if key in self else None for key in keys]

  def all_values(self) -> Collection[bytes]:
    """The `value` of every tensor, in no order."""
    return self._values.values()

  def keys_besides(self, values: AbstractSet[bytes]) -> list[str]:
    """The keys of tensors whose entries are not known, in the table's order.

    Args:
      values: the bytes of known entries.

    Returns:
      Keys whose `value` is not among them, and those of all partitioned tensors.
    """
    found = [key for key, value in self._values.items() if value not in values]
    found += [key for key in self._slice_keys if self._values.get(key) in values]
    return coding.in_byte_order(found)

  def locations(self) -> dict[str, tuple[bytes, ...]]:
    """The `location` of every tensor, by key, in the table's order."""
    keys, values = self.columns()
    found: dict[str, tuple[bytes, ...]] = dict(zip(keys, zip(values)))
    for key, own in self._slice_keys.items():
      if key in found:
        found[key] += tuple(self._slice_values[k] for k in own)
    return found

  def entries_at(
    self, values: Sequence[bytes], keys: Sequence[str]
  ) -> Iterator[BundleEntry]:
    """Iterates over the entries of many tensors, for less than `entry` takes.

    Args:
      values: the bytes of each entry; see `value`.
      keys: the tensors' keys, for errors.

    Yields:
      The entry of each.

    Raises:
      CorruptCheckpointError: an entry is damaged. Those before it were yielded.
    """
    for part, own in zip(coding.batches(values), coding.batches(keys)):
      entries = None
      if len(part) >= FEW and not all(map(self._entries.__contains__, part)):
        columns = EntryColumns.read(part)
        entries = list(columns.entries()) if columns is not None else None
        self._entries.update(zip(part, entries or ()))
      yield from entries or map(self._parse, part, own)

  @property
  def has_slices(self) -> bool:
    """Whether there are entries of slices, as partitioned tensors have them."""
    return bool(self._slice_keys)

  def rekey(self, keys: Mapping[str, str]) -> None:
    """Gives the index other keys, slices and all; tensors that get none are removed.

    Args:
      keys: all keys that it is to have, each with a present key of the same tensor.

    Raises:
      CheckpointKeyError: no tensor has a present key.
      OptionError: a new key cannot be one.
    """
    plain = self._plain(keys)
    if plain is not None:
      self._values = dict(zip(*plain))
      return
    values: dict[str, bytes] = {}
    slice_keys: dict[str, list[bytes]] = {}
    slice_values: dict[bytes, bytes] = {}
    for key, source in keys.items():
      new, old = normal_text(key), normal_text(source)
      values[new] = self._value(old)
      slices.check_tensor_key(new)
      if old in self._slice_keys:
        own = slices.moved_keys(self._slice_keys[old], old, new)
        slice_keys[new] = list(own.values())
        slice_values.update((own[k], self._slice_values[k]) for k in own)
    self._values, self._slice_keys = values, slice_keys
    self._slice_values = slice_values

  def rename(self, old_key: str, new_key: str) -> None:
    """Gives a tensor another key, slices and all.

    Args:
      old_key: the tensor's key.
      new_key: its key from now on.

    Raises:
      CheckpointKeyError: no tensor `old_key`.
      OptionError: `new_key` is another tensor's, or cannot be a key.
    """
    if old_key == new_key:
      self._value(old_key)
      return
    self.alias(new_key, old_key)
    self.remove(old_key)

  def remove(self, key: str) -> None:
    """Removes a tensor, slices and all.

    Args:
      key: the tensor's key.

    Raises:
      CheckpointKeyError: no such tensor.
    """
    self._value(key)
    key = normal_text(key)
    del self._values[key]
    for slice_key in self._slice_keys.pop(key, ()):
      del self._slice_values[slice_key]

  def put(
    self, key: str, entry: BundleEntry, tensor_slice: TensorSlice | None = None
  ) -> None:
    """Adds or replaces an entry.

    Args:
      key: the tensor's key.
      entry: where the tensor's bytes are.
      tensor_slice: with it, `entry` is that of a slice of the tensor; the tensor
        itself needs an entry that lists it.

    Raises:
      OptionError: `key` cannot be a key.
    """
    key = normal_text(key)
    slices.check_tensor_key(key)
    if tensor_slice is None:
      self._values[key] = entry.serialize()
      return
    slice_key = slices.slice_key(key, tensor_slice)
    if slice_key not in self._slice_values:
      self._slice_keys.setdefault(key, []).append(slice_key)
    self._slice_values[slice_key] = entry.serialize()

  def data_paths(self, prefix: str) -> list[str]:
    """The data files of the bundle at a prefix.

    Args:
      prefix: the checkpoint's path.

    Returns:
      One path for each shard; of a V1 checkpoint, its files.
    """
    if self.v1 is not None:
      return list(self.v1.paths)
    count = self.header.num_shards
    return [data_path(prefix, shard, count) for shard in range(count)]

  def serialize(self) -> bytes:
    """The index file's bytes."""
    from estimator_ckpt.bundle import table_writer

    # Slice keys start with a zero byte, which no tensor's key does.
    special = [_HEADER_KEY, *sorted(self._slice_values)]
    values = [self._header_value(), *map(self._slice_values.__getitem__, special[1:])]
    keys, own = self.columns()
    values += own
    if len(keys) >= _MANY and "numpy" in sys.modules:
      from estimator_ckpt.bundle import column_writer

      with contextlib.suppress(table.UnusualTable):
        return column_writer.write_values(special, keys, values)
    return table_writer.write_table([*special, *coding.encode_texts(keys)], values)

  def serialize_header(self, data: bytes) -> bytes:
    """The index file's bytes, made of those that it had before its header changed.

    Args:
      data: what `serialize` returned. Nothing but the header is different now.
    """
    from estimator_ckpt.bundle import table_writer

    return table_writer.replace_first(data, self._header_value()) or self.serialize()

  def _header_value(self) -> bytes:
    if self._header_bytes is not None and self._header_bytes[0] == self.header:
      return self._header_bytes[1]
    return self.header.serialize()

  def write(self, prefix: str, sync: bool = True) -> None:
    """Writes the index file of the bundle at a prefix, in place of what is there.

    Readers see the old file or the new one, never a part.

    Args:
      prefix: the checkpoint's path, without `.index`.
      sync: whether to wait until the file is on the disk.

    Raises:
      CheckpointIOError: the file system refused.
    """
    files.write_atomic(index_path(prefix), self.serialize(), sync=sync)

  def _plain(self, keys: Mapping[str, str]) -> tuple[list[str], list[bytes]] | None:
    """New keys and their values, by present keys; None if each has to be looked at."""
    new, values = list(keys), self.values(list(keys.values()))
    # The header's key is empty, and those of slices start with a zero byte.
    if self._slice_keys or None in values or min(new, default="\1") < "\1":
      return None
    return (new, values) if coding.are_normal(new) else None  # type: ignore[return-value]

  def _value(self, key: str) -> bytes:
    value = self._values.get(normal_text(key))
    if value is None:
      message = f"{self.name}: no tensor {key!r} among {len(self._values)}"
      near = nearest(key, self.keys())
      raise CheckpointKeyError(message + (f"; the nearest is {near!r}" if near else ""))
    return value

  def _parse(self, value: bytes, key: str) -> BundleEntry:
    entry = self._entries.get(value)
    if entry is None:
      try:
        entry = self._entries[value] = BundleEntry.parse(value)
      except CorruptCheckpointError as error:
        raise CorruptCheckpointError(
          f"{self.name}: entry of {key!r}: {error}"
        ) from None
    return entry
