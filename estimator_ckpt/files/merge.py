"""Makes one checkpoint of several."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from estimator_ckpt import errors, value_classes
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.shards import check_placement
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import object_graph_edit
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.checkpoint.tensor_names import SAVE_COUNTER_KEY
from estimator_ckpt.files import conversion_plan, rewrite, rewrite_plan
from estimator_ckpt.files import write as write_lib
from estimator_ckpt.files.rewrite import RewriteReport
from estimator_ckpt.files.rewrite_plan import RewritePlan

CLASH_POLICIES = ("error", "first", "last")
# Every checkpoint has its own; they are no clash.
_OWN_KEYS = frozenset([layout_lib.OBJECT_GRAPH_KEY, SAVE_COUNTER_KEY])


def merge(
  sources: Sequence[str | os.PathLike[str]],
  target: str | os.PathLike[str],
  *,
  to: CheckpointFormat | str | None = None,
  on_clash: str = "error",
  layout: layout_lib.Layout = "default",
  data: str = "auto",
  overwrite: bool = False,
  dry_run: bool = False,
  progress: write_lib.Progress | None = None,
) -> RewriteReport:
  """Writes one checkpoint with the variables of several.

  Tensors that are equal in all, by type, shape and checksum, are no clash.

  Args:
    sources: two or more checkpoints, in any of the forms that
      `estimator_ckpt.checkpoint.prefix.resolve` takes; for a directory, its latest. Their
      formats may differ.
    target: the prefix to write, or a directory.
    to: the format of the result; by default that of the first.
    on_clash: what happens where two have different tensors of one name (or object
      path): `"error"`, or which one is taken, the `"first"` or the `"last"`.
    layout: where names stand in the object graph of a TF1 checkpoint that becomes one
      with others; see `estimator_ckpt.checkpoint.layout.object_paths`.
    data: how the data files get there: `"auto"`, `"link"`, `"reflink"` or `"copy"`.
    overwrite: whether a checkpoint that is there may be replaced.
    dry_run: whether to count what would be written, and write nothing.
    progress: is called with the bytes that are done and those there are in all.

  Returns:
    What was written, and what lost a clash.

  Raises:
    CheckpointNotFoundError: one of the sources is not there.
    CheckpointExistsError: there is a checkpoint at `target` already.
    CorruptCheckpointError: a source is damaged.
    OptionError: clashes, with `on_clash="error"`; the destination is a source; fewer
      than two sources.
    CheckpointIOError: the file system refused. `target` is as it was before.

  Example:
    print(merge(["towers/a", "towers/b"], "both/model.ckpt"))
  """
  if isinstance(sources, (str, os.PathLike)) or len(sources) < 2:
    raise errors.OptionError("merge needs two or more checkpoints")
  if on_clash not in CLASH_POLICIES:
    raise errors.OptionError(
      f"on_clash={on_clash!r} is unknown; choose one of {', '.join(CLASH_POLICIES)}"
    )
  check_placement(data)
  prefixes = [prefix_lib.resolve(source) for source in sources]
  target = write_lib.target_prefix(os.fspath(target), prefixes[0])
  write_lib.check_target(target, prefixes)
  rewrite.check_free([target], overwrite, clean=not dry_run)
  read = [write_lib.SourceCheckpoint.read(prefix) for prefix in prefixes]
  to = read[0].format if to is None else CheckpointFormat.parse(to)
  plans = [
    conversion_plan.plan_conversion(one.index, one.graph, to, layout=layout)
    for one in read
  ]
  merged = plan_merge(read, plans, on_clash)
  report = _write(read, merged, target, data, overwrite, dry_run, progress)
  return RewriteReport((report,))


@value_classes.dataclass(frozen=True)
class MergePlan:
  """What a merged checkpoint will be.

  Attributes:
    plan: the keys of the result, each with `PREFIX: KEY`; its object graph; what lost a
      clash.
    places: for each key of the result, the source's number and the key there.
  """

  plan: RewritePlan
  places: dict[str, tuple[int, str]]


def plan_merge(
  sources: Sequence[write_lib.SourceCheckpoint],
  plans: Sequence[RewritePlan],
  on_clash: str,
) -> MergePlan:
  """Plans the merging of checkpoints whose conversion to one format is planned.

  Args:
    sources: what is merged; it is only read.
    plans: for each source, the conversion to the format of the result.
    on_clash: `"error"`, `"first"` or `"last"`.

  Returns:
    What the result has, and where each tensor comes from.

  Raises:
    OptionError: clashes, or object graphs that do not go together.
  """
  places: dict[str, tuple[int, str]] = {}
  lost: dict[tuple[int, tuple[bytes, ...], str], str] = {}
  clashes: list[str] = []
  for number, plan in enumerate(plans):
    for key, source_key in plan.keys.items():
      known = places.get(key)
      if known is None:
        places[key] = (number, source_key)
        continue
      if key in _OWN_KEYS or _equal(sources, known, (number, source_key)):
        continue
      clashes.append(key)
      loser, winner = (number, source_key), known
      if on_clash == "last":
        loser, winner = winner, loser
      places[key] = winner
      lost[_tensor(sources, loser)] = key
  if clashes and on_clash == "error":
    raise errors.OptionError(_clash_message(sources, places, clashes))
  left_out: dict[str, str] = {}
  for number, plan in enumerate(plans):
    for key, source_key in plan.keys.items():
      clash = lost.get(_tensor(sources, (number, source_key)))
      if clash is None:
        continue
      left_out[f"{sources[number].prefix}: {source_key}"] = f"another has {clash!r}"
      # A tensor that lost one of its keys does not keep the others.
      if places[key] == (number, source_key):
        del places[key]
  checkpoint_format = plans[0].checkpoint_format
  graph = None
  scalars: dict[str, int] = {}
  if checkpoint_format is not CheckpointFormat.TF1:
    graph = _merged_graph(sources, plans, places)
    places.pop(layout_lib.OBJECT_GRAPH_KEY, None)
    step = places.get(GLOBAL_STEP)
    if SAVE_COUNTER_KEY not in places and step is not None:
      # The counter of saves is the step's twin, so it comes from the same source.
      counter = plans[step[0]].keys.get(SAVE_COUNTER_KEY)
      if counter is not None:
        places[SAVE_COUNTER_KEY] = (step[0], counter)
    if SAVE_COUNTER_KEY not in places:
      scalars[SAVE_COUNTER_KEY] = max(
        (plan.scalars.get(SAVE_COUNTER_KEY, 1) for plan in plans), default=1
      )
  keys = {
    key: f"{sources[number].prefix}: {source_key}"
    for key, (number, source_key) in places.items()
  }
  merged = RewritePlan(checkpoint_format, keys, graph, scalars, left_out=left_out)
  return MergePlan(merged, places)


def _tensor(
  sources: Sequence[write_lib.SourceCheckpoint], place: tuple[int, str]
) -> tuple[int, tuple[bytes, ...], str]:
  """What is equal for all keys of one tensor of a source."""
  number, key = place
  index = sources[number].index
  parts = [part for _, part in index.slice_entries(key)] or [index.entry(key)]
  # Tensors without bytes may stand at one place and be several.
  return number, index.location(key), "" if any(p.size for p in parts) else key


def _equal(
  sources: Sequence[write_lib.SourceCheckpoint], a: tuple[int, str], b: tuple[int, str]
) -> bool:
  indexes = sources[a[0]].index, sources[b[0]].index
  first, second = _content(indexes[0], a[1]), _content(indexes[1], b[1])
  if first == second:
    return True
  # One source may have the tensor in parts, or each in other parts.
  one, other = (rewrite_plan.whole_entry(i, k) for i, k in zip(indexes, (a[1], b[1])))
  return one.content == other.content and not one.slices


def _content(index: Index, key: str) -> list[object]:
  """What is equal for tensors with equal bytes."""
  entry = index.entry(key)
  content: list[object] = [entry.dtype, entry.shape]
  if not entry.slices:
    return [*content, entry.size, entry.crc32c]
  for tensor_slice, part in index.slice_entries(key):
    content += [tensor_slice, part.size, part.crc32c]
  return content


def _clash_message(
  sources: Sequence[write_lib.SourceCheckpoint],
  places: dict[str, tuple[int, str]],
  clashes: Sequence[str],
) -> str:
  clashes = sorted(set(clashes))
  lines = [f"{key!r}, first in {sources[places[key][0]].prefix}" for key in clashes]
  return (
    "the checkpoints have different tensors of the same name:\n"
    + "\n".join(f"  {line}" for line in errors.shorten(lines))
    + "\nSay which is taken with on_clash, first or last; or rename, or strip, one of"
    " them before."
  )


def _merged_graph(
  sources: Sequence[write_lib.SourceCheckpoint],
  plans: Sequence[RewritePlan],
  places: dict[str, tuple[int, str]],
) -> ObjectGraph:
  merged = ObjectGraph()
  for source, plan in zip(sources, plans):
    own = plan.object_graph if plan.object_graph is not None else source.graph
    assert own is not None
    graph = own.copy()
    # An object whose tensor lost a clash under another name has no value any more. The
    # counter of saves always has one.
    gone = {
      attribute.checkpoint_key
      for _, attribute in graph.attributes()
      if attribute.checkpoint_key not in _OWN_KEYS
      and _has(plan.keys, attribute.checkpoint_key)
      and not _has(places, attribute.checkpoint_key)
    }
    object_graph_edit.remove_values(graph, gone)
    object_graph_edit.merge_graph(merged, graph)
  return merged


def _has(keys: Mapping[str, object], owner: str) -> bool:
  return owner in keys or owner + "-keys" in keys


def _write(
  sources: Sequence[write_lib.SourceCheckpoint],
  merged: MergePlan,
  target: str,
  data: str,
  overwrite: bool,
  dry_run: bool,
  progress: write_lib.Progress | None,
) -> write_lib.CheckpointReport:
  shards = [one.shards for one in sources]
  for one in shards:
    if one.v1 is not None:
      raise errors.UnsupportedCheckpointError(
        f"{one.prefix}: a checkpoint of the format V1 has no data files to link; write"
        f" it as a bundle first (estimator-ckpt convert {one.prefix} TARGET --to=tf1),"
        " and merge that"
      )
  sizes = [write_lib.check_sizes(one.index, own) for one, own in zip(sources, shards)]
  index = Index(sources[0].index.header, target)
  first = 0
  for number, source in enumerate(sources):
    for key, (owner, source_key) in merged.places.items():
      if owner == number:
        _put(index, key, source.index, source_key, first)
    first += shards[number].num_shards
  if merged.plan.checkpoint_format is not CheckpointFormat.TF1:
    rewrite_plan.join_parts(index, merged.places)
  extras = write_lib.extra_tensors(merged.plan)
  counter = write_lib.Counter(sum(map(sum, sizes)), progress)
  num_shards = first + bool(extras)
  with write_lib.open_bundle(target, num_shards, overwrite, dry_run) as bundle:
    for own, own_sizes in zip(shards, sizes):
      for shard_id, size in enumerate(own_sizes):
        before = counter.done
        bundle.add_file(own.path(shard_id), data, counter.advance)
        counter.advance(before + size - counter.done)
    write_lib.add_extras(index, bundle, extras)
    bundle.commit(index)
    # Another may replace it as soon as this one is done.
    written = bundle.data_bytes
  return write_lib.CheckpointReport(
    tuple(one.prefix for one in sources),
    target,
    tuple(one.format for one in sources),
    merged.plan,
    written,
    tuple(bundle.placed),
    tuple(bundle.cleaned),
    bundle.bytes_by,
  )


def _put(index: Index, key: str, source: Index, source_key: str, shard: int) -> None:
  """Adds a tensor of another index.

  Args:
    index: is added to.
    key: the tensor's key in it.
    source: the other index.
    source_key: the tensor's key in the other index.
    shard: how many data files stand before those of the other index.
  """
  entry = source.entry(source_key)
  index.put(key, entry._replace(shard_id=entry.shard_id + shard))
  for tensor_slice, part in source.slice_entries(source_key):
    part = part._replace(shard_id=part.shard_id + shard)
    index.put(key, part, tensor_slice)
