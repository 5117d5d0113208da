"""Writes a checkpoint whose tensors are those of another, under other keys.

Data files are linked; where that cannot be, they are shared or copied. New are the index
and, for an object graph or a counter, one small data file. With `compact`, the data files
are written anew, with nothing but what the index needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from estimator_ckpt import errors, value_classes
from estimator_ckpt.bundle import checksum, dtypes, files, paths, strings
from estimator_ckpt.bundle.commit import BundleWriter
from estimator_ckpt.bundle.file_names import index_path, parse_data_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.bundle.stored_entries import check_sizes as check_sizes
from estimator_ckpt.bundle.stored_entries import stored_entries as stored_entries
from estimator_ckpt.bundle.stored_entries import used_shards
from estimator_ckpt.checkpoint import formats
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.paired_keys import PairedKeys
from estimator_ckpt.files import rewrite_plan
from estimator_ckpt.files.rewrite_plan import RewritePlan
from estimator_ckpt.older_pythons import cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any, TypeAlias

  from estimator_ckpt.bundle.rehearsal import BundleRehearsal

# Called with the bytes that are done and those there are in all.
Progress: TypeAlias = "Callable[[int, int], None]"
PlanMaker: TypeAlias = "Callable[[SourceCheckpoint], RewritePlan]"


@value_classes.dataclass(frozen=True)
class SourceCheckpoint:
  """A checkpoint that is read.

  Attributes:
    prefix: its path.
    index: which tensors it has, and where.
    shards: its data files. The size of each is looked up once.
  """

  prefix: str
  index: Index
  shards: Shards

  @classmethod
  def read(cls, prefix: str) -> SourceCheckpoint:
    """Reads the index of a checkpoint.

    Args:
      prefix: the checkpoint's path.

    Raises:
      CheckpointNotFoundError: there is none.
      CorruptCheckpointError: it is damaged.
    """
    index = Index.read(prefix)
    return cls(prefix, index, Shards.of(prefix, index))

  @cached_property
  def graph(self) -> ObjectGraph | None:
    """The object graph, if there is one. It is read when it is asked for first.

    Raises:
      CheckpointNotFoundError: the data file it is in is missing.
      CorruptCheckpointError: it is damaged.
    """
    return formats.read_object_graph(self.prefix, self.index, self.shards)

  @cached_property
  def paired(self) -> PairedKeys | None:
    """Its keys in pairs, where it is dual and they tell all names."""
    return PairedKeys.of(self.index)

  @cached_property
  def format(self) -> CheckpointFormat:
    """The checkpoint's format. Its object graph is read only if that tells more."""
    if self.paired is not None:
      return CheckpointFormat.DUAL
    return formats.format_with(self.index, self.graph, self.paired)

  def release(self) -> None:
    """Finds the format, and lets go of what else only a plan is made of."""
    _ = self.format
    for name in ("graph", "paired"):
      vars(self).pop(name, None)

  def can_reshape(self, key: str) -> bool:
    """Whether an index may give a tensor's bytes another shape: they are not in parts.

    Args:
      key: the tensor's key.
    """
    return not self.index.entry(key).slices and self.shards.v1 is None

  @property
  def data_bytes(self) -> int:
    """The size of all data files, in bytes.

    Raises:
      CheckpointNotFoundError: one is missing.
    """
    return sum(map(self.shards.size, range(self.shards.num_shards)))


@value_classes.dataclass(frozen=True)
class CheckpointReport:
  """How one checkpoint was written.

  Attributes:
    sources: the prefixes of what was read.
    target: the prefix of what was written.
    source_formats: the formats of what was read.
    plan: which tensor got which key, which names changed, what was left out.
    data_bytes: the size of the data files.
    placed: what was done for each data file: `link`, `reflink`, `copy` or `write`.
    cleaned: files of an interrupted run that were removed.
    rehearsed: of a dry run, the bytes that would be linked, shared, copied and written;
      None where the checkpoint was written.
  """

  sources: tuple[str, ...]
  target: str
  source_formats: tuple[CheckpointFormat, ...]
  plan: RewritePlan
  data_bytes: int
  placed: tuple[str, ...]
  cleaned: tuple[str, ...] = ()
  rehearsed: Mapping[str, int] | None = None

  @property
  def keys(self) -> int:
    """How many keys the result has."""
    plan = self.plan
    return len(plan.keys) + len(plan.scalars) + len(plan.tensors)

  def __str__(self) -> str:
    sources = ", ".join(
      f"{source} ({source_format.value})"
      for source, source_format in zip(self.sources, self.source_formats)
    )
    counts = {how: self.placed.count(how) for how in dict.fromkeys(self.placed)}
    placed = ", ".join(f"{count} by {how}" for how, count in counts.items())
    lines = [
      f"{sources} -> {self.target} ({self.plan.checkpoint_format.value})",
      f"  {self.keys:,} keys, {self.data_bytes:,} bytes of data; data files: {placed}",
    ]
    if self.rehearsed is not None:
      lines.append(f"  {rehearsed_text(self.rehearsed)}")
    lines += _listed("renamed", [f"{a} -> {b}" for a, b in self.plan.names.items()])
    lines += _listed("left out", _without_aliases(self.plan.left_out))
    lines += [f"  note: {note}" for note in self.plan.notes]
    lines += _listed("cleaned up after an interrupted run", list(self.cleaned))
    return "\n".join(lines)

  def as_dict(self) -> dict[str, Any]:
    """The report as lists, dicts, texts and numbers."""
    rehearsed = {} if self.rehearsed is None else {"would": dict(self.rehearsed)}
    return {
      **rehearsed,
      "sources": list(self.sources),
      "source_formats": [f.value for f in self.source_formats],
      "target": self.target,
      "format": self.plan.checkpoint_format.value,
      "keys": self.keys,
      "data_bytes": self.data_bytes,
      "data_files": list(self.placed),
      "renamed": dict(self.plan.names),
      "left_out": dict(self.plan.left_out),
      "notes": list(self.plan.notes),
      "cleaned": list(self.cleaned),
    }


