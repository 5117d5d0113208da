"""Names and object paths: where a named variable stands in an object graph.

A name-based (TF1) checkpoint keys a tensor by its variable's name. An
object-based (TF2) one keys it by a path of attribute names from a root object,
each escaped, followed by `/.ATTRIBUTES/` and the attribute's name:

    var_list/dense.Skernel/.ATTRIBUTES/VARIABLE_VALUE

The escape (checked on TensorFlow 2.15 and 2.21) replaces `.` by `..`, then `/`
by `.S`, so that distinct names stay distinct.
"""

from __future__ import annotations

import itertools
from collections.abc import (
  Callable,
  Collection,
  Container,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)

from estimator_ckpt import errors
from estimator_ckpt.bundle import coding
from estimator_ckpt.value_classes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import TypeAlias

Path: TypeAlias = "tuple[str, ...]"
LayoutFunction: TypeAlias = "Callable[[str], Sequence[Sequence[str]]]"
Layout: TypeAlias = "str | LayoutFunction"


OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
VARIABLE_VALUE = "VARIABLE_VALUE"
VAR_LIST = "var_list"
SAVE_COUNTER = "save_counter"
ATTRIBUTES = "/.ATTRIBUTES/"
_SLOT = "/.OPTIMIZER_SLOT/"
# What stands at the root beside nested paths.
_RESERVED = (VAR_LIST, SAVE_COUNTER)


_FLAT, _NESTED = "flat", "nested"


class _NamedLayout(NamedTuple):
  """A layout: the kinds of paths that it gives a name, the key first, and in words."""

  kinds: tuple[str, ...]
  words: str


# The one place for a layout. Whoever uses one asks this table, by the functions below.
_TABLE = {
  "default": _NamedLayout((_FLAT, _NESTED), "both of the others"),
  "flat": _NamedLayout((_FLAT,), "var_list/<name>"),
  "nested": _NamedLayout((_NESTED,), "along the scopes"),
}
# The first is the default.
LAYOUTS = {name: named.words for name, named in _TABLE.items()}


def escape_local_name(name: str) -> str:
  """Escapes one attribute name for use inside an object key.

  Args:
    name: any text.

  Returns:
    The text without `/`; different names give different texts.

  Example:
    >>> escape_local_name("dense/kernel.1")
    'dense.Skernel..1'
  """
  return name.replace(".", "..").replace("/", ".S")


def escape_local_names(
  names: Sequence[str], before: str = "", behind: str = ""
) -> list[str]:
  """Escapes many attribute names, in a fraction of the time of one by one.

  Args:
    names: any texts.
    before: a text that is put before each, as it is.
    behind: a text that is put behind each, as it is.

  Returns:
    What `escape_local_name` makes of each, between these texts.

  Example:
    >>> escape_local_names(["dense/kernel", "step"], "var_list/")
    ['var_list/dense.Skernel', 'var_list/step']
  """
  found: list[str] = []
  for batch in coding.batches(names):
    joined = escape_local_name("\0".join(batch))
    escaped = f"{before}{joined}{behind}"
    if before or behind:
      escaped = escaped.replace("\0", f"{behind}\0{before}")
    if joined.count("\0") == len(batch) - 1:
      found += escaped.split("\0")
    else:  # One has a zero byte.
      found += [f"{before}{escape_local_name(name)}{behind}" for name in batch]
  return found


def nested_path(name: str) -> str:
  """The object path that a name's scopes spell, as it stands in keys.

  Example:
    >>> nested_path("dense/kernel.1")
    'dense/kernel..1'
  """
  return name.replace(".", "..")


def unescape_local_name(escaped: str) -> str:
  """The inverse of `escape_local_name`.

  Args:
    escaped: one component of an object key.

  Returns:
    The name it stands for. A lone `.` that starts no escape stands for itself,
    as it does for TensorFlow's reserved components.

  Example:
    >>> unescape_local_name("dense.Skernel..1")
    'dense/kernel.1'
  """
  # Left to right: `a..Sb` is `a.` + `Sb`, not `a.` + `/b`. Most components have nothing
  # to unescape, and a zero byte none at all.
  if "." not in escaped:
    return escaped
  if "\0" not in escaped:
    return escaped.replace("..", "\0").replace(".S", "/").replace("\0", ".")
  out = []
  i = 0
  while i < len(escaped):
    pair = escaped[i : i + 2]
    if pair == "..":
      out.append(".")
      i += 2
    elif pair == ".S":
      out.append("/")
      i += 2
    else:
      out.append(escaped[i])
      i += 1
  return "".join(out)


