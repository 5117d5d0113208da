"""What the graph beside a checkpoint tells: who wrote it, and the order of variables.

A bundle says neither; it sorts its variables by name. A Saver writes the graph to
`PREFIX.meta`, and a SavedModel to `saved_model.pb`. In TensorFlow's meta_graph.proto
and saved_model.proto:

    SavedModel     2 meta_graphs: repeated MetaGraphDef
    MetaGraphDef   1 meta_info_def, 4 collection_def: map<string, CollectionDef>
    MetaInfoDef    5 tensorflow_version
    CollectionDef  2 bytes_list: BytesList{1 value: repeated bytes}
    VariableDef    1 variable_name: string, as "dense/kernel:0"

The version is in the first field. Only that field is read for it; the graph behind it
may be large.
"""

from __future__ import annotations

from estimator_ckpt.bundle import files, wire
from estimator_ckpt.errors import CheckpointError, CorruptCheckpointError

_META_SUFFIX = ".meta"
_SAVED_MODEL_PREFIX = "variables/variables"
_SAVED_MODEL = "saved_model.pb"
_META_GRAPHS = 2
_META_INFO_DEF = 1
_TENSORFLOW_VERSION = 5
# A tag and a length take up to 20 bytes.
_HEAD_SIZE = 64
# It holds the signatures of the graph's operations, not the graph.
_MAX_META_INFO_SIZE = 16 << 20


def trainable_variables(prefix: str) -> list[str] | None:
  """The trainable variables of the graph a checkpoint was written by.

  Args:
    prefix: the checkpoint's path.

  Returns:
    Their names in the order of their creation; None without a `.meta` file.

  Raises:
    CorruptCheckpointError: the file is no meta graph.
  """
  path = prefix + _META_SUFFIX
  if not files.exists(path):
    return None
  try:
    return _variable_names(files.read(path))
  except CorruptCheckpointError as e:
    raise CorruptCheckpointError(f"{path}: no meta graph: {e}") from e


def _variable_names(meta_graph: bytes) -> list[str]:
  names = []
  for entry in _members(meta_graph, 4):
    if _members(entry, 1) != [b"trainable_variables"]:
      continue
    for collection in _members(entry, 2):
      for values in _members(collection, 2):
        for variable in _members(values, 1):
          (name,) = _members(variable, 1)
          names.append(name.decode("utf-8").partition(":")[0])
  return names


def _members(message: bytes, number: int) -> list[bytes]:
  """The length-delimited fields of a message that have a number."""
  return [
    bytes(field.value)
    for field in wire.read_fields(message)
    if field.number == number and field.wire_type == wire.LENGTH_DELIMITED
  ]


def tensorflow_version(prefix: str) -> str | None:
  """The version of TensorFlow that wrote a checkpoint.

  Args:
    prefix: the checkpoint's path.

  Returns:
    The version, such as `"1.15.5"`; None where no file says, or none that is sound.
  """
  try:
    path = prefix + _META_SUFFIX
    if files.exists(path):
      return _version_in_meta_graph(path, 0)
    if prefix.endswith(_SAVED_MODEL_PREFIX):
      path = prefix[: -len(_SAVED_MODEL_PREFIX)] + _SAVED_MODEL
      if files.exists(path):
        return _version_in_saved_model(path)
  except CheckpointError:
    # A note about the checkpoint; that its file is damaged makes the note unknown.
    return None
  return None


def _version_in_saved_model(path: str) -> str | None:
  offset = 0
  head = files.read_range(path, 0, _HEAD_SIZE)
  # The first field is a small number, the schema's version.
  while offset < len(head):
    tag, _, offset = wire.read_head(head, offset)
    if tag & 7 == wire.LENGTH_DELIMITED:
      is_meta_graph = tag >> 3 == _META_GRAPHS
      return _version_in_meta_graph(path, offset) if is_meta_graph else None
  return None


def _version_in_meta_graph(path: str, offset: int) -> str | None:
  tag, size, position = wire.read_head(files.read_range(path, offset, _HEAD_SIZE))
  if tag != _META_INFO_DEF << 3 | wire.LENGTH_DELIMITED or size > _MAX_META_INFO_SIZE:
    return None
  message = files.read_range(path, offset + position, size)
  if len(message) != size:
    raise CorruptCheckpointError(f"{path}: truncated")
  for field in wire.read_fields(message):
    if field.number == _TENSORFLOW_VERSION:
      return wire.read_text(field, "MetaInfoDef") or None
  return None
