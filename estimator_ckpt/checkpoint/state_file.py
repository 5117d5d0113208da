"""The `checkpoint` file of a directory, which says which checkpoint is the latest.

It is the text form of TensorFlow's CheckpointState message:

    model_checkpoint_path: "model.ckpt-200"
    all_model_checkpoint_paths: "model.ckpt-100"
    all_model_checkpoint_paths: "model.ckpt-200"
    all_model_checkpoint_timestamps: 1700000000.5
    last_preserved_timestamp: 1700000000.0

Paths in it may be relative to the directory. TensorFlow writes relative or absolute
ones. This package writes relative ones, so that a directory can be copied and moved.

The parser reads what TensorFlow 2.15 reads, checked there: lists in brackets too, as in a
file that somebody edited. It refuses nested messages, as TensorFlow does: the message
has none, and no TensorFlow from 1.15 to 2.21 writes one.
"""

from __future__ import annotations

import os
import re

from estimator_ckpt import value_classes
from estimator_ckpt.bundle import files, paths
from estimator_ckpt.errors import CheckpointNotFoundError, CorruptCheckpointError

STATE_FILE = "checkpoint"

_TOKEN = r"""(?xs)(?P<space>\s+|\#[^\n]*)
  |(?P<name>[A-Za-z_][A-Za-z0-9_.]*)
  |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
  |(?P<number>[-+.0-9][-+.0-9A-Za-z]*)
  |(?P<sign>[:\[\],;])"""
_ESCAPE = r"(?s)\\(?:([0-7]{1,3})|[xX]([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))"
_SIMPLE_ESCAPES = {
  "a": b"\a",
  "b": b"\b",
  "f": b"\f",
  "n": b"\n",
  "r": b"\r",
  "t": b"\t",
  "v": b"\v",
  "\\": b"\\",
  "'": b"'",
  '"': b'"',
  "?": b"?",
}


@value_classes.dataclass(frozen=True)
class CheckpointState:
  """What a `checkpoint` file says; paths are those a reader can open.

  Attributes:
    model_checkpoint_path: the latest checkpoint's prefix.
    all_model_checkpoint_paths: those that are kept, oldest first.
    all_model_checkpoint_timestamps: when each was saved, in seconds since 1970.
    last_preserved_timestamp: when the last one that is kept for good was saved.
  """

  model_checkpoint_path: str
  all_model_checkpoint_paths: tuple[str, ...] = ()
  all_model_checkpoint_timestamps: tuple[float, ...] = ()
  last_preserved_timestamp: float | None = None


def read_state(directory: str, name: str = STATE_FILE) -> CheckpointState | None:
  """Reads the state file of a directory.

  Args:
    directory: such as a `model_dir`.
    name: the file's name.

  Returns:
    The state, its relative paths joined to the directory; None without such a file.

  Raises:
    CorruptCheckpointError: the file is something else, or names no checkpoint.
    CheckpointIOError: the file system refused.
  """
  path = _join(directory, name)
  try:
    data = files.read(path)
  except CheckpointNotFoundError:
    return None
  return joined_state(directory, parse_state(data, path))


def joined_state(directory: str, state: CheckpointState) -> CheckpointState:
  """A state whose relative paths are joined to the directory of its file.

  Args:
    directory: where the file is.
    state: what the file says, as `parse_state` reads it.
  """
  return value_classes.replace(
    state,
    model_checkpoint_path=_join(directory, state.model_checkpoint_path),
    all_model_checkpoint_paths=tuple(
      _join(directory, path) for path in state.all_model_checkpoint_paths
    ),
  )


def write_state(directory: str, state: CheckpointState, name: str = STATE_FILE) -> None:
  """Writes the state file of a directory, in place of what is there.

  Readers see the old file or the new one. Paths within the directory are written
  relative to it.

  Args:
    directory: such as a `model_dir`.
    state: what the file is to say.
    name: the file's name.

  Raises:
    CheckpointIOError: the file system refused.
  """
  relative = CheckpointState(
    _relative(directory, state.model_checkpoint_path),
    tuple(_relative(directory, p) for p in state.all_model_checkpoint_paths),
    state.all_model_checkpoint_timestamps,
    state.last_preserved_timestamp,
  )
  files.write_atomic(_join(directory, name), format_state(relative))


def parse_state(data: bytes, path: str) -> CheckpointState:
  """Reads the bytes of a state file.

  Args:
    data: the bytes.
    path: the file, for errors.

  Returns:
    The state, with paths as they stand. Fields it does not know are passed over.

  Raises:
    CorruptCheckpointError: the bytes are something else, or name no checkpoint.

  >>> parse_state(b'model_checkpoint_path: "model.ckpt-1"', "x").model_checkpoint_path
  'model.ckpt-1'
  """
  fields: dict[str, list[str]] = {}
  try:
    _parse_fields(_tokens(data), fields)
    latest = [_unquote(t) for t in fields.get("model_checkpoint_path", ())]
    if not latest or not latest[-1]:
      raise CorruptCheckpointError("it names no model_checkpoint_path")
    preserved = [_float(t) for t in fields.get("last_preserved_timestamp", ())]
    return CheckpointState(
      latest[-1],
      tuple(map(_unquote, fields.get("all_model_checkpoint_paths", ()))),
      tuple(map(_float, fields.get("all_model_checkpoint_timestamps", ()))),
      preserved[-1] if preserved else None,
    )
  except CorruptCheckpointError as error:
    raise CorruptCheckpointError(
      f"{path}: not a checkpoint state file: {error}"
    ) from None


