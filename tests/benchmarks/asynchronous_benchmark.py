"""The time that a save costs training: the stock Saver against asynchronous=True.

  python -m tests.benchmarks.asynchronous_benchmark [--variables=200] [--megabytes=1024]
  python -m tests.benchmarks.asynchronous_benchmark --servers=2

One graph and one Session hold the variables with every saver; a step changes all of
them. The cost of a save is the time of the save and of the ten steps after it, minus
the time of ten steps without a save. The savers take turns, so that other load on the
machine affects them alike. The table shows the fastest save of each, and the median.

The row `snapshot` writes nothing: it takes a snapshot and drops it after one step. This
step copies every variable, since it changes all of them and the snapshot keeps their
values. No asynchronous save can cost less. With --threads=1 the step uses one core, and
the write has another one.

Prints the table and writes JSON. --plot draws the step times around a save as SVG.
With --servers, the variables are on parameter servers, processes on loopback, and each is
updated where it is; this process is the chief. docs/step_times.svg is from

  --megabytes=512 --rounds=8 --directory=ON_A_DISK --plot=docs/step_times.svg
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import tempfile
import time
from typing import Any, Callable

import tensorflow as tf

from estimator_ckpt.training import snapshot
from estimator_ckpt.training.saver import CheckpointSaver
from tests.cluster import clusters

v1 = tf.compat.v1
_STEPS = 10
_BEFORE = 4


def _build(
  count: int, megabytes: float, use_resource: bool, target: str, threads: int
) -> tuple[Any, Any]:
  """A session, and an op that changes all variables."""
  size = max(1, int(megabytes * 2**20 / 4 / count))
  step = v1.train.create_global_step()
  for i in range(count):
    v1.get_variable(
      f"layer_{i}/kernel",
      [size],
      initializer=v1.random_uniform_initializer(seed=i),
      use_resource=use_resource,
    )
  losses = []
  for variable in v1.trainable_variables():
    with tf.device(variable.device):
      losses.append(tf.reduce_sum(variable))
  train_op = v1.train.GradientDescentOptimizer(1e-3).minimize(
    tf.add_n(losses), step, colocate_gradients_with_ops=True
  )
  config = v1.ConfigProto(
    inter_op_parallelism_threads=threads, intra_op_parallelism_threads=threads
  )
  return v1.Session(target, config=config), train_op


def _snapshot() -> snapshot.Snapshot:
  """A snapshot of all variables."""
  written = []
  for variable in v1.global_variables():
    with tf.device(variable.device):
      value = variable.read_value()
    written.append(snapshot.WrittenTensor(variable.op.name, "", value))
  return snapshot.Snapshot([snapshot.WrittenShard("", written)])


Measured = tuple[float, float, list[float]]


def _times(each: list[Measured]) -> list[float]:
  """The median time of each step; the save belongs to the first."""
  with_save = [[saved + s[0], *s[1:]] for _, saved, s in each]
  return [statistics.median(step) for step in zip(*with_save)]


def run(
  count: int,
  megabytes: float,
  rounds: int,
  directory: str,
  use_resource: bool,
  threads: int,
  chief: clusters.ServedChief,
) -> dict[str, dict[str, Any]]:
  """Measures one size; returns rows by name.

  Args:
    count: number of variables, float32 and of equal size.
    megabytes: size of all variables together.
    rounds: number of saves by each saver.
    directory: where to write.
    use_resource: whether they are resource variables.
    threads: those of the training step; 0 is one for each core.
    chief: where the session runs, and where the variables are.

  Returns:
    For `stock`, `dual`, `asynchronous` and `snapshot`: the seconds lost (fastest and
    median), how much longer the longest step takes than a median step, the seconds of
    `save`, and the seconds until the checkpoint is complete. For `step`: the median
    seconds. `times` has the median seconds of each of the ten steps; that of the save
    is in the first.
  """
  with tf.Graph().as_default() as graph:
    with graph.device(chief.device):
      session, train_op = _build(count, megabytes, use_resource, chief.target, threads)
      alone = _snapshot()
    savers = {
      "stock": v1.train.Saver(sharded=True, save_relative_paths=True, max_to_keep=1),
      "dual": CheckpointSaver("dual", max_to_keep=1),
      "asynchronous": CheckpointSaver("dual", max_to_keep=1, asynchronous=True),
    }
    for name, saver in savers.items():
      saver.build()
      os.makedirs(os.path.join(directory, name))
    session.run(v1.global_variables_initializer())

    def steps(
      save: Callable[[], Any] = lambda: None, stepped: Callable[[], Any] = lambda: None
    ) -> Measured:
      start = time.perf_counter()
      save()
      saved = time.perf_counter()
      each = []
      for _ in range(_STEPS):
        before = time.perf_counter()
        session.run(train_op)
        stepped()
        each.append(time.perf_counter() - before)
      return time.perf_counter() - start, saved - start, each

    without: list[Measured] = []
    names = [*savers, "snapshot"]
    taken: dict[str, list[Measured]] = {name: [] for name in names}
    written: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
      for name in names if turn % 2 else names[::-1]:
        path = os.path.join(directory, name, "model.ckpt")
        started = time.perf_counter()
        if name == "snapshot":
          measured = steps(lambda: alone.take(session, {}), lambda: alone.drop(session))
        else:
          measured = steps(
            lambda name=name, path=path, turn=turn: savers[name].save(
              session, path, global_step=turn, write_meta_graph=False
            )
          )
        if name == "asynchronous":
          savers[name].wait_until_finished()
        if turn:  # The first turn only warms up.
          taken[name].append(measured)
          written[name].append(time.perf_counter() - started)
          without.append(steps())
    session.close()
  step = statistics.median(s for _, _, each in without for s in each)
  fastest = min(total for total, _, _ in without)
  median = statistics.median(total for total, _, _ in without)
  rows: dict[str, dict[str, Any]] = {
    name: {
      "lost": min(total for total, _, _ in each) - fastest,
      "lost_median": statistics.median(total for total, _, _ in each) - median,
      "longest_step": min(max(s) for _, _, s in each) - step,
      "save": min(saved for _, saved, _ in each),
      "written": min(written[name]),
      "times": _times(each),
    }
    for name, each in taken.items()
  }
  for row in rows.values():
    row["ratio"] = row["lost"] / rows["stock"]["lost"]
    row["median_ratio"] = row["lost_median"] / rows["stock"]["lost_median"]
  return {"step": {"seconds": step, "times": _times(without)}, **rows}


def _table(title: str, rows: dict[str, dict[str, Any]]) -> str:
  names = ("lost", "of stock", "median", "of stock", "save", "+ step", "on disk")
  lines = [
    f"{title}; a step takes {rows['step']['seconds'] * 1000:.0f} ms",
    " " * 13 + "".join(f"{name:>10}" for name in names),
  ]
  for name, row in rows.items():
    if name != "step":
      lines.append(
        f"{name:13}{row['lost'] * 1000:7.0f} ms{row['ratio']:10.2f}"
        f"{row['lost_median'] * 1000:7.0f} ms{row['median_ratio']:10.2f}"
        f"{row['save'] * 1000:7.0f} ms{row['longest_step'] * 1000:7.0f} ms"
        f"{row['written'] * 1000:7.0f} ms"
      )
  return "\n".join(lines)


def _plot(title: str, rows: dict[str, dict[str, Any]], path: str) -> None:
  """Draws the step times around a save, as SVG.

  Args:
    title: what was saved.
    rows: as `run` returns them.
    path: the file.
  """
  import matplotlib

  matplotlib.use("svg")
  # Text stays text, and the file is the same for the same figures.
  matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "step_times"})
  import matplotlib.pyplot as plt

  before = rows["step"]["times"][-_BEFORE:]
  numbers = range(-_BEFORE, _STEPS)
  figure, axes = plt.subplots(figsize=(7.2, 3.4), facecolor="white")
  for name, label, color in (
    ("stock", "stock Saver", "#b04a3a"),
    ("asynchronous", "dual, asynchronous=True", "#2b6ca3"),
  ):
    times = [1000 * seconds for seconds in (*before, *rows[name]["times"])]
    axes.plot(numbers, times, marker="o", markersize=4, color=color, label=label)
  axes.axvline(0, color="#999999", linewidth=0.8, linestyle=":")
  axes.set_ylim(bottom=0)
  axes.set_xticks(list(numbers))
  axes.set_xlabel("step; the save comes before step 0")
  axes.set_ylabel("milliseconds a step")
  axes.set_title(title, fontsize=10)
  axes.spines[["top", "right"]].set_visible(False)
  axes.legend(frameon=False)
  figure.tight_layout()
  figure.savefig(path, metadata={"Date": None, "Creator": None})


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--variables", type=int, default=200)
  parser.add_argument("--megabytes", type=float, default=1024)
  parser.add_argument("--rounds", type=int, default=12)
  parser.add_argument("--directory", help="where to write; a temporary one by default")
  parser.add_argument("--servers", type=int, default=0, help="parameter servers")
  parser.add_argument("--threads", type=int, default=0, help="of the training step")
  parser.add_argument("--reference", action="store_true", help="reference variables")
  parser.add_argument("--json", help="a file for the figures")
  parser.add_argument("--plot", help="an SVG file for the step times")
  arguments = parser.parse_args()
  directory = tempfile.mkdtemp(dir=arguments.directory)
  served: contextlib.AbstractContextManager[clusters.ServedChief]
  served = contextlib.nullcontext(clusters.ServedChief("", None))
  if arguments.servers:
    served = clusters.served_chief(directory, arguments.servers)
  try:
    with served as chief:
      rows = run(
        arguments.variables,
        arguments.megabytes,
        arguments.rounds,
        directory,
        not arguments.reference,
        arguments.threads,
        chief,
      )
  finally:
    shutil.rmtree(directory)
  title = f"{arguments.variables} variables, {arguments.megabytes:g} MB"
  if arguments.servers:
    title += f" on {arguments.servers} parameter servers"
  print(_table(title, rows))
  if arguments.plot:
    _plot(f"{title}; medians of {arguments.rounds} saves", rows, arguments.plot)
  if arguments.json:
    with open(arguments.json, "w", encoding="utf-8") as file:
      json.dump(rows, file, indent=2)


if __name__ == "__main__":
  main()
