"""`estimator-ckpt inspect`: what a checkpoint is and what it holds."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence

from estimator_ckpt.bundle.paths import as_directory
from estimator_ckpt.cli import terminal
from estimator_ckpt.cli.exit_statuses import FAILED, FINE
from estimator_ckpt.errors import CheckpointError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

  from estimator_ckpt.checkpoint.model_dir import ModelDir
  from estimator_ckpt.checkpoint.saved_tensor import SavedTensor, SavedTensors
  from estimator_ckpt.files.best_directories import BestDirectory
  from estimator_ckpt.files.size_tree import Branch
  from estimator_ckpt.files.summary import CheckpointSummary
  from estimator_ckpt.files.tensor_values import Value, ValueSummary


HELP = "Shows what a checkpoint is and what it holds: names, shapes, sizes, objects."
EXAMPLES = """\
estimator-ckpt inspect model_dir
estimator-ckpt inspect model_dir/model.ckpt-300 --filter=kernel --sort=size
estimator-ckpt inspect model_dir --tree --depth=2
estimator-ckpt inspect model_dir --values --filter='moving_(mean|variance)'
estimator-ckpt inspect model_dir --json | jq '.tensors[].name'
"""

_FORMATS = {
  "tf1": "name-based (TF1)",
  "tf2": "object-based (TF2)",
  "dual": "dual: by name (TF1) and by object (TF2)",
  "weights.h5": "weights of Keras (HDF5)",
  "keras": "a model of Keras (.keras), its weights",
}
_KINDS = {
  "variable": "variables",
  "slot": "optimizer slots",
  "non_slot": "other optimizer state",
  "moving_average": "moving averages",
  "other": "other state",
}
# What --kind takes, and the kinds of `RoleKind` that it means.
_KIND_FLAGS = {
  "weights": ("variable",),
  "slots": ("slot",),
  "averages": ("moving_average",),
  "optimizer": ("slot", "non_slot"),
  "other": ("global_step", "other"),
}
_LABEL_WIDTH = 22


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  parser.add_argument(
    "path", metavar="PATH", help="the checkpoint; or Keras' .weights.h5 or .keras"
  )
  parser.add_argument(
    "--tree",
    action="store_true",
    help="show the object graph, or the scopes of a name-based checkpoint, with sizes",
  )
  parser.add_argument(
    "--depth", metavar="N", type=_positive, help="with --tree: show N levels"
  )
  parser.add_argument(
    "--filter",
    metavar="REGEX",
    default="",
    help="list only tensors with a name, key or object path that matches",
  )
  parser.add_argument(
    "--kind",
    action="append",
    choices=tuple(_KIND_FLAGS),
    help="list only tensors of this kind; may be repeated",
  )
  parser.add_argument(
    "--sort", choices=("name", "size"), default="name", help="by size: largest first"
  )
  parser.add_argument(
    "--values",
    action="store_true",
    help="read the tensors: minimum, maximum, mean, zeros, NaNs",
  )
  parser.add_argument("--json", action="store_true", help="print JSON")


def _positive(text: str) -> int:
  number = int(text)
  if number < 1:
    raise argparse.ArgumentTypeError("it has to be 1 or more")
  return number


def run(args: argparse.Namespace) -> int:
  """Prints what a checkpoint is and what it holds.

  Args:
    args: the parsed flags.

  Returns:
    The exit status: `FAILED` if tensors were to be read and some cannot be.

  Raises:
    OptionError: flags that do not go together, or a damaged expression.
  """
  from estimator_ckpt.checkpoint.model_dir import ModelDir
  from estimator_ckpt.files import weights_file
  from estimator_ckpt.files.summary import inspect_checkpoint

  if args.depth and not args.tree:
    raise OptionError("--depth is how many levels --tree shows; add --tree")
  if args.tree and args.values:
    raise OptionError("--tree shows sizes, and --values a table; choose one of them")
  pattern = _compile(args.filter)
  kinds = {kind for flag in args.kind or () for kind in _KIND_FLAGS[flag]}
  prefix = weights_file.resolve(args.path)
  is_weights = weights_file.is_weights_file(prefix)
  directory = None if is_weights else ModelDir.of(prefix)
  summary = inspect_checkpoint(prefix, directory.names if directory else None)
  best = _best(prefix, directory)
  rows = _rows(summary, pattern, kinds, args.sort)
  tensors = summary.tensors
  if not isinstance(rows, range):  # not all of them, or in another order
    tensors = tensors.take(rows)
  values: dict[str, ValueSummary] = {}
  if args.values:
    values, unreadable = _read_values(summary.prefix, tensors)
    problems = (*summary.problems, *unreadable)
    from estimator_ckpt import value_classes

    summary = value_classes.replace(summary, problems=problems)
  # What could not be read was not shown; `verify` says more.
  status = FAILED if args.values and summary.problems else FINE
  if args.json:
    described = summary.as_dict()
    described["best"] = [_best_json(place, prefix) for place in best]
    if args.tree:
      described["tree"] = _size_tree(summary, tensors).as_dict(_depth(args.depth))
    else:
      from estimator_ckpt.files.inspection import InspectedTensor

      described["tensors"] = [
        InspectedTensor.of_saved(
          tensor, summary.roles[row], values.get(tensor.key)
        ).as_dict()
        for tensor, row in zip(tensors, rows)
      ]
    terminal.print_json(described)
    return status
  terminal.print_lines(_heading(summary))
  terminal.print_lines(_directory_lines(args.path, prefix, directory, best))
  print()
  if args.filter or args.kind:
    size = terminal.human_bytes(sum(tensors.sizes))
    found = terminal.plural(len(rows), "tensor")
    asked = [f"with {terminal.printable(args.filter)}"] if args.filter else []
    asked += [f"of kind {' or '.join(args.kind)}"] if args.kind else []
    print(f"{found}, {size}, {' '.join(asked)}\n")
  if not rows:
    return status
  if args.tree:
    lines = _tree_table(summary, tensors, args.depth)
  elif args.values:
    lines = _value_table(tensors, values)
  else:
    lines = _table(summary, tensors)
  terminal.print_lines(lines)
  return status


def _compile(regex: str) -> re.Pattern[str]:
  try:
    return re.compile(regex)
  except re.error as error:
    raise OptionError(
      f"--filter={regex} is no regular expression: {error}. Put a backslash before a"
      " character that stands for itself."
    ) from None


def _rows(
  summary: CheckpointSummary, pattern: re.Pattern[str], kinds: set[str], sort: str
) -> Sequence[int]:
  """The places of the tensors that are asked for, in the order that they are shown in."""
  tensors = summary.tensors
  rows: Sequence[int] = range(len(tensors))
  if pattern.pattern:
    rows = [row for row, tensor in enumerate(tensors) if _matches(tensor, pattern)]
  if kinds:
    rows = [row for row in rows if summary.roles[row].kind.value in kinds]
  if sort == "size":
    sizes = tensors.sizes
    rows = sorted(rows, key=lambda row: (-sizes[row], tensors.names[row]))
  return rows


def _matches(tensor: SavedTensor, pattern: re.Pattern[str]) -> bool:
  texts = (tensor.name, *tensor.keys, *tensor.object_paths)
  return any(pattern.search(text) for text in texts)


def _heading(summary: CheckpointSummary) -> Iterator[str]:
  from estimator_ckpt.checkpoint.roles import GLOBAL_STEP

  def line(label: str, text: str) -> str:
    return label.ljust(_LABEL_WIDTH) + "  " + terminal.printable(text)

  yield line("checkpoint", summary.prefix)
  text = _FORMATS[str(summary.format.value)]
  if summary.is_v1:
    count = len(summary.data_files)
    text += f", in {'a file' if count == 1 else 'files'} of the old format V1"
  if summary.graph is not None:
    text += f", {terminal.plural(summary.graph.num_nodes, 'object')}"
  yield line("format", text)
  if summary.tensorflow_version:
    yield line("written by", f"TensorFlow {summary.tensorflow_version}")
  if summary.step is not None:
    of = "" if summary.step_key == GLOBAL_STEP else f" ({_step_name(summary)})"
    yield line("step", f"{summary.step}{of}")
  sizes = [file.size for file in summary.data_files if file.size is not None]
  text = terminal.plural(len(sizes), "file" if summary.is_v1 else "data file")
  text += f", {terminal.human_bytes(sum(sizes))}"
  missing = len(summary.data_files) - len(sizes)
  if missing:
    text += f"; {missing:,} " + terminal.style("MISSING", "red")
  cut = sum(file.is_cut for file in summary.data_files)
  if cut:
    text += f"; {cut:,} CUT"
  if summary.is_v1:
    text += "; no index"
  elif summary.index_size:
    text += f"; index {terminal.human_bytes(summary.index_size)}"
  yield line("files", text)
  totals: dict[str, tuple[int, int]] = {}
  for kind, total in summary.totals.items():
    label = _KINDS.get(kind.value, _KINDS["other"])
    count, size = totals.get(label, (0, 0))
    totals[label] = (count + total.tensors, size + total.size)
  for label, (count, size) in totals.items():
    text = f"{terminal.plural(count, 'tensor'):>14}  {terminal.human_bytes(size):>10}"
    yield line(label, text)
  for problem in summary.problems:
    yield from terminal.wrap(line("problem", problem), _LABEL_WIDTH + 2)


def _best(prefix: str, directory: ModelDir | None) -> list[BestDirectory]:
  """Where a checkpoint is among the best of its job."""
  from estimator_ckpt.files.best_directories import find_best_directories

  if directory is None:
    return []
  places, _ = find_best_directories(directory.path, directory.names)
  return [place for place in places if place.rank(prefix) is not None]


def _directory_lines(
  path: str, prefix: str, directory: ModelDir | None, best: Sequence[BestDirectory]
) -> Iterator[str]:
  """What the checkpoint's directory says of it, and has besides."""
  for place in best:
    rank = place.rank(prefix)
    assert rank is not None
    text = f"{rank} of {place.best.keep} by {place.best.metric} ({place.best.mode})"
    text += f" in {place.path}: {place.metrics_text(rank)}"
    yield from _labelled("best", text)
  if directory is not None and directory.path == as_directory(path):
    others = len(directory.checkpoints) - (prefix in directory.checkpoints)
    if others:
      count = terminal.plural(others, "other checkpoint")
      text = f"{count} in the directory: estimator-ckpt ls {path}"
      yield from _labelled("besides", text)