def rehearsed_text(count: Mapping[str, int]) -> str:
  """What a dry run counted, in one line.

  >>> count = {"link": 2048, "reflink": 0, "copy": 0, "server copy": 0, "write": 90}
  >>> rehearsed_text(count)
  'would link 2,048 bytes, copy 0 and write 90'
  """
  shared = f", share {count['reflink']:,}" if count["reflink"] else ""
  within = count["server copy"]
  stored = f" ({within:,} more within the store)" if within else ""
  return (
    f"would link {count['link']:,} bytes{shared}, copy {count['copy']:,}{stored} and write"
    f" {count['write']:,}"
  )


def check_target(target: str, sources: Sequence[str]) -> None:
  """Checks a destination before anything is read.

  Args:
    target: the prefix to write.
    sources: the prefixes that are read.

  Raises:
    OptionError: the destination is no prefix, or a source.
  """
  if not target.rpartition("/")[2]:
    raise errors.OptionError(f"{target!r} is no destination: it has no name")
  if target.endswith((".index", ".meta")) or parse_data_path(target):
    raise errors.OptionError(
      f"{target}: a destination is a prefix, as out/model.ckpt-300, or a directory, and"
      " not one of a checkpoint's files"
    )
  for source in sources:
    if _shares_files(source, target):
      raise errors.OptionError(
        f"{target}: the destination is the source, which is never changed; choose"
        " another"
      )


def target_prefix(target: str, source: str) -> str:
  """The prefix that a destination means; in a directory, with the source's own name."""
  if target.endswith("/") or _is_directory(target):
    return paths.join(target, prefix_lib.base(source).rpartition("/")[2])
  return target


def _is_directory(target: str) -> bool:
  """Whether a destination is a directory, and no checkpoint's prefix."""
  if paths.parent(target).endswith("://"):  # Listing all buckets may be forbidden.
    return files.is_dir(target)
  beside = files.glob_prefix(target)
  is_there = target in beside and index_path(target) not in beside
  return is_there and files.is_dir(target)


def _real(prefix: str) -> str:
  if not files.is_local(prefix):
    return prefix
  directory, name = os.path.split(files.local_path(prefix))
  return os.path.join(os.path.realpath(directory or "."), name)


def _shares_files(source: str, target: str) -> bool:
  """Whether replacing the files of a destination would replace those of a source."""
  real = _real(target)
  if _real(source) == real:
    return True
  if not (files.is_local(source) and files.is_local(target)):
    return False
  # Files of the source may be links to those of the destination.
  own = [index_path(source), *files.glob_prefix(f"{source}.data-")]
  return any(
    os.path.realpath(files.local_path(path)).startswith(
      (f"{real}.index", f"{real}.data-")
    )
    for path in own
  )


