"""The plan of a rewritten checkpoint: a value that can be printed before it is carried out.

A plan moves no bytes. For each key of the result it names the key of the source, and it
lists the small tensors that are new, and what is left out, with the reason.
`check_complete` makes sure that nothing else is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from estimator_ckpt import errors, value_classes
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.joined import joined_entry, tensorflow_stitches
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import tensor_names
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.object_graph import ObjectGraph

TYPE_CHECKING = False
if TYPE_CHECKING:
  from estimator_ckpt.bundle.new_tensors import NewTensor


@value_classes.dataclass(frozen=True)
class RewritePlan:
  """What is written for one checkpoint.

  Attributes:
    checkpoint_format: the format of the result.
    keys: the keys of the result, each with a key of the source for the same bytes.
    object_graph: an object graph to write; None where the source's is kept, or none.
    scalars: int64 scalars to write, by key.
    names: names that change, old to new.
    left_out: keys of the source that the result lacks, each with the reason.
    notes: what a user should know of the result.
    tensors: tensors to write that are made of others, by key.
    shapes: other dimensions for the same bytes, by key.
  """

  checkpoint_format: CheckpointFormat
  keys: Mapping[str, str]
  object_graph: ObjectGraph | None = None
  scalars: Mapping[str, int] = value_classes.field(default_factory=dict)
  names: Mapping[str, str] = value_classes.field(default_factory=dict)
  left_out: Mapping[str, str] = value_classes.field(default_factory=dict)
  notes: tuple[str, ...] = ()
  tensors: Mapping[str, NewTensor] = value_classes.field(default_factory=dict)
  shapes: Mapping[str, tuple[int, ...]] = value_classes.field(default_factory=dict)

  def __str__(self) -> str:
    lines = [
      f"{key} <- {source}"
      + (f" as {list(self.shapes[key])}" if key in self.shapes else "")
      for key, source in sorted(self.keys.items())
    ]
    if self.object_graph is not None:
      lines.append(f"{layout_lib.OBJECT_GRAPH_KEY} <- new")
    lines += [f"{key} <- {value}" for key, value in sorted(self.scalars.items())]
    lines += [f"{key} <- converted" for key in sorted(self.tensors)]
    lines += [f"left out: {key} ({why})" for key, why in sorted(self.left_out.items())]
    return "\n".join(lines)


def claim(keys: dict[str, str], key: str, source: str) -> None:
  """Puts a tensor under a key of the result.

  Args:
    keys: what the result has so far, with the key of the source for each; is added to.
    key: where the tensor is to be stored.
    source: the tensor's key in the source.

  Raises:
    OptionError: the key is another tensor's.
  """
  if keys.setdefault(key, source) != source:
    raise errors.OptionError(
      f"{source!r} and {keys[key]!r} would both be stored under {key!r}, and one of"
      " them would be lost; give one another name with a name_map"
    )


def with_notes(plan: RewritePlan, notes: Sequence[str]) -> RewritePlan:
  """The plan with further notes."""
  return value_classes.replace(plan, notes=(*plan.notes, *notes))


def check_complete(plan: RewritePlan, index: Index) -> None:
  """Checks that every tensor of the source is in the result, or listed as left out.

  Args:
    plan: what is to be written.
    index: that of the source.

  Raises:
    CheckpointError: a tensor is neither.
  """
  # In their order, in which they are found faster than in that of a set.
  sources = dict.fromkeys(plan.keys.values())
  values = index.values(list(sources))
  left_out = sum(key in index and key not in sources for key in plan.left_out)
  if len(sources) + left_out == len(index) and None not in values:
    return
  # Most keys are known, or have the bytes of one that is, as in a dual checkpoint.
  if index.has_slices:
    values = index.values(list(sources.keys() - set(index.slice_keys())))
  others = index.keys_besides(set(filter(None, values)))
  lost = [key for key in others if key not in sources and key not in plan.left_out]
  if plan.object_graph is not None and layout_lib.OBJECT_GRAPH_KEY in lost:
    lost.remove(layout_lib.OBJECT_GRAPH_KEY)
  if lost:
    mapped = {index.location(key) for key in sources}
    lost = [key for key in lost if index.location(key) not in mapped]
  if lost:
    # The step may be there twice, as `global_step` and as an object's value.
    content = {tensor_names.small_content(index, key) for key in sources} - {None}
    lost = [k for k in lost if tensor_names.small_content(index, k) not in content]
  if lost:
    # So may a partitioned tensor, as slices and as a whole over the same bytes.
    wholes = [whole_entry(index, key) for key in sources]
    lost = [key for key in lost if whole_entry(index, key) not in wholes]
  if lost:
    listed = ", ".join(errors.shorten(lost))
    raise errors.CheckpointError(
      f"{index.name}: {listed} would be lost; nothing was written. This is an error in"
      " estimator_ckpt"
    )


def whole_entry(index: Index, key: str) -> BundleEntry:
  """The entry of a tensor as a whole, where its slices lie one behind the other."""
  return joined_entry(index, key) or index.entry(key)


def apply_plan(plan: RewritePlan, index: Index) -> None:
  """Gives an index the keys that a plan says; slices go with their tensors.

  Args:
    plan: what was planned for this index.
    index: is changed.
  """
  index.rekey(plan.keys)
  if plan.checkpoint_format is not CheckpointFormat.TF1 and index.has_slices:
    join_parts(index, plan.keys)
  for key, shape in plan.shapes.items():
    index.put(key, index.entry(key)._replace(shape=shape))


def join_parts(index: Index, keys: Iterable[str]) -> None:
  """Gives an object key the whole tensor where TensorFlow cannot put its parts together.

  Training does the same.

  Args:
    index: is changed.
    keys: keys of the index. Names among them keep their parts.
  """
  for key in keys:
    entry = index.entry(key)
    if entry.slices and not tensorflow_stitches(entry.dtype):
      whole = joined_entry(index, key)
      if whole is not None and layout_lib.parse_object_key(key) is not None:
        index.remove(key)
        index.put(key, whole)
