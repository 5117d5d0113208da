"""A tree of scopes or of objects as flat lists, for a page's treemap and tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, List, Union

from estimator_ckpt.files.size_tree import Branch

_Own = Union[None, int, List[int]]


def flatten(root: Branch, rows: Mapping[str, int]) -> dict[str, Any]:
  """Lists the branches of a tree, parents before what is below them.

  Args:
    root: the tree's root.
    rows: the number of each tensor's row, by its key.

  Returns:
    A dict of lists with an item for each branch: `label`, 0 where it is the name of its
    tensor; `parent`, the number of the branch above, -1 for the root; `own`, the row of
    the tensor it is, a list of rows, or None. And `see`, pairs of a branch that stands
    for one elsewhere, and that one.

  >>> net = Branch("net")
  >>> flatten(Branch("", children={"net": net, "same": Branch("same", target=net)}), {})
  {'label': ['', 'net', 'same'], 'parent': [-1, 0, 0], 'own': [None, None, None], 'see': [[2, 1]]}
  """
  labels: list[str | int] = []
  parents: list[int] = []
  owns: list[_Own] = []
  numbers: dict[int, int] = {}
  targets: list[tuple[int, Branch]] = []
  stack = [(root, -1)]
  while stack:
    branch, parent = stack.pop()
    number = len(labels)
    numbers[id(branch)] = number
    is_name = len(branch.own) == 1 and branch.own[0].name == branch.label
    labels.append(0 if is_name else branch.label)
    parents.append(parent)
    own = [rows[tensor.key] for tensor in branch.own]
    owns.append(own[0] if len(own) == 1 else own or None)
    if branch.target is not None:
      targets.append((number, branch.target))
    stack += [(child, number) for child in reversed(list(branch.children.values()))]
  see = [[number, numbers[id(target)]] for number, target in targets]
  return {"label": labels, "parent": parents, "own": owns, "see": see}
