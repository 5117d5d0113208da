"""The file `best.json` of a directory that keeps the best checkpoints of a job.

`estimator_ckpt.BestCheckpointExporter` writes it into `model_dir/best`:

    {
     "metric": "loss",                    what is compared
     "mode": "min",                       which values are better: "min" or "max"
     "keep": 1,                           how many checkpoints are kept
     "checkpoints": [                     those that are, the best first
      {
       "checkpoint": "model.ckpt-300",    the prefix in the directory
       "step": 300,
       "metrics": {"loss": 0.25, "accuracy": 0.9}    null for NaN and the infinities
      }
     ],
     "unfinished": []                     prefixes that are being added or removed
    }
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from estimator_ckpt import value_classes
from estimator_ckpt.bundle import files
from estimator_ckpt.errors import CheckpointNotFoundError, CorruptCheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any, TypeAlias

Metrics: TypeAlias = "Mapping[str, float | None]"


BEST_FILE = "best.json"
MODES = ("min", "max")


@value_classes.dataclass(frozen=True)
class BestCheckpoint:
  """A checkpoint that is kept.

  Attributes:
    name: its prefix within the directory.
    step: the global step.
    metrics: what its evaluation found, by name; None for NaN and the infinities.
  """

  name: str
  step: int
  metrics: Metrics


@value_classes.dataclass(frozen=True)
class BestCheckpoints:
  """What `best.json` says.

  Attributes:
    metric: the name of the metric that is compared.
    mode: `min` or `max`: which of its values are better.
    keep: how many checkpoints are kept.
    checkpoints: those that are, the best first.
    unfinished: prefixes within the directory that were being added or removed when this
      was written. They are no checkpoints of it.
  """

  metric: str
  mode: str
  keep: int
  checkpoints: tuple[BestCheckpoint, ...] = ()
  unfinished: tuple[str, ...] = ()

  @property
  def names(self) -> tuple[str, ...]:
    """The prefixes of the checkpoints within the directory, the best first."""
    return tuple(checkpoint.name for checkpoint in self.checkpoints)

  def value(self, checkpoint: BestCheckpoint) -> float | None:
    """The metric that is compared, of a checkpoint; None where it has none."""
    return checkpoint.metrics.get(self.metric)

  def with_checkpoint(self, new: BestCheckpoint) -> BestCheckpoints:
    """What is kept when another checkpoint has been evaluated.

    Args:
      new: the checkpoint. It takes the place of one of the same name.

    Returns:
      The best `keep`. Of equal values, that of the earlier one is better. A checkpoint
      without the metric is worse than any with it, and a new one is not among them.

    >>> best = BestCheckpoints("loss", "min", keep=1)
    >>> for name, loss in [("a", 0.5), ("b", 0.25), ("c", 0.25), ("d", None)]:
    ...   best = best.with_checkpoint(BestCheckpoint(name, 1, {"loss": loss}))
    >>> best.names
    ('b',)
    """
    others = [each for each in self.checkpoints if each.name != new.name]
    if self.value(new) is not None:
      others.append(new)
    ranked = sorted(others, key=self._rank)
    return value_classes.replace(self, checkpoints=tuple(ranked[: self.keep]))

  def _rank(self, checkpoint: BestCheckpoint) -> tuple[bool, float]:
    value = self.value(checkpoint)
    if value is None:
      return True, 0.0
    return False, -value if self.mode == "max" else value


def metrics_of(result: Mapping[str, Any]) -> dict[str, float | None]:
  """The scalar numbers of an evaluation's result, as `best.json` has them.

  Args:
    result: what `Estimator.evaluate` returned.

  Returns:
    The numbers by name; None for NaN and the infinities. Texts, images and other
    summaries are left out.
  """
  found: dict[str, float | None] = {}
  for name, value in result.items():
    if isinstance(value, (bytes, str)) or getattr(value, "size", 1) != 1:
      continue
    try:
      number = float(value)
    except (TypeError, ValueError):
      continue
    found[name] = number if math.isfinite(number) else None
  return found


def read_best(directory: str) -> BestCheckpoints | None:
  """Reads the `best.json` of a directory.

  Args:
    directory: the directory, as `model_dir/best`.

  Returns:
    What it says; None without such a file.

  Raises:
    CorruptCheckpointError: the file is something else.
    CheckpointIOError: the file system refused.
  """
  import json

  path = _path(directory)
  try:
    data = files.read(path)
  except CheckpointNotFoundError:
    return None
  try:
    return _parse(json.loads(data))
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise CorruptCheckpointError(
      f"{path}: not a list of best checkpoints: {type(error).__name__}: {error}; remove"
      " it to begin a new one"
    ) from error


def write_best(directory: str, best: BestCheckpoints) -> None:
  """Writes the `best.json` of a directory; readers see the old file or the new one.

  Args:
    directory: where the best checkpoints are.
    best: what it is to say.

  Raises:
    CheckpointIOError: the file system refused.
  """
  said = {
    "metric": best.metric,
    "mode": best.mode,
    "keep": best.keep,
    "checkpoints": [
      {"checkpoint": each.name, "step": each.step, "metrics": dict(each.metrics)}
      for each in best.checkpoints
    ],
    "unfinished": list(best.unfinished),
  }
  import json  # not at the top: few directories have such a file

  text = json.dumps(said, indent=1, allow_nan=False) + "\n"
  files.write_atomic(_path(directory), text.encode())


def _path(directory: str) -> str:
  return f"{directory.rstrip('/')}/{BEST_FILE}"


def _parse(said: Any) -> BestCheckpoints:
  if said["mode"] not in MODES:
    raise ValueError(f"the mode {said['mode']!r}")
  checkpoints = [
    BestCheckpoint(
      _name(each["checkpoint"]),
      int(each["step"]),
      metrics_of({k: math.nan if v is None else v for k, v in each["metrics"].items()}),
    )
    for each in said["checkpoints"]
  ]
  unfinished = tuple(map(_name, said.get("unfinished", ())))
  return BestCheckpoints(
    str(said["metric"]), said["mode"], int(said["keep"]), tuple(checkpoints), unfinished
  )


def _name(name: Any) -> str:
  # A name leads to files that are removed; it is one of this directory.
  if not isinstance(name, str) or not name or "/" in name:
    raise ValueError(f"the prefix {name!r}")
  return name
