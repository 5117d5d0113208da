"""How partitioned embeddings were looked up: which part has the row of an id.

TensorFlow 1's `tf.nn.embedding_lookup` has two strategies (read from 1.15's
`embedding_ops.py`; TensorFlow 2's has `"div"` alone). Of P parts, `"mod"`, the default,
finds the row of an id in part `id % P`, at `id // P`. `"div"` takes the parts one behind
the other. A checkpoint does not store the strategy: parts that are joined row after row
are in the order of ids for `"div"` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from estimator_ckpt import errors, value_classes
from estimator_ckpt.bundle import slices

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any, TypeAlias

  import numpy as np

  from estimator_ckpt.bundle.index import Index
  from estimator_ckpt.bundle.messages import TensorSlice

PartitionStrategyLike: TypeAlias = "PartitionStrategy | Mapping[str, str] | None"


MOD = "mod"
DIV = "div"


@value_classes.dataclass(frozen=True)
class PartitionStrategy:
  """The strategies of a checkpoint's partitioned variables.

  Attributes:
    by_scope: `"mod"` or `"div"` by a variable's name, or a scope of names. They are
      the checkpoint's own. Of several scopes that a variable is in, the innermost counts.

  Example:
    >>> PartitionStrategy.parse({"net/users/": "mod"}).of("net/users/embeddings")
    'mod'
  """

  by_scope: Mapping[str, str] = value_classes.field(default_factory=dict)

  @classmethod
  def parse(cls, given: Any) -> PartitionStrategy:
    """Checks the argument `partition_strategy=`.

    Args:
      given: a dict from names or scopes to `"mod"` or `"div"`; or None.

    Returns:
      The strategies.

    Raises:
      OptionError: the argument is no such dict.
    """
    if given is None:
      return cls()
    if isinstance(given, PartitionStrategy):
      return given
    if not isinstance(given, Mapping):
      raise errors.OptionError(
        f"partition_strategy={given!r} does not say which variables are meant. Pass a "
        "dict from their scopes: partition_strategy={'scope': 'mod'}."
      )
    for scope, strategy in given.items():
      if not isinstance(scope, str) or strategy not in (MOD, DIV):
        raise errors.OptionError(
          f"partition_strategy={{{scope!r}: {strategy!r}}}: a scope of the checkpoint's "
          "names has the strategy 'mod' or 'div', as in tf.nn.embedding_lookup."
        )
    return cls(dict(given))

  def __bool__(self) -> bool:
    return bool(self.by_scope)

  def of(self, name: str) -> str | None:
    """Looks up the strategy of a variable.

    Args:
      name: the variable's name in the checkpoint.

    Returns:
      `"mod"`, `"div"`, or None where neither was said.
    """
    fitting = [scope for scope in self.by_scope if _is_in(name, scope)]
    return self.by_scope[max(fitting, key=_length)] if fitting else None

  def unused(self, names: Sequence[str]) -> list[str]:
    """Words the keys that are of no partitioned variable.

    Args:
      names: the names of all variables in several parts of rows.

    Returns:
      A sentence for each such key, with the nearest scope.
    """
    return [
      _unused_key(scope, names)
      for scope in self.by_scope
      if not any(_is_in(name, scope) for name in names)
    ]

  def mod_parts(
    self, parts: Mapping[str, tuple[int, ...]]
  ) -> dict[str, tuple[int, ...]]:
    """Picks the variables whose rows are to be put into the order of ids.

    Args:
      parts: by the names of variables in several parts of rows, the rows of each part.

    Returns:
      Those that were looked up with `"mod"`.

    Raises:
      OptionError: a key is of no such variable, or its parts cannot have been looked up
        with `"mod"`.
    """
    unused = self.unused(list(parts))
    if unused:
      raise errors.OptionError(" ".join(unused))
    found = {name: rows for name, rows in parts.items() if self.of(name) == MOD}
    for name, rows in found.items():
      check_mod(name, rows)
    return found


def _length(scope: str) -> int:
  return len(scope.rstrip("/"))


def _is_in(name: str, scope: str) -> bool:
  plain = scope.rstrip("/")
  return name == plain or name.startswith(f"{plain}/")


def _unused_key(scope: str, names: Sequence[str]) -> str:
  split = [name.split("/") for name in names]
  scopes = dict.fromkeys(
    "/".join(parts[:count]) for parts in split for count in range(1, len(parts) + 1)
  )
  near = errors.nearest(scope.rstrip("/"), list(scopes))
  hint = f" Did you mean {near!r}?" if near else ""
  if not names:
    hint = " It has no such variable at all."
  return (
    f"partition_strategy= has {scope!r}, and the checkpoint has no variable in several "
    f"parts of rows of that name or in that scope.{hint}"
  )


def check_mod(name: str, rows: Sequence[int]) -> None:
  """Checks that parts can have been looked up with `"mod"`.

  Args:
    name: the variable's name, for the message.
    rows: the rows of each part.

  Raises:
    OptionError: ids that are dealt out in turn do not fill parts of these sizes.
  """
  total, count = sum(rows), len(rows)
  wanted = [total // count + (part < total % count) for part in range(count)]
  if list(rows) != wanted:
    raise errors.OptionError(
      f"partition_strategy: {name!r} cannot have been looked up with 'mod': its parts "
      f"have {', '.join(map(str, rows))} rows, and 'mod' deals {total} ids out as "
      f"{', '.join(map(str, wanted))}. Say 'div', or name its scope more closely."
    )


def row_parts(
  parts: Sequence[TensorSlice], shape: Sequence[int]
) -> tuple[int, ...] | None:
  """Counts the rows of a variable's parts.

  Args:
    parts: the slices that the variable is stored in.
    shape: the dimensions of the whole.

  Returns:
    The rows of each part, in their order; None unless there are several parts, and
    dimension 0 is the only one that is cut.
  """
  if len(parts) < 2 or not shape:
    return None
  bounds = sorted(slices.bounds(part, shape) for part in parts)
  row = 0
  for own in bounds:
    if own[0][0] != row or any(
      pair != (0, size) for pair, size in zip(own[1:], shape[1:])
    ):
      return None
    row = own[0][1]
  return tuple(own[0][1] - own[0][0] for own in bounds)


def parts_of(index: Index, *keys: str | None) -> tuple[int, ...] | None:
  """Counts the rows of the parts of a tensor that an index has.

  Args:
    index: the index.
    *keys: keys of the tensor. A tensor may stand in parts under one key, and as a whole
      under another.

  Returns:
    As `row_parts`.
  """
  for key in keys:
    if key is not None:
      entry = index.entry(key)
      found = row_parts(entry.slices, entry.shape)
      if found is not None:
        return found
  return None


def stored_rows(rows: Sequence[int]) -> np.ndarray:
  """Finds where the row of each id stands in parts that are joined row after row.

  Args:
    rows: the rows of each part, as `"mod"` deals them out.

  Returns:
    int64 `[sum(rows)]`: for each id the number of the row.

  Example:
    >>> stored_rows((3, 2)).tolist()
    [0, 3, 1, 4, 2]
  """
  import numpy as np

  ids = np.arange(sum(rows))
  starts = np.cumsum([0, *rows[:-1]])
  return starts[ids % len(rows)] + ids // len(rows)


def note_untold(names: Sequence[str]) -> str:
  """Words the note that parts were joined, where nobody said how they were looked up.

  Args:
    names: the embeddings, of which there is at least one.

  Returns:
    One line.
  """
  shown = ", ".join(errors.shorten(list(names)))
  were = "were" if len(names) > 1 else "was"
  scope = names[0].rpartition("/")[0] or names[0]
  return (
    f"{shown} {were} saved in several parts, which are joined row after row. That is "
    "right if they were looked up with 'div'. TensorFlow 1's default is 'mod': say "
    f"partition_strategy={{{scope!r}: 'mod'}} (--partition_strategy={scope}=mod), or "
    "'div' to confirm"
  )
