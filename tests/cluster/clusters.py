"""A cluster of processes on loopback, whose tasks are started one by one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from estimator_ckpt.examples import cluster
from tests.cluster import processes


class Cluster:
  """A cluster on loopback; its tasks are started one by one.

  Args:
    launcher: starts them.
    num_ps: parameter servers.
    num_workers: workers beside the chief.
  """

  def __init__(self, launcher: processes.Launcher, num_ps: int, num_workers: int):
    self._launcher = launcher
    self._configs = cluster.tf_configs(num_ps, num_workers)
    self.tasks: dict[str, processes.Task] = {}

  def start(
    self, name: str, function: str = "train", **arguments: Any
  ) -> processes.Task:
    """Starts a task, or starts it again.

    Args:
      name: `chief/0`, `ps/1`, `worker/0` or `evaluator/0`.
      function: of `tests.cluster.tasks`.
      **arguments: its arguments.
    """
    environ = {"TF_CONFIG": json.dumps(self._configs[name])}
    self.tasks[name] = self._launcher.start(
      name, f"tests.cluster.tasks:{function}", environ, **arguments
    )
    return self.tasks[name]

  def start_servers(self, **arguments: Any) -> list[processes.Task]:
    """Starts all parameter servers."""
    names = [name for name in self._configs if name.startswith("ps/")]
    return [self.start(name, **arguments) for name in names]

  def start_chief(self, **arguments: Any) -> processes.Task:
    """Starts the chief, and waits until it has its variables."""
    chief = self.start("chief/0", **arguments)
    chief.wait_for(lambda: "session 1 has started" in chief.output)
    return chief

  def stop(self) -> None:
    """Ends all that was started here."""
    for task in self.tasks.values():
      task.kill()


@dataclasses.dataclass(frozen=True)
class ServedChief:
  """This process as the chief of parameter servers.

  Attributes:
    target: of its sessions.
    device: a device function that spreads variables over the servers in turns.
  """

  target: str
  device: Any


@contextlib.contextmanager
def served_chief(directory: str, num_ps: int) -> Iterator[ServedChief]:
  """Starts parameter servers, of which this process is the chief.

  Args:
    directory: where the logs of the servers go.
    num_ps: parameter servers.
  """
  spec = cluster.tf_configs(num_ps, 0)["chief/0"]["cluster"]
  with processes.Launcher(pathlib.Path(directory)) as launcher:
    for i in range(num_ps):
      config = {"cluster": spec, "task": {"type": "ps", "index": i}}
      launcher.start(
        f"ps/{i}", "tests.cluster.tasks:serve", {"TF_CONFIG": json.dumps(config)}
      )
    chief = tf.distribute.Server(tf.train.ClusterSpec(spec), "chief", 0)
    setter = tf.compat.v1.train.replica_device_setter(
      worker_device="/job:chief", cluster=spec
    )
    yield ServedChief(chief.target, setter)
