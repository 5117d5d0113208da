"""Which TensorFlow wrote a checkpoint, where a file beside it says so.

A bundle does not say. The graph that a Saver writes beside it (`PREFIX.meta`) and the
`saved_model.pb` of a SavedModel do, in their first field:

    SavedModel    2 meta_graphs: repeated MetaGraphDef
    MetaGraphDef  1 meta_info_def
    MetaInfoDef   5 tensorflow_version

Only that field is read; the graph behind it may be large.
"""

from __future__ import annotations

from estimator_ckpt.bundle import coding, files, wire
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
    tag, position = coding.read_varint(head, offset)
    if tag & 7 == wire.LENGTH_DELIMITED:
      _, position = coding.read_varint(head, position)
      is_meta_graph = tag >> 3 == _META_GRAPHS
      return _version_in_meta_graph(path, position) if is_meta_graph else None
    _, offset = coding.read_varint(head, position)
  return None


def _version_in_meta_graph(path: str, offset: int) -> str | None:
  head = files.read_range(path, offset, _HEAD_SIZE)
  tag, position = coding.read_varint(head, 0)
  size, position = coding.read_varint(head, position)
  if tag != _META_INFO_DEF << 3 | wire.LENGTH_DELIMITED or size > _MAX_META_INFO_SIZE:
    return None
  message = files.read_range(path, offset + position, size)
  if len(message) != size:
    raise CorruptCheckpointError(f"{path}: truncated")
  for field in wire.read_fields(message):
    if field.number == _TENSORFLOW_VERSION:
      return wire.read_text(field, "MetaInfoDef") or None
  return None