def _labelled(label: str, text: str) -> list[str]:
  line = label.ljust(_LABEL_WIDTH) + "  " + terminal.printable(text)
  return terminal.wrap(line, _LABEL_WIDTH + 2)


def _step_name(summary: CheckpointSummary) -> str:
  tensor = next(t for t in summary.tensors if t.key == summary.step_key)
  return tensor.object_paths[0] if tensor.object_paths else tensor.name


def _table(summary: CheckpointSummary, tensors: SavedTensors) -> Iterator[str]:
  from estimator_ckpt.bundle import dtypes
  from estimator_ckpt.checkpoint.listing import unexpected_paths

  wide = terminal.width()
  columns = [terminal.Column("name", elastic=True)]
  paths = unexpected_paths(tensors)
  has_paths = any(paths)
  if has_paths:
    columns.append(terminal.Column("object path", elastic=True))
  columns += [
    terminal.Column("dtype"),
    terminal.Column("shape", elastic=True),
    terminal.Column("bytes", right=True),
  ]
  has_shards = len(summary.data_files) > 1
  if has_shards:
    columns.append(terminal.Column("shard", right=True))
  is_broken = any(file.is_cut or file.size is None for file in summary.data_files)
  if is_broken:
    columns.append(terminal.Column("data"))
  # Column by column: 100,000 tensors have a few shapes and sizes.
  cells = [tensors.names]
  if has_paths:
    cells.append([_paths_text(unexpected, wide) for unexpected in paths])
  cells.append(_texts(dtypes.name, tensors.entries.dtypes))
  cells.append(_texts(terminal.shape_text, tensors.entries.shapes))
  cells.append(_texts(terminal.human_bytes, tensors.sizes))
  if has_shards:
    cells.append(_texts(_ranges, tensors.shards))
  if is_broken:
    cells.append([(summary.trouble(tensor) or "").upper() for tensor in tensors])
  if summary.graph is not None and not has_paths:
    yield "Each object path is the name itself, below var_list/ or nested by scope.\n"
  yield from terminal.format_columns(columns, cells, wide)