def write(
  source: SourceCheckpoint,
  target: str,
  plan: RewritePlan,
  *,
  data: str = "auto",
  overwrite: bool = False,
  compact: bool = False,
  dry_run: bool = False,
  progress: Progress | None = None,
) -> CheckpointReport:
  """Writes what a plan says.

  Args:
    source: the checkpoint that the plan was made for. Its index is changed.
    target: the prefix to write.
    plan: what is to be written.
    data: how data files get there: `auto`, `link`, `reflink` or `copy`.
    overwrite: whether a checkpoint that is there may be replaced.
    compact: whether the data files are written anew, without what no key needs.
    dry_run: whether to count what would be written, and write nothing.
    progress: is called with the bytes that are done and those there are in all.

  Returns:
    How it was written.

  Raises:
    CheckpointExistsError: there is a checkpoint already.
    OptionError: `data` insists on links, and the source has no data files, as it is of
      the format V1.
    CorruptCheckpointError: a data file is shorter than the index says, or with
      `compact` a tensor's bytes do not match its checksum.
    CheckpointIOError: the file system refused. What was there before is there.
  """
  source_format = source.format
  shards = source.shards
  if shards.v1 is not None:
    if data in ("link", "reflink"):
      raise errors.OptionError(
        f"{source.prefix}: a checkpoint of the format V1 has no data files to {data};"
        " its values are written anew. Leave data= out, or use auto or copy"
      )
    compact = True
  index = source.index
  rewrite_plan.apply_plan(plan, index)
  sizes = check_sizes(index, shards)
  extras = extra_tensors(plan)
  counter = Counter(sum(sizes), progress)
  kept = used_shards(index) if compact else range(shards.num_shards)
  num_shards = len(kept) + bool(extras) + bool(plan.tensors)
  with open_bundle(target, num_shards, overwrite, dry_run) as bundle:
    if compact:
      index = _add_compacted(index, shards, bundle, counter)
      counter.advance(sum(sizes) - counter.done)
    else:
      for shard_id in kept:
        before = counter.done
        bundle.add_file(shards.path(shard_id), data, counter.advance)
        counter.advance(before + sizes[shard_id] - counter.done)
    add_extras(index, bundle, extras)
    if plan.tensors:
      from estimator_ckpt.bundle.new_tensors import add_tensors

      add_tensors(index, bundle, plan.tensors)
    bundle.commit(index)
    # As soon as the lock is released, another process may replace what was written.
    written = bundle.data_bytes
  return CheckpointReport(
    (source.prefix,),
    target,
    (source_format,),
    plan,
    written,
    tuple(bundle.placed),
    tuple(bundle.cleaned),
    bundle.bytes_by,
  )


def open_bundle(
  target: str, num_shards: int, overwrite: bool, dry_run: bool
) -> BundleWriter | BundleRehearsal:
  """Opens a new bundle: a writer, or for a dry run an object that counts bytes.

  Args:
    target: the prefix to write.
    num_shards: how many data files there will be.
    overwrite: whether a checkpoint that is there may be replaced.
    dry_run: whether nothing is to be written.
  """
  if not dry_run:
    return BundleWriter(target, num_shards, overwrite=overwrite)
  from estimator_ckpt.bundle.rehearsal import BundleRehearsal

  return BundleRehearsal(target, num_shards, overwrite=overwrite)


def _add_compacted(
  index: Index,
  shards: Shards,
  bundle: BundleWriter | BundleRehearsal,
  counter: Counter,
) -> Index:
  """Adds data files with only the bytes that an index points at; returns theirs."""
  from estimator_ckpt.bundle.compaction import compact_data

  if isinstance(bundle, BundleWriter):
    return compact_data(index, shards, bundle, counter.advance)
  return bundle.add_compacted(index)


class Counter:
  """Adds up the bytes that are done, for a progress callback."""

  def __init__(self, total: int, progress: Progress | None):
    self.done = 0
    self._total = total
    self._progress = progress

  def advance(self, count: int) -> None:
    """Says that so many more bytes are done."""
    self.done += count
    if self._progress is not None and count:
      self._progress(self.done, self._total)


def extra_tensors(plan: RewritePlan) -> Mapping[str, tuple[int, bytes, int]]:
  """New tensors: type, bytes and checksum."""
  extras = {}
  if plan.object_graph is not None:
    data, crc = strings.encode([plan.object_graph.serialize()])
    extras[layout_lib.OBJECT_GRAPH_KEY] = (dtypes.STRING, data, crc)
  for key, value in plan.scalars.items():
    data = value.to_bytes(8, "little", signed=True)
    extras[key] = (dtypes.INT64, data, checksum.mask(checksum.crc32c(data)))
  return extras


def add_extras(
  index: Index,
  bundle: BundleWriter | BundleRehearsal,
  extras: Mapping[str, tuple[int, bytes, int]],
) -> None:
  """Writes new scalars into a data file of their own, and adds them to the index."""
  if not extras:
    return
  entries = {}
  offset = 0
  shard_id = len(bundle.placed)
  with bundle.add_stream() as file:
    for key, (dtype, data, crc) in extras.items():
      file.write(data)
      entries[key] = BundleEntry(
        dtype=dtype,
        shape=(),
        shard_id=shard_id,
        offset=offset,
        size=len(data),
        crc32c=crc,
      )
      offset += len(data)
  for key, entry in entries.items():
    index.put(key, entry)


def _without_aliases(left_out: Mapping[str, str]) -> list[str]:
  """What was left out, a line each; a name and its key below `var_list/` share one."""
  lines = []
  for key, why in left_out.items():
    parsed = layout_lib.parse_object_key(key)
    path = parsed.path if parsed is not None else ()
    if not (len(path) == 2 and path[0] == layout_lib.VAR_LIST and path[1] in left_out):
      lines.append(f"{key} ({why})")
  return lines


def _listed(title: str, items: Sequence[str]) -> list[str]:
  if not items:
    return []
  lines = [f"  {title} ({len(items)}):"]
  lines += [f"    {line}" for line in errors.shorten(items)]
  return lines
