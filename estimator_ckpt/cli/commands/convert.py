"""`estimator-ckpt convert`: name-based, object-based or dual; into Keras and back."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping, Sequence

from estimator_ckpt import errors
from estimator_ckpt.cli import arguments, exit_statuses

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

  from estimator_ckpt.files.several import Outcome

HELP = "Converts checkpoints between TF1 (names), TF2 (objects) and dual (both)."
EXAMPLES = """\
estimator-ckpt convert model_dir model_dir_dual --to=dual
estimator-ckpt convert model_dir/model.ckpt-300 out/model.ckpt-300 --to=tf2
estimator-ckpt convert keras/ckpt-7 tf1/ckpt-7 --to=tf1 --name_map=step:global_step
estimator-ckpt convert 'gs://bucket/**/model_dir' gs://bucket/dual --to=dual
estimator-ckpt convert old new --to=dual --name_map=old_net/:net/ --data=copy
estimator-ckpt convert model_dir keras --to=tf2 --optimizer=adam --keras=3 --like=untrained/ckpt
estimator-ckpt convert keras/ckpt-7 tf1/model.ckpt-7 --to=tf1 --like=old_model_dir
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  arguments.add_source_and_target(parser)
  parser.add_argument(
    "--recursive",
    action="store_true",
    help="convert every model_dir below SOURCE, to the same place below DEST. SOURCE may"
    " also be a pattern, as 'runs/*/model_dir' or 'runs/**'. What was done before is"
    " skipped, and one that fails does not stop the others",
  )
  add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that say how to convert."""
  from estimator_ckpt.checkpoint.layout import LAYOUTS

  arguments.add_format(parser, required=True, help_text="the format to write")
  parser.add_argument(
    "--layout",
    choices=tuple(LAYOUTS),
    default=next(iter(LAYOUTS)),
    help="where names of a TF1 checkpoint stand in its object graph: "
    + ", ".join(f"{name} ({where})" for name, where in LAYOUTS.items()),
  )
  arguments.add_name_map(parser)
  arguments.add_partition_strategy(parser)
  _add_keras_flags(parser)
  arguments.add_flags(parser)


def _add_keras_flags(parser: argparse.ArgumentParser) -> None:
  from estimator_ckpt.checkpoint.optimizers import CONVERTED

  keras = parser.add_argument_group(
    "Keras",
    "With one of the first three, weights and optimizer state become those of a\n"
    "Keras model and its optimizer; with --to=tf1 they come from one.",
  )
  keras.add_argument(
    "--keras",
    choices=("2-legacy", "2", "3"),
    help="whose optimizer; by default that of --like",
  )
  keras.add_argument(
    "--optimizer",
    metavar="NAME",
    help=f"{', '.join(kind.lower() for kind in CONVERTED)}, sgd, or none for the model"
    " alone; by default it is recognised by the variables' names",
  )
  keras.add_argument(
    "--like",
    metavar="CHECKPOINT",
    help="what tf.train.Checkpoint(model=..., optimizer=...) wrote for the Keras model,"
    " trained or not; with --to=tf1, a checkpoint of the TF1 code. Without it, the"
    " model's layers are attributes called as the scopes",
  )
  keras.add_argument(
    "--optimizer_setting",
    metavar="NAME=VALUE",
    action="append",
    default=[],
    help="what the Keras optimizer is made with and no checkpoint stores:"
    " learning_rate (momentum needs it), momentum, epsilon, beta_1, ...",
  )
  keras.add_argument(
    "--ignore",
    metavar="NAME|SCOPE/|REGEX",
    action="append",
    default=[],
    help="variables of SOURCE to leave out",
  )
  keras.add_argument(
    "--keep",
    metavar="NAME|SCOPE/|REGEX",
    action="append",
    default=[],
    help="variables that are to be as in --like",
  )
  keras.add_argument(
    "--iterations",
    metavar="N|global_step|beta_powers",
    help="how many steps the optimizer has made, or what says so",
  )
  keras.add_argument(
    "--forget_bias",
    type=float,
    metavar="X",
    help="what TF1's LSTM cells added to their forget gates, if not 1 (CuDNN's: 0)",
  )
  keras.add_argument(
    "--trainable",
    metavar="NAME",
    action="append",
    help="a trainable variable; once for each, in the order of the model's; by default"
    " as the .meta file beside SOURCE has them",
  )
  keras.add_argument(
    "--allow_approximate",
    action="store_true",
    help="take optimizer state also where it cannot mean the same",
  )


def run(args: argparse.Namespace) -> int:
  """Converts checkpoints, and prints what was done.

  Args:
    args: the parsed flags.

  Returns:
    The exit status.
  """
  from estimator_ckpt.files.convert import convert

  target = arguments.target_of(args)
  options = options_of(args)
  if arguments.means_several(args.source, args.recursive):
    return _convert_several(args, target, options)
  writer = functools.partial(convert, args.source, target, args.to, **options)
  return arguments.write(args, "converting", writer)


def options_of(args: argparse.Namespace) -> dict[str, Any]:
  """The arguments of the function `convert` that the flags of `add_options` say.

  Args:
    args: the parsed flags.

  Returns:
    By name; without those that every command has which writes.

  Raises:
    OptionError: flags do not go together.
  """
  return {
    "layout": args.layout,
    "name_map": args.name_map,
    "optimizer": args.optimizer,
    "keras": args.keras,
    "like": args.like,
    "keras_options": _keras_options(args),
    "partition_strategy": arguments.partition_strategy_of(args),
  }


def _convert_several(
  args: argparse.Namespace, target: str, options: dict[str, Any]
) -> int:
  from estimator_ckpt.cli import terminal
  from estimator_ckpt.files.conversions import convert_several
  from estimator_ckpt.files.selection import select

  selected = select(args.source, args.recursive)
  with terminal.ProgressBar("converting") as bar:
    outcomes = convert_several(
      selected,
      target,
      args.to,
      data=args.data,
      overwrite=args.overwrite,
      dry_run=args.dry_run,
      progress=bar.update,
      **options,
    )
  found = [outcome_json(outcome, args.dry_run) for outcome in outcomes]
  if args.json:
    terminal.print_json(several_json(found))
  else:
    print_several(found, [each.relative or each.path for each in selected])
  return several_status(found)


def several_json(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """What became of several conversions, for another program.

  Args:
    found: what `outcome_json` says of each.
  """
  return {"conversions": list(found), "counts": _counts(found)}


def several_status(found: Sequence[Mapping[str, Any]]) -> int:
  """The exit status of several conversions: `FAILED` if one failed.

  Args:
    found: what `outcome_json` says of each.
  """
  failed = any(each["error"] is not None for each in found)
  return exit_statuses.FAILED if failed else exit_statuses.FINE


def print_several(found: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
  """Prints a table of several conversions, and why some failed.

  Args:
    found: what `outcome_json` says of each.
    names: what the table calls each.
  """
  from estimator_ckpt.cli import terminal

  rows = []
  for name, each in zip(names, found):
    row = [name, each["result"], "", ""]
    if each["report"] is not None:
      checkpoints = each["report"]["checkpoints"]
      size = sum(checkpoint["data_bytes"] for checkpoint in checkpoints)
      row[2:] = [f"{len(checkpoints)}", terminal.human_bytes(size)]
    rows.append(row)
  columns = [
    terminal.Column("model_dir or checkpoint", elastic=True),
    terminal.Column("result"),
    terminal.Column("checkpoints", right=True),
    terminal.Column("data", right=True),
  ]
  terminal.print_lines(terminal.format_table(columns, rows, terminal.width()))
  print()
  for each in found:
    if each["error"] is not None:
      source, text = each["source"], each["error"]
      text = text if text.startswith(source) else f"{source}: {text}"
      for line in text.splitlines():
        terminal.print_lines(terminal.wrap(terminal.printable(line)))
  counts = _counts(found)
  print("; ".join(f"{count:,} {word}" for word, count in counts.items()) + ".")


def _counts(found: Sequence[Mapping[str, Any]]) -> dict[str, int]:
  words = [each["result"] for each in found]
  return {word: words.count(word) for word in dict.fromkeys(words)}


def _outcome(outcome: Outcome, dry_run: bool) -> str:
  if outcome.error is not None:
    return "failed"
  if outcome.result.report is None:
    return "done before"
  return "would be converted" if dry_run else "converted"


def outcome_json(outcome: Outcome, dry_run: bool) -> dict[str, Any]:
  """What became of one of several conversions, for another program.

  Args:
    outcome: an outcome of `convert_several`.
    dry_run: whether nothing was to be written.
  """
  report = outcome.result.report if outcome.result is not None else None
  return {
    "source": outcome.item.source,
    "target": outcome.item.target,
    "result": _outcome(outcome, dry_run),
    "error": None if outcome.error is None else str(outcome.error),
    "report": None if report is None else report.as_dict(),
  }


def _keras_options(args: argparse.Namespace) -> dict[str, Any]:
  """The options that only a conversion to or from Keras has, as far as given."""
  given = {
    "settings": dict(map(_setting, args.optimizer_setting)),
    "ignore": args.ignore,
    "keep": args.keep,
    "iterations": _number_or_text(args.iterations),
    "trainable": args.trainable,
    "allow_approximate": args.allow_approximate,
  }
  options = {name: value for name, value in given.items() if value}
  if args.forget_bias is not None:
    options["forget_bias"] = args.forget_bias
  if given["iterations"] == 0:
    options["iterations"] = 0
  if options and not (args.keras or args.optimizer or args.like):
    raise errors.OptionError(
      f"--{next(iter(options)).replace('settings', 'optimizer_setting')} is for a"
      " conversion to or from Keras; add --keras, --optimizer or --like"
    )
  return options


def _setting(text: str) -> tuple[str, float | bool]:
  name, equals, value = text.partition("=")
  if value.lower() in ("true", "false"):
    return name, value.lower() == "true"
  try:
    return name.strip(), float(value)
  except ValueError:
    raise errors.OptionError(
      f"--optimizer_setting={text}: that is no NAME=VALUE with a number or true or false"
    ) from None


def _number_or_text(text: str | None) -> int | str | None:
  if text is None:
    return None
  return int(text) if text.lstrip("-").isdigit() else text