class ObjectKey(NamedTuple):
  """An object-based checkpoint key, taken apart.

  Attributes:
    path: the attribute names from the root to the object, unescaped.
    attribute: what of the object is stored, most often `VARIABLE_VALUE`.
    optimizer: the path of the optimizer, for a slot variable's key.
    slot: the slot's name, for a slot variable's key.
  """

  path: Path
  attribute: str = VARIABLE_VALUE
  optimizer: Path | None = None
  slot: str | None = None

  def __str__(self) -> str:
    if self.slot is None:
      return object_key(self.path, self.attribute)
    key = "/".join(map(escape_local_name, self.path))
    optimizer = "/".join(map(escape_local_name, self.optimizer or ()))
    key += f"{_SLOT}{optimizer}/{escape_local_name(self.slot)}"
    return (key + ATTRIBUTES + self.attribute).lstrip("/")


def object_key(path: Sequence[str], attribute: str = VARIABLE_VALUE) -> str:
  """The checkpoint key of an object's attribute.

  Args:
    path: attribute names from the root object, unescaped.
    attribute: the attribute; a variable's value by default.

  Returns:
    The key under which TensorFlow stores it.

  Example:
    >>> object_key(["var_list", "dense/kernel"])
    'var_list/dense.Skernel/.ATTRIBUTES/VARIABLE_VALUE'
  """
  # Each name is escaped, and none has a zero byte, but for those that nobody writes.
  escaped = escape_local_name("\0".join(path))
  if escaped.count("\0") < len(path):
    key = escaped.replace("\0", "/") + ATTRIBUTES + attribute
  else:
    key = f"{'/'.join(map(escape_local_name, path))}{ATTRIBUTES}{attribute}"
  # An object at the root has no path, and then the key has no leading slash.
  return key.lstrip("/")


def parse_object_key(key: str) -> ObjectKey | None:
  """Takes an object-based key apart.

  Args:
    key: any key of a checkpoint.

  Returns:
    Its parts, or None when the key is not an object-based one.

  Example:
    >>> parse_object_key("net/w/.ATTRIBUTES/VARIABLE_VALUE").path
    ('net', 'w')
    >>> parse_object_key("net/w") is None
    True
  """
  head, found, attribute = ("/" + key).rpartition(ATTRIBUTES)
  if not found:
    return None
  variable, slotted, rest = head.partition(_SLOT)
  optimizer = slot = None
  if slotted:
    optimizer_path, _, slot_name = rest.rpartition("/")
    optimizer = _split(optimizer_path)
    slot = unescape_local_name(slot_name)
  return ObjectKey(_split(variable), attribute, optimizer, slot)


def _split(path: str) -> Path:
  path = path.strip("/")
  return tuple(map(unescape_local_name, path.split("/"))) if path else ()


def check_layout(layout: Layout) -> Layout:
  """Returns `layout` if it is one, before anything is built on it.

  Raises:
    OptionError: for an unknown name or another type, with the nearest name.
  """
  if callable(layout) or layout in LAYOUTS:
    return layout
  near = errors.nearest(str(layout), LAYOUTS)
  hint = f" Did you mean {near!r}?" if near else ""
  raise errors.OptionError(
    f"layout={layout!r} is unknown.{hint} Choose one of {', '.join(LAYOUTS)}, or pass a "
    "function from a name to its object paths."
  )


def beside_objects(layout: Layout) -> Layout:
  """The layout for what a user's own object graph does not reach.

  Args:
    layout: the layout that the user chose.

  Returns:
    `"flat"`, since a nested path could be one that the user's objects get later. A
    function stays as it is.
  """
  return layout if callable(layout) else "flat"


def has_flat_paths(layout: Layout) -> bool:
  """Whether a layout gives names flat paths; a function's paths are its own."""
  return not callable(layout) and _FLAT in _TABLE[layout].kinds


def has_nested_paths(layout: Layout) -> bool:
  """Whether a layout gives names nested paths; a function's paths are its own."""
  return not callable(layout) and _NESTED in _TABLE[layout].kinds


def object_paths(
  names: Iterable[str], layout: Layout = "default", taken: Collection[Path] = ()
) -> dict[str, list[Path]]:
  """Gives every name its place in an object graph.

  The layouts:

  *   `"flat"`: `var_list/<name>`, one step with the whole name.
  *   `"nested"`: the path that the name's scopes spell, `dense/kernel`, as the
      attributes of a `tf.Module` would.
  *   `"default"`: both, the flat path first, so it gives the key.
  *   a function from a name to a sequence of paths, the first giving the key.

  A nested path is left out where no object could have it: an empty component,
  a component that is itself a variable (`dense/kernel/Adam` below
  `dense/kernel`), or a path that is taken. Such a name keeps its flat path.

  Args:
    names: variables' names.
    layout: as above.
    taken: paths of an object graph that is there already.

  Returns:
    For each name, in the given order, one or more paths. The first paths of
    different names differ.

  Raises:
    OptionError: the layout is unknown, or gives two names one path.

  Example:
    >>> object_paths(["dense/kernel"])["dense/kernel"]
    [('var_list', 'dense/kernel'), ('dense', 'kernel')]
  """
  names = list(dict.fromkeys(names))
  return dict(zip(names, each_path(names, layout, taken)))


