"""Further keys of tensors, which the index of a checkpoint gets after it is written."""

from __future__ import annotations

from estimator_ckpt import errors
from estimator_ckpt.bundle import aliased_index, files, slice_specs
from estimator_ckpt.bundle.file_names import index_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.joined import joined_entry
from estimator_ckpt.bundle.recurring import RecurringIndex
from estimator_ckpt.checkpoint.key_plan import SavePlan


def are_needed(plan: SavePlan) -> bool:
  """Whether a plan has keys to add to an index."""
  return bool(plan.aliases or plan.part_aliases or plan.partial_aliases or plan.joined)


def add_aliases(
  prefix: str, plan: SavePlan, recurring: RecurringIndex | None = None
) -> None:
  """Adds further keys to a checkpoint.

  Only the index is rewritten, under a temporary name that then replaces it. No tensor is
  read or written, and this machine need not see the data files.

  Args:
    prefix: the path of the checkpoint.
    plan: the checkpoint was written by it. Its `aliases`, `part_aliases`,
      `partial_aliases` and `joined` are added.
    recurring: repeats what earlier calls for this plan did, which is faster.

  Raises:
    CheckpointKeyError: the checkpoint has no such tensor.
    CorruptCheckpointError: a new key is there already, or the index is damaged.
  """
  path = index_path(prefix)
  source = files.read(path)
  repeated = recurring.repeat(source) if recurring is not None else None
  result = repeated or _with_aliases(source, path, plan, recurring or RecurringIndex())
  # TensorFlow does not sync the data, and syncing the index would wait for the gigabytes
  # of data to be written out first.
  files.write_atomic(path, result, sync=False)


def _with_aliases(
  source: bytes, path: str, plan: SavePlan, recurring: RecurringIndex
) -> bytes:
  """The index file that `add_aliases` writes, and how to repeat it."""
  has_others = plan.part_aliases or plan.partial_aliases or plan.joined
  if len(source) >= aliased_index.LARGE and not has_others:
    made = aliased_index.with_aliases(source, plan.aliases)
    if made is not None:
      result, copy = made
      recurring.use(copy)
      return result
  index = Index.parse(source, path)
  add_to_index(index, plan)
  result = index.serialize()
  recurring.remember(source, result)
  return result


def add_to_index(index: Index, plan: SavePlan) -> None:
  """Adds further keys to an index in memory.

  Args:
    index: of a checkpoint that was written by the plan; it is changed.
    plan: its `aliases`, `part_aliases`, `partial_aliases` and `joined` are added.

  Raises:
    CheckpointKeyError: the index has no such tensor.
    CorruptCheckpointError: an entry is damaged, or slices are not as planned.
  """
  for new_key, (key, slice_spec) in plan.part_aliases.items():
    wanted = slice_specs.parse(slice_spec).extents
    [entry] = [e for s, e in index.slice_entries(key) if s.extents == wanted]
    index.put(new_key, entry)
  for new_key, (key, parts) in plan.partial_aliases.items():
    some = {slice_specs.parse(slice_spec).extents for slice_spec in parts}
    found = [(s, e) for s, e in index.slice_entries(key) if s.extents in some]
    whole = index.entry(key)
    index.put(new_key, whole._replace(slices=tuple(s for s, _ in found)))
    for tensor_slice, entry in found:
      index.put(new_key, entry, tensor_slice)
  for new_key, key in plan.joined.items():
    joined = joined_entry(index, key)
    if joined is None:
      raise errors.CorruptCheckpointError(
        f"{index.name}: the parts of {key!r} do not stand one after the other in the "
        "data file, though they were written so"
      )
    index.put(new_key, joined)
  index.alias_all(plan.aliases)
