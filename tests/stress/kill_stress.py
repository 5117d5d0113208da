"""Kills a training job with SIGKILL at random times, in each format.

After each kill, the checkpoint that the state file names is whole, every value follows
from its step, and no more than one save interval of steps is lost, or two where training
goes on during a save.
"""

from __future__ import annotations

from typing import Any

from tests.nothing_lost import killing
from tests.stress import figures


def _run(*arguments: Any) -> tuple[object, ...]:
  done = killing.kill_again_and_again(*arguments)
  most_lost = f"{done.most_lost} of {killing.most_lost(done.checkpoint_format)}"
  return done.kills, done.during_start, done.steps, done.with_leftovers, most_lost


def main() -> None:
  """Runs the program."""
  titles = ("kills", "at start", "steps", "left files", "most lost")
  figures.show_each_format(__doc__, "kills", 300, titles, _run)


if __name__ == "__main__":
  main()