def _texts(say: Callable[[Any], str], values: Sequence[Any]) -> list[str]:
  """What a function says of each value; equal values are said once."""
  said = {value: say(value) for value in dict.fromkeys(values)}
  return [said[value] for value in values]


def _paths_text(paths: Sequence[str], wide: int | None) -> str:
  """In a pipe, all paths; on a terminal, the plainest and how many others there are."""
  if wide is None or len(paths) < 2:
    return ", ".join(paths)
  return f"{paths[0]} (+{len(paths) - 1})"


def _ranges(shards: Sequence[int]) -> str:
  """Shards' numbers: `0-2,5`.

  >>> _ranges((0, 1, 2, 5))
  '0-2,5'
  """
  if len(shards) == 1:
    return str(shards[0])
  runs: list[list[int]] = []
  for shard in shards:
    if runs and shard == runs[-1][1] + 1:
      runs[-1][1] = shard
    else:
      runs.append([shard, shard])
  return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _size_tree(summary: CheckpointSummary, tensors: SavedTensors) -> Branch:
  from estimator_ckpt.files import size_tree

  if summary.graph is None:
    return size_tree.scope_tree(tensors)
  return size_tree.object_tree(tensors, summary.graph)


def _depth(asked: int | None) -> int:
  from estimator_ckpt.files import size_tree

  return min(asked or size_tree.MAX_DEPTH, size_tree.MAX_DEPTH)


