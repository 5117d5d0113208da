"""An assignment map for variables that nothing starts, found by names and shapes."""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, Optional, Tuple

from estimator_ckpt.warm_start.assignment_map import ROOT
from estimator_ckpt.warm_start.nearest import tails
from estimator_ckpt.warm_start.source_tensors import SourceTensor

# Where more names than this end alike, none of them is suggested.
_ALIKE = 50

_Kind = Tuple[int, Optional[Tuple[int, ...]]]


class Wanted(NamedTuple):
  """A variable that nothing starts."""

  name: str
  dtype: int
  shape: tuple[int, ...] | None

  @property
  def kind(self) -> _Kind:
    """The type and the shape, in which a tensor has to agree."""
    return self.dtype, self.shape


def suggest(
  wanted: Iterable[Wanted], tensors: Iterable[SourceTensor], others: Iterable[str] = ()
) -> dict[str, str]:
  """Suggests an assignment map for variables that nothing starts.

  Two scopes belong together where names in them end alike, and two single names where no
  others have their shape. An entry for a scope is an error for each variable in it that
  the checkpoint lacks. So each entry is for the largest scope without such a variable.

  Args:
    wanted: the variables that nothing starts.
    tensors: what the checkpoint has for them.
    others: names of further variables, which no scope of the map may contain.

  Returns:
    The checkpoint's side of each entry, with the graph's; empty where nothing fits.
  """
  wanted = list(wanted)
  names_by_kind: dict[_Kind, list[str]] = collections.defaultdict(list)
  for tensor in tensors:
    names_by_kind[tensor.dtype, tensor.shape].append(tensor.name)
  left = {variable.name: variable for variable in wanted}
  suggested: dict[str, str] = {}
  for old, new in _renamed_scopes(wanted, names_by_kind):
    started = [
      name
      for name, variable in left.items()
      if name.startswith(new)
      and variable.shape is not None
      and old + name[len(new) :] in names_by_kind[variable.kind]
    ]
    for name in started:
      del left[name]
    not_started = (name for names in (left, others) for name in names)
    for scope, covered in _scopes(new, started, _scopes_of(not_started)):
      source = old + scope[len(new) :] or ROOT
      if source not in suggested:
        suggested[source] = scope or ROOT
      else:
        # A dict has one entry for a name of the checkpoint.
        left.update((v.name, v) for v in wanted if v.name in covered)
  for kind, names in names_by_kind.items():
    if len(names) == 1:
      same = [variable.name for variable in left.values() if variable.kind == kind]
      if len(same) == 1:
        suggested.setdefault(names[0], same[0])
  return suggested


def _renamed_scopes(
  wanted: Iterable[Wanted], names_by_kind: Mapping[_Kind, Iterable[str]]
) -> list[tuple[str, str]]:
  """Pairs of scopes in which names end alike, those of most variables first."""
  by_tail: dict[tuple[_Kind, str], list[str]] = collections.defaultdict(list)
  for kind, names in names_by_kind.items():
    for name in names:
      for tail in tails(name):
        by_tail[kind, tail].append(name)
  votes: collections.Counter[tuple[str, str]] = collections.Counter()
  for variable in wanted:
    for tail in tails(variable.name):
      alike = by_tail.get((variable.kind, tail), [])
      alike = [name for name in alike if name != variable.name]
      if alike:
        if len(alike) <= _ALIKE:
          ends = len(tail)
          votes.update((name[:-ends], variable.name[:-ends]) for name in alike)
        break
  return sorted(votes, key=lambda pair: (-votes[pair], pair))


def _scopes_of(names: Iterable[str]) -> set[str]:
  """Every scope that has one of the names in it, the root included."""
  found = {""}
  for name in names:
    end = name.find("/") + 1
    while end:
      found.add(name[:end])
      end = name.find("/", end) + 1
  return found


def _scopes(
  scope: str, names: Collection[str], barred: Collection[str]
) -> Iterator[tuple[str, Collection[str]]]:
  """Covers names by the largest scopes that are allowed, and by single names.

  Args:
    scope: a scope that has all the names in it. The root is always allowed.
    names: what is to be covered.
    barred: scopes that may not be taken as a whole.

  Yields:
    Scopes or names, each with the names that it covers.
  """
  stack = [(scope, names)]
  while stack:
    scope, names = stack.pop()
    if not names:
      continue
    if not scope or scope not in barred:
      yield scope, names
      continue
    inner: dict[str, list[str]] = collections.defaultdict(list)
    for name in names:
      end = name.find("/", len(scope)) + 1
      if end:
        inner[name[:end]].append(name)
      else:
        yield name, [name]
    stack += reversed(list(inner.items()))
