"""What a `.meta` file tells: the order in which trainable variables were created.

The checkpoint itself sorts its variables by name. In TensorFlow's meta_graph.proto:

    MetaGraphDef   4 collection_def: map<string, CollectionDef>
    CollectionDef  2 bytes_list: BytesList{1 value: repeated bytes}
    VariableDef    1 variable_name: string, as "dense/kernel:0"
"""

from __future__ import annotations

from estimator_ckpt import errors
from estimator_ckpt.bundle import files, wire


def trainable_variables(prefix: str) -> list[str] | None:
  """The trainable variables of the graph a checkpoint was written by.

  Args:
    prefix: the checkpoint's path.

  Returns:
    Their names in the order of their creation; None without a `.meta` file.

  Raises:
    CorruptCheckpointError: the file is no meta graph.
  """
  path = prefix + ".meta"
  if not files.exists(path):
    return None
  try:
    return _variable_names(files.read(path))
  except errors.CorruptCheckpointError as e:
    raise errors.CorruptCheckpointError(f"{path}: no meta graph: {e}") from e


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
