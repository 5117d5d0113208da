"""Kills the chief of a cluster while it saves, and checks the files that are left."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import pickle
import random
import re
from typing import Any

import numpy as np
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models

_KILLED = re.compile(r"to be killed: ([\d.]+) of ([\d.]+)")
_SIGKILL = -9


def on_disk(model_dir: Any) -> dict[str, np.ndarray]:
  """The variables of the last checkpoint, by name."""
  values = models.named_values(model_dir)
  values.pop("save_counter", None)
  return values


@dataclasses.dataclass(frozen=True)
class Kill:
  """One kill: its moment, and the checkpoints before and after.

  Attributes:
    save: number of the save, from 1; the first is that of the step it began with.
    moment: seconds after the save began.
    of: seconds that a whole save took before.
    begun: the step the chief found.
    left: the step of the checkpoint that the state file names; -1 for none.
  """

  save: int
  moment: float
  of: float
  begun: int
  left: int


class ChiefKiller:
  """Kills the chief at a random moment of a save, again and again.

  The servers live on, so a save that they have begun may end after the chief has ended.
  The checkpoint that the state file then names has to be whole, and the next chief has
  to start from it.

  Args:
    cluster: a new cluster; this starts its tasks.
    model_dir: the model_dir.
    checkpoint_format: what is written.
    directory: where to put files of its own.
    seed: seed of the random moments.
    asynchronous: whether training goes on while the chief saves.
  """

  def __init__(
    self,
    cluster: Any,
    model_dir: pathlib.Path,
    checkpoint_format: str,
    directory: pathlib.Path,
    seed: int,
    asynchronous: bool = False,
  ):
    self._cluster = cluster
    self._model_dir = model_dir
    self._format = checkpoint_format
    self._started = directory / f"started-{checkpoint_format}"
    self._random = random.Random(seed)
    self._seconds = 0.05
    self._left: dict[str, np.ndarray] | None = None
    self._arguments = {
      "model_dir": str(model_dir),
      "checkpoint_format": checkpoint_format,
      "save_steps": 2,
      "options": {"asynchronous": asynchronous},
    }
    cluster.start_servers(steps=1, **self._arguments)

  def kill_once(self) -> Kill:
    """Starts a chief, kills it in a save, and checks the checkpoints before and after."""
    save = self._random.choice([1, 2, 3])
    with contextlib.suppress(FileNotFoundError):
      self._started.unlink()
    chief = self._cluster.start(
      "chief/0",
      "train_until_killed",
      number=save,
      fraction=self._random.uniform(0, 1.1),
      seconds=self._seconds,
      steps=10**6,
      started_path=str(self._started),
      **self._arguments,
    )
    assert chief.status() == _SIGKILL, chief.output
    found = _KILLED.search(chief.output)
    assert found is not None, chief.output
    moment, self._seconds = map(float, found.groups())
    begun = int(self._left["global_step"]) if self._left else 0
    if self._started.exists():
      [started] = pickle.loads(self._started.read_bytes())
      self._check_start(started)
    else:
      # The first save comes before any other hook has seen the session.
      assert save == 1
    return Kill(save, moment, self._seconds, begun, self._look())

  def finish(self) -> None:
    """Trains to the end, and checks the result too."""
    steps = 4 + max(self._look(), 0)
    chief = self._cluster.start("chief/0", steps=steps, **self._arguments)
    [started] = chief.wait()
    self._check_start(started)
    assert self._look() == steps
    left = [path.name for path in self._model_dir.glob("*.tmp-eckpt*")]
    assert not left, left

  def _check_start(self, started: dict[str, np.ndarray]) -> None:
    if self._left is None:
      assert started["global_step"] == 0
    else:
      models.assert_same_values(self._left, started)

  def _look(self) -> int:
    path = tf.train.latest_checkpoint(str(self._model_dir))
    if path is None:
      assert self._left is None
      return -1
    report = eckpt.verify(path)
    assert report.ok, report.findings
    assert eckpt.detect_format(path).value == self._format
    left = on_disk(self._model_dir)
    if self._left is not None:
      assert left["global_step"] >= self._left["global_step"]
    self._left = left
    return int(left["global_step"])
