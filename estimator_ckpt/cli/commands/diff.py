"""`estimator-ckpt diff`: what differs between two checkpoints."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from estimator_ckpt.cli import arguments, terminal
from estimator_ckpt.cli.exit_statuses import FAILED, FINE, NO

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

  from estimator_ckpt.checkpoint.saved_tensor import SavedTensor
  from estimator_ckpt.files.diff import Comparison, Difference

HELP = "Compares two checkpoints of any formats: names, keys, types, shapes, values."
EXAMPLES = """\
estimator-ckpt diff model_dir/model.ckpt-100 model_dir/model.ckpt-200
estimator-ckpt diff before.ckpt after.ckpt --values
estimator-ckpt diff tf1.ckpt tf2.ckpt --values --rtol=1e-6
estimator-ckpt diff old_dir renamed_dir --name_map=old_net/:net/ --values
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  parser.add_argument(
    "a", metavar="A", help="a checkpoint; or Keras' .weights.h5 or .keras"
  )
  parser.add_argument("b", metavar="B", help="the other")
  parser.add_argument(
    "--values",
    action="store_true",
    help="compare contents: by the checksums in the indexes, and by value where these"
    " differ",
  )
  parser.add_argument(
    "--atol",
    metavar="X",
    type=float,
    default=0.0,
    help="with --values: numbers that differ by no more are equal",
  )
  parser.add_argument(
    "--rtol",
    metavar="X",
    type=float,
    default=0.0,
    help="with --values: added to --atol, times the number in B",
  )
  arguments.add_name_map(parser)
  parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
  """Prints what differs.

  Args:
    args: the parsed flags.

  Returns:
    The exit status: `NO` if something differs, `FAILED` if something cannot be read.
  """
  from estimator_ckpt.files.diff import diff

  values = args.values or args.atol > 0 or args.rtol > 0
  with terminal.ProgressBar("comparing") as bar:
    comparison = diff(
      args.a,
      args.b,
      name_map=args.name_map,
      values=values,
      atol=args.atol,
      rtol=args.rtol,
      progress=bar.update,
    )
  if args.json:
    terminal.print_json(_json(comparison))
  else:
    terminal.print_lines(_lines(comparison))
  if comparison.problems:
    return FAILED
  return FINE if comparison.equal else NO


def _lines(comparison: Comparison) -> Iterator[str]:
  yield f"A  {terminal.printable(comparison.a)}  ({comparison.format_a.value})"
  yield f"B  {terminal.printable(comparison.b)}  ({comparison.format_b.value})"
  yield ""
  valued = [d for d in comparison.differences if d.kind.value == "values"]
  others = [d for d in comparison.differences if d.kind.value != "values"]
  if others:
    columns = [
      terminal.Column("difference"),
      terminal.Column("name", elastic=True),
      terminal.Column("A", elastic=True),
      terminal.Column("B", elastic=True),
    ]
    yield from terminal.format_table(columns, map(_row, others), terminal.width())
    yield ""
  if valued:
    columns = [
      terminal.Column("other values", elastic=True),
      terminal.Column("shape", elastic=True),
      terminal.Column("changed", right=True),
      terminal.Column("by up to", right=True),
    ]
    rows = map(_value_row, valued)
    yield from terminal.format_table(columns, rows, terminal.width())
    yield ""
  for problem in comparison.problems:
    yield f"problem: {terminal.printable(problem)}"
  colour = "green" if comparison.equal else "yellow"
  first, *rest = _verdict(comparison).splitlines()
  yield from [terminal.style(first, colour), *rest]


def _verdict(comparison: Comparison) -> str:
  both = f"{terminal.plural(comparison.matched, 'tensor')} in both"
  if comparison.values_compared:
    what = "names, types, shapes and values"
    if comparison.by_checksum:
      what = "names, types, shapes and checksums of values"
    if comparison.bytes_read:
      both += f"; {terminal.human_bytes(comparison.bytes_read)} read"
  else:
    what = "names, types and shapes"
    both += "; values not compared (--values)"
  if comparison.equal:
    text = f"Equal in {what}. {both}."
    if comparison.by_checksum:
      count = terminal.plural(comparison.by_checksum, "tensor")
      text += (
        f"\nThe data of {count} was not read; verify compares it with its checksums."
      )
    return text
  return f"{terminal.plural(len(comparison.differences), 'difference')}. {both}."


def _row(difference: Difference) -> list[str]:
  a, b = difference.a, difference.b
  kind = difference.kind.value.replace(" a", " A").replace(" b", " B")
  if kind == "key":
    return [kind, difference.name, _keys_text(a), _keys_text(b)]
  return [kind, difference.name, _type_text(a), _type_text(b)]


def _keys_text(tensor: SavedTensor | None) -> str:
  """The keys; on a terminal without the end that object keys share."""
  text = ", ".join(tensor.keys if tensor is not None else ())
  return text if terminal.width() is None else terminal.short_key(text)


def _type_text(tensor: SavedTensor | None) -> str:
  if tensor is None:
    return "-"
  return f"{tensor.dtype} {terminal.shape_text(tensor.shape)}"


def _value_row(difference: Difference) -> list[str]:
  a = difference.a
  assert a is not None
  changed = "?" if difference.changed is None else f"{difference.changed:,}"
  largest = "" if difference.largest is None else f"{difference.largest:.4g}"
  return [difference.name, terminal.shape_text(a.shape), changed, largest]


def _json(comparison: Comparison) -> dict[str, Any]:
  return {
    "a": comparison.a,
    "b": comparison.b,
    "format_a": comparison.format_a.value,
    "format_b": comparison.format_b.value,
    "equal": comparison.equal,
    "matched": comparison.matched,
    "values_compared": comparison.values_compared,
    "bytes_read": comparison.bytes_read,
    "equal_by_checksum": comparison.by_checksum,
    "problems": list(comparison.problems),
    "differences": [
      {
        "kind": difference.kind.value.replace(" ", "_"),
        "name": difference.name,
        "a": _tensor_json(difference.a),
        "b": _tensor_json(difference.b),
        "changed": difference.changed,
        "largest": difference.largest,
      }
      for difference in comparison.differences
    ],
  }


def _tensor_json(tensor: SavedTensor | None) -> dict[str, Any] | None:
  if tensor is None:
    return None
  return {
    "keys": list(tensor.keys),
    "dtype": tensor.dtype,
    "shape": list(tensor.shape),
    "bytes": tensor.size,
  }