def format_state(state: CheckpointState) -> bytes:
  r"""The bytes of a state file, with paths as they stand.

  >>> format_state(CheckpointState("model.ckpt-1"))
  b'model_checkpoint_path: "model.ckpt-1"\n'
  """
  lines = [f"model_checkpoint_path: {_quote(state.model_checkpoint_path)}"]
  for path in state.all_model_checkpoint_paths:
    lines.append(f"all_model_checkpoint_paths: {_quote(path)}")
  for timestamp in state.all_model_checkpoint_timestamps:
    lines.append(f"all_model_checkpoint_timestamps: {timestamp!r}")
  if state.last_preserved_timestamp is not None:
    lines.append(f"last_preserved_timestamp: {state.last_preserved_timestamp!r}")
  return "".join(line + "\n" for line in lines).encode()


def _tokens(data: bytes) -> list[tuple[str, str]]:
  """(kind, text) pairs; bytes that are not UTF-8 become lone surrogates."""
  text = data.decode("utf-8", "surrogateescape")
  tokens = []
  position = 0
  token = re.compile(_TOKEN)
  while position < len(text):
    match = token.match(text, position)
    if match is None:
      line = text.count("\n", 0, position) + 1
      raise CorruptCheckpointError(
        f"line {line} has {text[position : position + 20]!r}"
      )
    position = match.end()
    if match.lastgroup != "space":
      tokens.append((match.lastgroup or "", match[0]))
  return tokens


def _parse_fields(tokens: list[tuple[str, str]], fields: dict[str, list[str]]) -> None:
  """Collects the values of fields; several adjacent texts are one."""
  name = ""
  wants_value = in_list = False
  previous = ""
  for kind, token in tokens:
    if kind == "text" and previous == "text":
      fields[name][-1] += token
    elif kind == "sign":
      if token == ":":
        wants_value = True
      elif token in "[]":
        in_list = token == "["
        wants_value = False
    elif wants_value or in_list:
      fields.setdefault(name, []).append(token)
      wants_value = False
    elif kind == "name":
      name = token
    else:
      raise CorruptCheckpointError(f"{token[:40]} where a field's name should be")
    previous = kind
  if in_list or wants_value:
    raise CorruptCheckpointError("it ends within a field")


def _unquote(token: str) -> str:
  """The text of one or more adjacent quoted texts."""
  if token[0] not in "\"'":
    raise CorruptCheckpointError(f"{token[:40]} where a quoted path should be")
  parts = []
  for match in re.finditer(
    r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'', token, re.DOTALL
  ):
    body = match[1] if match[1] is not None else match[2]
    position = 0
    for escape in re.finditer(_ESCAPE, body):
      parts.append(body[position : escape.start()].encode("utf-8", "surrogateescape"))
      parts.append(_unescape(escape))
      position = escape.end()
    parts.append(body[position:].encode("utf-8", "surrogateescape"))
  return b"".join(parts).decode("utf-8", "surrogateescape")


def _unescape(match: re.Match[str]) -> bytes:
  octal, hexadecimal, short, long, simple = match.groups()
  if octal is not None:
    return bytes((int(octal, 8) & 255,))
  if hexadecimal is not None:
    return bytes((int(hexadecimal, 16),))
  if simple is not None:
    if simple not in _SIMPLE_ESCAPES:
      raise CorruptCheckpointError(f"the escape \\{simple} does not exist")
    return _SIMPLE_ESCAPES[simple]
  code = int(short or long, 16)
  if code > 0x10FFFF:
    raise CorruptCheckpointError(f"the character {code:#x} does not exist")
  return chr(code).encode("utf-8", "surrogatepass")


def _quote(path: str) -> str:
  quoted = []
  for byte in path.encode("utf-8", "surrogateescape"):
    if byte in b"\"\\'":
      quoted.append("\\" + chr(byte))
    elif 32 <= byte < 127:
      quoted.append(chr(byte))
    else:
      quoted.append(f"\\{byte:03o}")
  return '"' + "".join(quoted) + '"'


def _float(token: str) -> float:
  try:
    return float(
      token.rstrip("fF") if token[-1:] in "fF" and "inf" not in token else token
    )
  except ValueError:
    raise CorruptCheckpointError(f"{token[:40]} where a number should be") from None


def _is_absolute(path: str) -> bool:
  return os.path.isabs(path) or not files.is_local(path)


def _join(directory: str, path: str) -> str:
  if _is_absolute(path) or directory in ("", "."):
    return path
  return paths.join(directory, path)


def _relative(directory: str, path: str) -> str:
  """The path as seen from the directory, if it is below it."""
  if not (files.is_local(directory) and files.is_local(path)):
    start = paths.join(directory, "")
    return path[len(start) :] if path.startswith(start) else path
  # Behind symbolic links, two different paths may lead to one directory.
  for real in (os.path.abspath, os.path.realpath):
    parent, name = os.path.split(files.local_path(path))
    inside = os.path.relpath(real(parent or "."), real(directory or "."))
    if inside != ".." and not inside.startswith("../"):
      return os.path.normpath(os.path.join(inside, name))
  return os.path.abspath(files.local_path(path))