def _tree_table(
  summary: CheckpointSummary, tensors: SavedTensors, depth: int | None
) -> Iterator[str]:
  root = _size_tree(summary, tensors)
  columns = [
    terminal.Column("scope" if summary.graph is None else "object", elastic=True),
    terminal.Column("tensors", right=True),
    terminal.Column("bytes", right=True),
    terminal.Column("dtype"),
    terminal.Column("shape", elastic=True),
  ]
  cells = []
  # A filter asks for some tensors, and shows what holds those.
  is_whole = len(tensors) == len(summary.tensors)
  for level, branch in root.walk(_depth(depth), all_objects=is_whole):
    label = "  " * level + branch.label
    if branch.see:
      cells.append([f"{label} -> {branch.see}", "", "", "", ""])
      continue
    count = size = dtype = shape = ""
    if branch.tensors:
      count, size = f"{branch.tensors:,}", terminal.human_bytes(branch.size)
    if len(branch.own) == 1:
      (own,) = branch.own
      dtype, shape = own.dtype, terminal.shape_text(own.shape)
      count = count if branch.tensors > 1 else ""
    cells.append([label, count, size, dtype, shape])
  return terminal.format_table(columns, cells, terminal.width())


def _read_values(
  prefix: str, tensors: SavedTensors
) -> tuple[dict[str, ValueSummary], list[str]]:
  """Summaries of the tensors that have values, by key; and why others cannot be read."""
  from estimator_ckpt.bundle import dtypes
  from estimator_ckpt.files.tensor_values import summarize
  from estimator_ckpt.files.weights_file import open_tensors

  found = {}
  problems = []
  total = sum(tensors.sizes)
  with open_tensors(prefix) as reader:
    with terminal.ProgressBar("reading", total) as bar:
      for tensor in tensors:
        if tensor.entry.dtype not in (dtypes.VARIANT, dtypes.RESOURCE):
          try:
            found[tensor.key] = summarize(reader[tensor.key])
          except CheckpointError as error:
            problems.append(str(error))
        bar.advance(tensor.size)
  return found, problems


def _value_table(
  tensors: SavedTensors, values: dict[str, ValueSummary]
) -> Iterator[str]:
  columns = [
    terminal.Column("name", elastic=True),
    terminal.Column("shape", elastic=True),
    terminal.Column("min", right=True),
    terminal.Column("max", right=True),
    terminal.Column("mean", right=True),
    terminal.Column("zeros", right=True),
    terminal.Column("NaN", right=True),
  ]
  cells = []
  for tensor in tensors:
    row = [tensor.name, terminal.shape_text(tensor.shape)]
    value = values.get(tensor.key)
    if value is None:
      is_opaque = tensor.dtype in ("variant", "resource")
      row += [f"({tensor.dtype})" if is_opaque else "unreadable", "", "", "", ""]
    else:
      row += [_number(v) for v in (value.minimum, value.maximum, value.mean)]
      row += [f"{value.zeros:,}", f"{value.nans:,}"]
    cells.append(row)
  return terminal.format_table(columns, cells, terminal.width())


def _number(value: Value | None) -> str:
  if value is None:
    return "-"
  if isinstance(value, bytes):
    return terminal.elide(terminal.printable(repr(value)[1:]), 12)
  if isinstance(value, int) and abs(value) < 10**8:
    return str(value)
  return f"{value:.4g}"


def _best_json(place: BestDirectory, prefix: str) -> dict[str, Any]:
  rank = place.rank(prefix)
  assert rank is not None
  return {
    "path": place.path,
    "rank": rank,
    "metric": place.best.metric,
    "mode": place.best.mode,
    "metrics": dict(place.checkpoint(rank).metrics),
  }
