"""One process that saves many times, and the resources that it holds."""

from __future__ import annotations

import fnmatch
import gc
import os
import re
from typing import Any, NamedTuple

import tensorflow as tf

from tests.nothing_lost import jobs

v1 = tf.compat.v1


class Held(NamedTuple):
  """The resources of a process.

  Attributes:
    saves: number of saves so far.
    kilobytes: of resident memory.
    files: open file descriptors.
    threads: threads.
    nodes: ops of the graph.
    objects: Python objects that the collector knows.
  """

  saves: int
  kilobytes: int
  files: int
  threads: int
  nodes: int
  objects: int


def held(saves: int, graph: Any) -> Held:
  """Looks at this process."""
  # TensorFlow's glob uses fnmatch, which caches up to 32,768 patterns: no leak.
  fnmatch._compile_pattern.cache_clear()
  re.purge()
  gc.collect()
  with open("/proc/self/statm", encoding="ascii") as file:
    pages = int(file.read().split()[1])
  return Held(
    saves,
    pages * os.sysconf("SC_PAGE_SIZE") // 1024,
    len(os.listdir("/proc/self/fd")),
    len(os.listdir("/proc/self/task")),
    len(graph.get_operations()),
    len(gc.get_objects()),
  )


class _Look(tf.estimator.SessionRunHook):
  def __init__(self, every: int):
    self._every = every
    self.seen: list[Held] = []
    self._runs = 0

  def after_run(self, run_context: Any, run_values: Any) -> None:
    self._runs += 1
    if self._runs % self._every == 0:
      # A save that is being written holds objects of its own.
      for saver in run_context.session.graph.get_collection("savers"):
        getattr(saver, "wait_until_finished", lambda: None)()
      self.seen.append(held(self._runs, run_context.session.graph))


def save_many_times(
  model_dir: str, checkpoint_format: str | None, saves: int, looks: int
) -> list[Held]:
  """Trains with an Estimator that saves after every step.

  Args:
    model_dir: the directory to save in.
    checkpoint_format: a format of `jobs`; None for stock TensorFlow.
    saves: number of steps.
    looks: number of measurements, at equal distances.

  Returns:
    The measurements.
  """
  look = _Look(saves // looks)
  job = jobs.estimator(model_dir, checkpoint_format, save_steps=1)
  job.train(jobs.input_fn, hooks=[look], max_steps=saves)
  return look.seen
