"""The tensors of two checkpoints side by side: which are the same, and what differs.

Tensors are one if they share a key, or else a name that each side has once. Of those
left over, one with the same bytes under another name was renamed, if there is no second
that it could be. Values are compared by the checksums in the indexes.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
from collections.abc import Sequence

from estimator_ckpt.checkpoint import layout, tensor_names
from estimator_ckpt.checkpoint.saved_tensor import SavedTensor


class Status(enum.Enum):
  """What became of a tensor between two checkpoints."""

  SAME = "same"
  CHANGED = "changed"
  SHAPE = "shape"
  RENAMED = "renamed"
  ONLY_IN_A = "only_in_a"
  ONLY_IN_B = "only_in_b"


@dataclasses.dataclass(frozen=True)
class Pair:
  """A tensor of two checkpoints, or of one of them.

  Attributes:
    status: what became of it.
    a: the tensor in the first, if it is there.
    b: the tensor in the second, if it is there.
  """

  status: Status
  a: SavedTensor | None
  b: SavedTensor | None

  @property
  def shown(self) -> SavedTensor:
    """The tensor by whose name it is shown: that of the second, where it is there."""
    found = self.b or self.a
    assert found is not None
    return found


def pairs(a: Sequence[SavedTensor], b: Sequence[SavedTensor]) -> list[Pair]:
  """Puts the tensors of two checkpoints side by side.

  Args:
    a: the tensors of the first.
    b: those of the second.

  Returns:
    Every tensor of both once, by name. What TF2 checkpoints have for themselves is left
    out where one side alone has it.
  """
  by_key = {key: number for number, tensor in enumerate(b) for key in tensor.keys}
  partner: dict[int, int] = {}
  taken: set[int] = set()
  for number, tensor in enumerate(a):
    found = next((by_key[key] for key in tensor.keys if key in by_key), None)
    if found is not None and found not in taken:
      partner[number] = found
      taken.add(found)
  for names_of in (_name, _content):
    own = _once(a, partner.keys(), names_of)
    other = _once(b, taken, names_of)
    for text, number in own.items():
      if text in other:
        partner[number] = other[text]
        taken.add(other[text])
  made = []
  for number, tensor in enumerate(a):
    if number in partner:
      made.append(_pair(tensor, b[partner[number]]))
    elif not _is_bookkeeping(tensor):
      made.append(Pair(Status.ONLY_IN_A, tensor, None))
  made += [
    Pair(Status.ONLY_IN_B, None, tensor)
    for number, tensor in enumerate(b)
    if number not in taken and not _is_bookkeeping(tensor)
  ]
  return sorted(made, key=lambda pair: pair.shown.name)


def _pair(a: SavedTensor, b: SavedTensor) -> Pair:
  if (a.shape, a.dtype) != (b.shape, b.dtype):
    return Pair(Status.SHAPE, a, b)
  same = _checksums(a) == _checksums(b)
  if same and a.name != b.name and not set(a.keys) & set(b.keys):
    return Pair(Status.RENAMED, a, b)
  return Pair(Status.SAME if same else Status.CHANGED, a, b)


def _name(tensor: SavedTensor) -> str | None:
  return tensor.name


def _content(tensor: SavedTensor) -> str | None:
  """What tensors of equal bytes have in common; nothing where there are no bytes."""
  if not tensor.size or _is_bookkeeping(tensor):
    return None
  return f"{tensor.dtype} {tensor.shape} {_checksums(tensor)}"


def _once(tensors: Sequence[SavedTensor], done, text_of) -> dict[str, int]:  # type: ignore[no-untyped-def]
  """The tensors that are not done, by a text that one of them alone has."""
  texts = {
    number: text_of(tensor)
    for number, tensor in enumerate(tensors)
    if number not in done
  }
  counts = collections.Counter(texts.values())
  return {
    text: number
    for number, text in texts.items()
    if text is not None and counts[text] == 1
  }


def _checksums(tensor: SavedTensor) -> list[tuple[str, int, int]]:
  return sorted(
    (str(part.tensor_slice), part.entry.size, part.entry.crc32c)
    for part in tensor.parts
  )


def _is_bookkeeping(tensor: SavedTensor) -> bool:
  return tensor.key in (layout.OBJECT_GRAPH_KEY, tensor_names.SAVE_COUNTER_KEY)
