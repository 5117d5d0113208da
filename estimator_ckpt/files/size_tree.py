"""A checkpoint's tensors as a tree of scopes or of objects, with sizes.

Trees are built without recursion and to a limited depth, since a file may state any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from estimator_ckpt import value_classes
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.saved_tensor import SavedTensor

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

MAX_DEPTH = 50
_MAX_PATH_LENGTH = 1024


@value_classes.dataclass
class Branch:
  """A scope or an object.

  Attributes:
    label: its own name within the one above; "" for the root.
    tensors: how many tensors there are in it and below.
    size: their bytes.
    own: the tensors that it is or holds itself. Where several objects hold the same
      tensor, each has it here, and one of them counts it.
    children: what is below, by label.
    see: for an object that stands elsewhere in the tree, its path there.
    target: for an object that stands elsewhere in the tree, its branch there.
  """

  label: str
  tensors: int = 0
  size: int = 0
  own: list[SavedTensor] = value_classes.field(default_factory=list)
  children: dict[str, Branch] = value_classes.field(default_factory=dict)
  see: str = ""
  target: Branch | None = None

  @property
  def holds_tensors(self) -> bool:
    """Whether there are tensors in it, or an object next below that has some."""
    return any(
      branch.tensors or (branch.target is not None and branch.target.tensors)
      for branch in (self, *self.children.values())
    )

  def walk(
    self, depth: int = MAX_DEPTH, all_objects: bool = True
  ) -> Iterator[tuple[int, Branch]]:
    """Iterates over `(depth, branch)` of what is below, parents first.

    Args:
      depth: how many levels. Deeper tensors are in the sums of what is shown.
      all_objects: whether to include objects without tensors.
    """
    stack = [(0, child) for child in reversed(list(self.children.values()))]
    while stack:
      level, branch = stack.pop()
      if not (all_objects or branch.holds_tensors):
        continue
      yield level, branch
      if level + 1 < depth:
        stack += [
          (level + 1, child) for child in reversed(list(branch.children.values()))
        ]

  def as_dict(self, depth: int = MAX_DEPTH) -> dict[str, Any]:
    """The branch and what is below as lists, dicts, texts and numbers.

    Args:
      depth: how many levels below; what is deeper is in the sums of what is shown.
    """
    tree: dict[str, Any] = {}
    stack = [(self, tree, 0)]
    while stack:
      branch, described, level = stack.pop()
      described["label"] = branch.label
      if branch.see:
        described["see"] = branch.see
        continue
      described["tensors"] = branch.tensors
      described["bytes"] = branch.size
      described["own"] = [tensor.name for tensor in branch.own]
      children = branch.children.values() if level < depth else ()
      described["children"] = [{} for _ in children]
      for child, place in zip(children, described["children"]):
        stack.append((child, place, level + 1))
    return tree


def scope_tree(tensors: Iterable[SavedTensor]) -> Branch:
  """The tree of the scopes in tensors' names.

  Args:
    tensors: those that a checkpoint has, or some of them.

  Returns:
    The root, which has no label.
  """
  root = Branch("")
  for tensor in tensors:
    _add(root, tensor.name.split("/", MAX_DEPTH), tensor)
  return root


def object_tree(tensors: Iterable[SavedTensor], graph: ObjectGraph) -> Branch:
  """The tree of an object graph's objects, each at the first of its shortest paths.

  Args:
    tensors: those that a checkpoint has, or some of them.
    graph: that of the checkpoint.

  Returns:
    The root, which has no label. Slot variables, which have no parent, stand where their keys say.
    Tensors that the object graph does not have stand at the root, by key.
  """
  root = Branch("")
  branches = {0: root}
  paths = {0: ""}
  order = [0]
  parents: dict[int, int] = {}
  depths = {0: 0}
  for node_id in order:
    for label, child in graph.nodes[node_id].children.items():
      if child in branches:
        elsewhere = Branch(label, see="/" + paths[child], target=branches[child])
        branches[node_id].children.setdefault(label, elsewhere)
      elif depths[node_id] < MAX_DEPTH:
        branches[child] = branches[node_id].children[label] = Branch(label)
        paths[child] = f"{paths[node_id]}/{label}".lstrip("/")[:_MAX_PATH_LENGTH]
        parents[child] = node_id
        depths[child] = depths[node_id] + 1
        order.append(child)
  nodes = graph.nodes_by_key()
  for tensor in tensors:
    holders = dict.fromkeys(nodes[k] for k in tensor.keys if nodes.get(k) in branches)
    if not holders:
      path = tensor.object_paths[0] if tensor.object_paths else tensor.key
      _add(root, path.split("/", MAX_DEPTH), tensor)
      continue
    for holder in holders:
      branches[holder].own.append(tensor)
    node = min(holders, key=lambda holder: paths[holder] != tensor.name)
    while True:
      branches[node].tensors += 1
      branches[node].size += tensor.size
      if node == 0:
        break
      node = parents[node]
  return root


def _add(root: Branch, path: list[str], tensor: SavedTensor) -> None:
  branch = root
  branch.tensors += 1
  branch.size += tensor.size
  for label in path:
    branch = branch.children.setdefault(label, Branch(label))
    branch.tensors += 1
    branch.size += tensor.size
  branch.own.append(tensor)
