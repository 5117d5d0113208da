"""The directories in which `BestCheckpointExporter` keeps a job's best checkpoints.

Such a directory is a model_dir with a `best.json`; see
`estimator_ckpt.checkpoint.best_file`. It stands in the job's own model_dir, and is called
`best` unless the exporter was given another name.
"""

from __future__ import annotations

from collections.abc import Iterable

from estimator_ckpt import value_classes
from estimator_ckpt.bundle import files, paths
from estimator_ckpt.checkpoint import best_file
from estimator_ckpt.checkpoint.best_file import BestCheckpoint, BestCheckpoints
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.checkpoint.state_file import STATE_FILE
from estimator_ckpt.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

# What else often stands in a model_dir under a name without a dot.
_OTHERS = frozenset([STATE_FILE, "eval", "export"])


@value_classes.dataclass(frozen=True)
class BestDirectory:
  """A directory of best checkpoints.

  Attributes:
    path: where the directory is.
    best: the contents of `best.json`.
  """

  path: str
  best: BestCheckpoints

  @property
  def name(self) -> str:
    """The directory's own name."""
    return self.path.rpartition("/")[2]

  def rank(self, prefix: str) -> int | None:
    """Which of the best a checkpoint is, from 1; None where it is not among them.

    Args:
      prefix: a checkpoint of this directory, or the one that was linked into it, which
        has the same name.
    """
    name = prefix.rpartition("/")[2]
    names = self.best.names
    return names.index(name) + 1 if name in names else None

  def checkpoint(self, rank: int) -> BestCheckpoint:
    """The checkpoint of a rank, from 1."""
    return self.best.checkpoints[rank - 1]

  def metrics_text(self, rank: int, only_compared: bool = False) -> str:
    """The metrics of a checkpoint. The one that is compared stands first.

    Args:
      rank: which of the best it is, from 1.
      only_compared: whether to leave the others out.
    """
    metrics = dict(self.checkpoint(rank).metrics)
    # The step is among them, and stands elsewhere.
    metrics.pop(GLOBAL_STEP, None)
    compared = self.best.metric
    ordered = {compared: metrics.pop(compared, None)}
    if not only_compared:
      ordered.update(metrics)
    return ", ".join(
      f"{name} {'not finite' if value is None else f'{value:.6g}'}"
      for name, value in ordered.items()
    )

  def as_dict(self) -> dict[str, Any]:
    """The directory as lists, dicts, texts and numbers."""
    return {
      "path": self.path,
      "metric": self.best.metric,
      "mode": self.best.mode,
      "keep": self.best.keep,
      "checkpoints": [
        {"checkpoint": each.name, "step": each.step, "metrics": dict(each.metrics)}
        for each in self.best.checkpoints
      ],
    }


def find_best_directories(
  directory: str, names: Iterable[str]
) -> tuple[list[BestDirectory], list[str]]:
  """Finds the best checkpoints of a job.

  Args:
    directory: a model_dir, or a directory of best checkpoints.
    names: what is in it. A name with a dot is taken for a file's.

  Returns:
    The directory itself and those next below it that have a `best.json`; and what is
    wrong with such files, in words.

  Raises:
    CheckpointIOError: the file system refused.
  """
  names = sorted(names)
  places = [directory] if best_file.BEST_FILE in names else []
  for name in names:
    if "." not in name and name not in _OTHERS:
      below = paths.join(directory, name)
      if files.exists(paths.join(below, best_file.BEST_FILE)):
        places.append(below)
  found, problems = [], []
  for place in places:
    try:
      best = best_file.read_best(place)
    except CheckpointError as error:
      problems.append(str(error))
    else:
      if best is not None:
        found.append(BestDirectory(place, best))
  return found, problems