def each_path(
  names: Sequence[str], layout: Layout = "default", taken: Collection[Path] = ()
) -> Iterator[list[Path]]:
  """Iterates over the paths of names; see `object_paths`.

  Those of 100,000 names take 50 MB.

  Args:
    names: variables' names.
    layout: as there.
    taken: paths of an object graph that is there already.

  Yields:
    The paths of each name, in the given order.
  """
  check_layout(layout)
  if callable(layout):
    yield from _custom_paths(names, layout, set(taken))
    return
  taken = set(taken)
  is_flat, nests = has_flat_paths(layout), has_nested_paths(layout)
  scopes = set(nested_places(dict.fromkeys(names), taken)[0]) if nests else set()
  for name in names:
    paths: list[Path] = [(VAR_LIST, name)] if is_flat else []
    if nests and can_nest(name, scopes) and not _is_taken(name, taken):
      paths.append(tuple(name.split("/")))
    yield paths or [(VAR_LIST, name)]


def can_nest(name: str, scopes: Container[str]) -> bool:
  """Whether the path that a name's scopes spell can be an object's.

  Args:
    name: a variable's name.
    scopes: the scopes that can be objects; see `nested_places`.
  """
  scope, slash, last = name.rpartition("/")
  return bool(last) and (scope in scopes if slash else name not in _RESERVED)


def nested_places(
  names: Mapping[str, object], taken: Collection[Path] = ()
) -> tuple[list[str], list[str | None]]:
  """Finds the scopes on nested paths of names, and who stands in each.

  Args:
    names: variables' names, as keys.
    taken: paths of an object graph that is there already.

  Returns:
    The scopes, each behind those above it; and for each name the scope that it stands
    in, "" for the root, or None where it has no nested path.

  Example:
    >>> names = ["net/dense/kernel", "net/dense/kernel/Adam", "net//w", "w"]
    >>> nested_places(dict.fromkeys(names))
    (['net', 'net/dense'], ['net/dense', None, None, ''])
  """
  own = [name.rpartition("/")[0] for name in names]
  # A variable has nothing below it.
  places = [None if scope in names else scope for scope in own]
  needed = dict.fromkeys(filter(None, places))
  scopes = _with_those_above(needed)
  # Most names are not in each other's way otherwise.
  if not taken and "//" not in "/".join(["", *names, ""]):
    if not any(each in names or each in scopes for each in _RESERVED):
      if names.keys().isdisjoint(itertools.islice(scopes, len(needed), None)):
        return sorted(scopes, key=len), places
  ends_with_step = [name[-1:] != "/" for name in names]
  needed = dict.fromkeys(filter(None, itertools.compress(places, ends_with_step)))
  found = _nested_scopes(names, needed, taken)
  holding = set(found)
  return found, [
    scope if can_nest(name, holding) else None for name, scope in zip(names, own)
  ]


def _with_those_above(scopes: Iterable[str]) -> dict[str, None]:
  """Scopes, and those above them behind them."""
  found = level = dict.fromkeys(scopes)
  while level:
    above = [scope.rpartition("/")[0] for scope in level]
    level = dict.fromkeys(
      itertools.filterfalse(found.__contains__, filter(None, above))
    )
    found.update(level)
  return found


def _nested_scopes(
  names: Mapping[str, object], needed: dict[str, None], taken: Collection[Path]
) -> list[str]:
  """The scopes that can be objects, of those that are needed and those above them."""
  holding: dict[str, str] = {}
  for scope in sorted(_with_those_above(needed), key=len):
    parent, slash, last = scope.rpartition("/")
    can_hold = parent in holding if slash else scope not in _RESERVED
    if last and can_hold and scope not in names and not _is_taken(scope, taken):
      holding[scope] = parent
  for scope in reversed(list(holding)):
    if scope in needed:
      needed[holding[scope]] = None
  return [scope for scope in holding if scope in needed]


def _is_taken(name: str, taken: Collection[Path]) -> bool:
  return bool(taken) and tuple(name.split("/")) in taken


def _custom_paths(
  names: Sequence[str], layout: LayoutFunction, taken: set[Path]
) -> Iterator[list[Path]]:
  owners: dict[Path, str] = dict.fromkeys(taken, "the object graph")
  for name in names:
    given = layout(name)
    if isinstance(given, str) or not given or any(isinstance(p, str) for p in given):
      raise errors.OptionError(
        f"The layout function returned {given!r} for the variable {name!r}; it must "
        "return a non-empty sequence of paths, each a sequence of attribute names, for "
        f"example [('model', 'kernel')]."
      )
    own = [tuple(path) for path in given]
    for path in own:
      if not path or not all(isinstance(part, str) and part for part in path):
        raise errors.OptionError(
          f"The layout function gave the variable {name!r} the path {path!r}; a path "
          "needs at least one name, and none may be empty."
        )
      if owners.setdefault(path, name) != name:
        raise errors.OptionError(
          f"The layout gives the object path {'/'.join(path)!r} to two variables, "
          f"{owners[path]!r} and {name!r}. Every variable needs a path of its own."
        )
    yield own
