r"""Assignment maps: which tensors of a checkpoint start which variables of a graph.

The checkpoint's side stands first. The forms are those of
`tf.compat.v1.train.init_from_checkpoint`, and the last two:

*   `"old/": "new/"`: all names in a scope; `"/"` is the root, on either side;
*   `"old/kernel": "new/kernel"`: one tensor, one variable;
*   `"old/kernel": variable`, a `tf.Variable` or a partitioned variable;
*   `"old/kernel": [part, part]`: the partitions of one variable;
*   `r"old_(\d+)/(.*)": r"new/layer_\1/\2"`: a regular expression for the whole name. It
    may be compiled; text is one where it is no name and no scope;
*   an object path or key in place of a name: `"model/encoder/": "encoder/"`.

Written as text, as for `estimator-ckpt rename`, an entry is `old:new`.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Iterable
from typing import Any, Mapping, NamedTuple, Sequence, Union

from estimator_ckpt import errors
from estimator_ckpt.checkpoint.name_map import NameMap, Rule
from estimator_ckpt.warm_start.source_tensors import SourceTensor, SourceTensors

AssignmentMapLike = Union[
  None,
  str,
  "os.PathLike[str]",
  Mapping[Any, Any],
  Sequence[Any],
]

ROOT = "/"
_ON_ONE_LINE = 3


@dataclasses.dataclass(frozen=True)
class Entry:
  """One entry of an assignment map.

  Attributes:
    source: a name, scope, object path or key of the checkpoint, or an expression.
    target: a variable's name or a scope; for an expression, a template of names.
  """

  source: str | re.Pattern[str]
  target: str

  @property
  def text(self) -> str:
    """The checkpoint's side as text."""
    return self.source if isinstance(self.source, str) else self.source.pattern

  @property
  def is_scope(self) -> bool:
    """Whether it maps a scope to a scope."""
    return isinstance(self.source, str) and self.source.endswith("/")

  @property
  def source_scope(self) -> str:
    """What names in the checkpoint's scope begin with."""
    return "" if self.source == ROOT else self.text

  @property
  def target_scope(self) -> str:
    """What names in the graph's scope begin with."""
    return "" if self.target == ROOT else self.target

  def __str__(self) -> str:
    return f"{self.text!r}: {self.target!r}"


class Candidate(NamedTuple):
  """A tensor that an entry gives to a variable.

  Attributes:
    rank: the lower rank counts. An entry for one name stands before one for many, and a
      name before an object path.
    entry: that of the map.
    tensor: what the checkpoint has.
    target: the variable's name, whether the graph has it or not.
  """

  rank: tuple[int, int]
  entry: Entry
  tensor: SourceTensor
  target: str

  @property
  def is_exact(self) -> bool:
    """Whether the entry is for this one variable."""
    return self.rank[0] == 0


def parse_assignment_map(value: AssignmentMapLike) -> tuple[Entry, ...]:
  """Reads an assignment map in any of the forms a user may give.

  Args:
    value: a dict; pairs, where one tensor starts several variables; texts `old:new`, or
      files of such lines; None for no entries.

  Returns:
    The entries. Variables are replaced by their names.

  Raises:
    OptionError: an entry is malformed.

  >>> [str(entry) for entry in parse_assignment_map({"old/": "new/", "a": "b"})]
  ["'old/': 'new/'", "'a': 'b'"]
  >>> [str(entry) for entry in parse_assignment_map("old/:/")]
  ["'old/': '/'"]
  """
  if value is None:
    return ()
  if isinstance(value, Mapping):
    value = list(value.items())
  if isinstance(value, (str, os.PathLike)):
    value = [value]
  entries: list[Entry] = []
  for item in value:
    if isinstance(item, (str, os.PathLike)):
      rules = NameMap.parse(os.fspath(item), "assignment_map").rules
      entries += [_entry(rule.old, rule.new.replace("\\:", ":")) for rule in rules]
    elif isinstance(item, Entry):
      entries.append(item)
    elif isinstance(item, (tuple, list)) and len(item) == 2:
      entries.append(_entry(item[0], item[1]))
    else:
      raise errors.OptionError(
        f"assignment_map: {item!r} is no entry. Give a dict, pairs (old, new), or texts "
        "'old:new'."
      )
  return tuple(entries)


def _entry(source: Any, target: Any) -> Entry:
  if not isinstance(source, (str, re.Pattern)) or not source:
    raise errors.OptionError(
      f"assignment_map: {source!r} is no name of a tensor in the checkpoint (for the "
      f"variable {target!r}). The checkpoint's side stands first."
    )
  if not isinstance(target, str):
    target = variable_name(target)
  entry = Entry(source, target)
  if entry.is_scope:
    if target and not target.endswith("/"):
      raise errors.OptionError(
        f"assignment_map: {entry} maps a scope to something that is no scope. End it "
        f"with '/': {source!r}: {target + '/'!r}."
      )
    return Entry(source, target or ROOT)
  if not target or target.endswith("/"):
    hint = f" Write {source + '/'!r}: {target!r}." if isinstance(source, str) else ""
    raise errors.OptionError(f"assignment_map: {entry} maps one name to a scope.{hint}")
  return entry


