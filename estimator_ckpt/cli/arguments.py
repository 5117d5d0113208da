"""Arguments that several subcommands have, and the run of those that write."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable

from estimator_ckpt.cli import exit_statuses, terminal
from estimator_ckpt.errors import CheckpointError, CheckpointNotFoundError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:  # what a run needs is loaded when it runs
  from estimator_ckpt.files.rewrite import RewriteReport


def add_source_and_target(parser: argparse.ArgumentParser) -> None:
  """Adds the two paths of a command that rewrites checkpoints."""
  parser.add_argument(
    "source",
    metavar="SOURCE",
    help="a checkpoint; or a model_dir, for all checkpoints in it and its state file",
  )
  parser.add_argument(
    "target", metavar="DEST", nargs="?", help="the prefix to write, or a directory"
  )
  add_output(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
  """Adds -o, another way to give the destination."""
  parser.add_argument(
    "-o", "--output", metavar="DEST", help="the destination, in place of the last path"
  )


def target_of(args: argparse.Namespace) -> str:
  """The destination: the last path, or the value of -o.

  Args:
    args: the parsed flags.

  Raises:
    OptionError: there is none, or there are both.
  """
  if (args.target is None) == (args.output is None):
    found = "two destinations" if args.target else "no destination"
    raise OptionError(f"{found}; give it as the last path, or with -o")
  return args.target if args.output is None else args.output


def add_format(parser: argparse.ArgumentParser, required: bool, help_text: str) -> None:
  """Adds --to, the format to write.

  Args:
    parser: the command's parser.
    required: whether the flag has to be there.
    help_text: what the help says.
  """
  parser.add_argument(
    "--to", choices=("tf1", "tf2", "dual"), required=required, help=help_text
  )


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of every command that writes a checkpoint."""
  from estimator_ckpt.bundle.shards import PLACEMENTS

  parser.add_argument(
    "--data",
    choices=PLACEMENTS,
    default="auto",
    help="how data files get there; auto: link, else reflink, else copy",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace checkpoints that are there"
  )
  parser.add_argument(
    "--dry_run",
    action="store_true",
    help="write nothing; say what would be, and how many bytes would be linked, copied"
    " and written",
  )
  parser.add_argument("--json", action="store_true", help="print JSON")


def add_name_map(parser: argparse.ArgumentParser, required: bool = False) -> None:
  """Adds --name_map.

  Args:
    parser: the command's parser.
    required: whether the flag has to be there.
  """
  parser.add_argument(
    "--name_map",
    metavar="OLD:NEW|FILE",
    action="append",
    default=[],
    required=required,
    help="give variables other names: a name, a scope ending in '/', or a regular"
    " expression for the whole name, whose groups NEW may use as \\1; or a file with"
    " one such rule a line. May be repeated; the first rule that matches counts",
  )


def add_partition_strategy(parser: argparse.ArgumentParser) -> None:
  """Adds --partition_strategy."""
  parser.add_argument(
    "--partition_strategy",
    metavar="SCOPE=mod|div",
    action="append",
    default=[],
    help="how the partitioned embeddings of a scope of SOURCE were looked up; mod, TF1's"
    " default, has their rows put into the order of ids. May be repeated",
  )


def means_several(path: str, recursive: bool) -> bool:
  """Whether a path stands for several checkpoints or model_dirs.

  Args:
    path: as it was typed.
    recursive: whether all below it is meant.
  """
  if recursive or not any(sign in path for sign in "*?["):
    return recursive
  from estimator_ckpt.files.selection import is_pattern

  return is_pattern(path)


def with_recursive(
  error: CheckpointNotFoundError, args: argparse.Namespace
) -> CheckpointNotFoundError:
  """An error that says --recursive, if that would find checkpoints.

  Args:
    error: a checkpoint was not found.
    args: the parsed flags of a command that knows --recursive.
  """
  from estimator_ckpt.bundle import files, paths
  from estimator_ckpt.checkpoint import prefix

  directory = args.source if hasattr(args, "source") else args.paths[0]
  inner: list[str] = []
  with contextlib.suppress(CheckpointError):
    inner = [paths.join(directory, name) for name in sorted(files.list_dir(directory))]
  for path in inner:
    with contextlib.suppress(CheckpointError):
      prefix.resolve(path)
      return CheckpointNotFoundError(
        f"{error}; or add --recursive, for every model_dir below {directory}"
      )
  return error


def partition_strategy_of(args: argparse.Namespace) -> dict[str, str] | None:
  """The value of --partition_strategy as a dict.

  Args:
    args: the parsed flags.

  Raises:
    OptionError: a value is no SCOPE=STRATEGY.
  """
  found = {}
  for text in args.partition_strategy:
    scope, equals, strategy = text.rpartition("=")
    if not scope:
      raise OptionError(
        f"--partition_strategy={text}: that is no SCOPE=mod or SCOPE=div"
      )
    found[scope] = strategy
  return found or None


def write(
  args: argparse.Namespace, label: str, writer: Callable[..., RewriteReport]
) -> int:
  """Writes checkpoints as the flags say, and prints what was done.

  Args:
    args: the parsed flags, those of `add_flags` among them.
    label: what the progress bar says.
    writer: a function of `files` whose other arguments have been given. It gets `data`,
      `overwrite`, `dry_run` and `progress`.

  Returns:
    The exit status, `FINE`.
  """
  with terminal.ProgressBar(label) as bar:
    report = writer(
      data=args.data,
      overwrite=args.overwrite,
      dry_run=args.dry_run,
      progress=bar.update,
    )
  if args.json:
    terminal.print_json(report.as_dict())
  else:
    for line in str(report).splitlines():
      print("\n".join(terminal.wrap(terminal.printable(line))))
  return exit_statuses.FINE
