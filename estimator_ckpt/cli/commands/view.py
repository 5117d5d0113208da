"""`estimator-ckpt view`: a checkpoint as a page for a browser."""

from __future__ import annotations

import argparse
import os
import sys

from estimator_ckpt.cli import terminal
from estimator_ckpt.cli.exit_statuses import FAILED, FINE
from estimator_ckpt.errors import OptionError

HELP = "Shows a checkpoint, a model_dir or two checkpoints as a page in a browser."
EXAMPLES = """\
estimator-ckpt view model_dir
estimator-ckpt view model_dir/model.ckpt-300 --values
estimator-ckpt view model_dir/model.ckpt-100 model_dir/model.ckpt-300 --values
estimator-ckpt view model_dir/warm_start.json
estimator-ckpt view model_dir -o page.html
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  parser.add_argument(
    "path",
    metavar="PATH",
    help="a checkpoint; a model_dir, for a time line of all checkpoints in it; or a"
    " warm_start.json",
  )
  parser.add_argument(
    "other", metavar="PATH2", nargs="?", help="a second checkpoint, to compare with"
  )
  parser.add_argument(
    "-o",
    "--output",
    metavar="FILE",
    help="the page; by default a new file in a temporary directory, which is opened"
    " where there is a screen",
  )
  parser.add_argument(
    "--values",
    action="store_true",
    help="read the tensors: minimum, maximum, mean, NaNs, a histogram; for a model_dir"
    " how norms went from checkpoint to checkpoint; for two checkpoints how far they are"
    " from each other",
  )
  parser.add_argument("--no_open", action="store_true", help="open no browser")
  parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
  """Writes the page, and prints its path.

  Args:
    args: the parsed flags.

  Returns:
    The exit status: `FAILED` if tensors were to be read and some cannot be.

  Raises:
    OptionError: there is no name for the page.
    CheckpointExistsError: a file stands there that is no page.
  """
  from estimator_ckpt.files.page import document
  from estimator_ckpt.files.page.contents import contents

  if args.output == "":
    raise OptionError("-o is the page's file, such as -o page.html")
  if args.output is not None:
    # Before tensors are read.
    document.check_target(args.output)
  with terminal.ProgressBar("reading") as bar:
    shown = contents(args.path, args.other, values=args.values, progress=bar.update)
  page = document.render(shown.title, shown.as_dict())
  path = args.output
  if path is None:
    import tempfile

    path = os.path.join(tempfile.mkdtemp(prefix="estimator_ckpt_"), "page.html")
  document.write(path, page)
  if args.json:
    terminal.print_json(
      {
        "page": path,
        "bytes": len(page),
        "sections": list(shown.sections),
        "problems": list(shown.problems),
      }
    )
  else:
    print(terminal.printable(path))
    for problem in shown.problems:
      print("\n".join(terminal.wrap(f"problem: {terminal.printable(problem)}")))
  if args.output is None and not args.no_open and _has_screen():
    import pathlib
    import webbrowser

    webbrowser.open(pathlib.Path(path).as_uri())
  return FAILED if shown.problems and args.values else FINE


def _has_screen() -> bool:
  """Whether a browser can be opened where somebody sees it."""
  if sys.platform in ("darwin", "win32"):
    return True
  return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