def as_code(entries: Sequence[Entry]) -> str:
  """A map as Python code.

  Args:
    entries: those of the map.

  Returns:
    The code of a dict; of a list of pairs where one tensor starts several variables.

  >>> print(as_code(parse_assignment_map({"old/": "new/"})))
  {'old/': 'new/'}
  """
  is_dict = len({entry.text for entry in entries}) == len(entries)
  shown = [f"{e.text!r}: {e.target!r}" for e in entries]
  if not is_dict:
    shown = [f"({e.text!r}, {e.target!r})" for e in entries]
  begin, end = "{}" if is_dict else "[]"
  if len(entries) <= _ON_ONE_LINE:
    return begin + ", ".join(shown) + end
  return "\n".join([begin, *(f"  {entry}," for entry in shown), end])


def as_flags(entries: Iterable[Entry]) -> str:
  r"""A map as flags of a command line.

  Args:
    entries: those of the map.

  Returns:
    The flags, quoted for a shell.

  >>> print(as_flags(parse_assignment_map({"old/": "new/", "a:0": "b"})))
  --assignment_map=old/:new/ '--assignment_map=a\:0:b'
  """
  rules = (Rule.of(entry.text, entry.target) for entry in entries)
  return " ".join(shlex.quote(f"--assignment_map={rule}") for rule in rules)


def variable_name(variable: Any) -> str:
  """The name that a variable is saved under.

  Args:
    variable: a `tf.Variable`, a partitioned variable, or a list of its parts.

  Returns:
    The name without `:0`; of a partitioned variable, that of the whole.

  Raises:
    OptionError: it is no variable, or a list that has not all parts of exactly one.
  """
  parts = _parts(variable)
  names = [_own_name(part) for part in parts]
  if not parts or None in names:
    raise errors.OptionError(
      f"{variable!r} is neither the name of a variable, nor a variable, nor a list of "
      "the partitions of one."
    )
  if len(set(names)) > 1:
    raise errors.OptionError(
      f"A list stands for the partitions of one variable, and these are of several: "
      f"{', '.join(sorted(set(map(str, names))))}. Give each an entry of its own."
    )
  infos = [getattr(part, "_save_slice_info", None) for part in parts]
  if infos[0] is not None:
    total = _size(infos[0].full_shape)
    given = sum(_size(info.var_shape) for info in infos if info is not None)
    if given != total:
      raise errors.OptionError(
        f"These are {len(parts)} partitions of {names[0]!r}, with {given} of its {total} "
        "elements. Give all of them, or its name."
      )
  return str(names[0])


def _parts(variable: Any) -> list[Any]:
  if isinstance(variable, (list, tuple)):
    return list(variable)
  # A PartitionedVariable has no public list of its parts but iteration.
  if hasattr(variable, "_get_variable_list"):
    return list(variable)
  return [variable]


def _own_name(variable: Any) -> str | None:
  info = getattr(variable, "_save_slice_info", None)
  if info is not None:
    return str(info.full_name)
  name = getattr(variable, "name", None)
  return name.rpartition(":")[0] or name if isinstance(name, str) else None


def _size(shape: Sequence[int]) -> int:
  size = 1
  for n in shape:
    size *= int(n)
  return size


def expand(entries: Iterable[Entry], source: SourceTensors) -> list[Candidate]:
  """Applies an assignment map to a checkpoint.

  Args:
    entries: those of the map.
    source: what the checkpoint has.

  Returns:
    For each entry, the tensors that it gives and the variables that get them.

  Raises:
    OptionError: an entry is neither a name, nor a scope, nor a regular expression.
  """
  found: list[Candidate] = []
  for entry in entries:
    if isinstance(entry.source, str):
      tensors = source.find(entry.source)
      if tensors:
        found += [Candidate((0, 0), entry, tensor, entry.target) for tensor in tensors]
        continue
    if entry.is_scope:
      scope = entry.source_scope
      for spelling, rank, tensor in source.spellings():
        if spelling.startswith(scope):
          target = entry.target_scope + spelling[len(scope) :]
          found.append(Candidate((1, rank), entry, tensor, target))
      continue
    pattern = _pattern(entry)
    for spelling, rank, tensor in source.spellings():
      match = pattern.fullmatch(spelling)
      if match is not None:
        found.append(Candidate((1, rank), entry, tensor, _made(entry, match)))
  return found


def _pattern(entry: Entry) -> re.Pattern[str]:
  if not isinstance(entry.source, str):
    return entry.source
  try:
    return re.compile(entry.source)
  except re.error as error:
    raise errors.OptionError(
      f"assignment_map: {entry.source!r} is no tensor of the checkpoint, and no regular "
      f"expression either: {error}"
    ) from error


def _made(entry: Entry, match: re.Match[str]) -> str:
  try:
    return match.expand(entry.target)
  except (re.error, IndexError) as error:
    raise errors.OptionError(
      f"assignment_map: {entry.target!r} does not fit the regular expression "
      f"{entry.text!r}: {error}"
    ) from error
