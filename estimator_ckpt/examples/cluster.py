r"""A parameter-server cluster on one machine, training the digits.

  ./bazelw run //estimator_ckpt/examples:cluster
  ./bazelw run //estimator_ckpt/examples:cluster -- --num_ps=3 --model_dir=cluster_model

Starts a chief, workers, parameter servers and an evaluator as processes of their own,
each with its TF_CONFIG, as a scheduler would on several machines. Variables are spread
over the servers, the embedding is partitioned over all of them, and each server writes
its part of every checkpoint; the chief adds the index. Ends with who wrote what.
"""

from __future__ import annotations

# Before TensorFlow is imported, which reads its log level once.
from estimator_ckpt.examples import screen  # isort: skip

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from absl import app, flags

import estimator_ckpt as eckpt
from estimator_ckpt import flags as checkpoint_flags
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.examples import digits

FLAGS = flags.FLAGS
flags.DEFINE_integer("num_ps", 2, "Parameter servers.", lower_bound=1)
flags.DEFINE_integer("num_workers", 2, "Workers beside the chief.", lower_bound=0)
flags.DEFINE_integer("train_steps", 600, "Train up to this global step.", lower_bound=1)
flags.DEFINE_integer("batch_size", 64, "Examples in a batch.", lower_bound=1)
flags.DEFINE_float("learning_rate", 0.003, "Adam's learning rate.", lower_bound=0.0)
flags.DEFINE_integer(
  "timeout_secs", 300, "End the cluster if it has not finished by then.", lower_bound=1
)
checkpoint_flags.define_checkpoint_flags()
checkpoint_flags.define_run_config_flags()

_LEVELS = 17  # A pixel is one of 17 shades.
_DEPTH = 4


@checkpoint_flags.checkpointing_from_flags()
def model_fn(
  features: dict[str, tf.Tensor], labels: tf.Tensor, mode: str, params: Any
) -> tf.estimator.EstimatorSpec:
  """The digits' model behind an embedding that is partitioned over the servers."""
  shades = tf.cast(tf.round(features["image"] * (_LEVELS - 1)), tf.int64)
  table = tf.compat.v1.get_variable(
    "shade_embedding",
    [_LEVELS, _DEPTH],
    partitioner=tf.compat.v1.fixed_size_partitioner(params["num_ps"]),
  )
  embedded = tf.nn.embedding_lookup(table, shades)
  image = tf.reshape(embedded, [-1, 64 * _DEPTH])
  return digits.model_fn({"image": image}, labels, mode, params)


def run_task() -> None:
  """Runs one task of the cluster; TF_CONFIG says which."""
  screen.hide_deprecations()
  train, test = digits.load()
  estimator = tf.estimator.Estimator(
    model_fn,
    config=checkpoint_flags.run_config_from_flags(
      tf_random_seed=1,
      save_checkpoints_steps=FLAGS.save_checkpoints_steps or 100,
      # By default each worker starts 5 s after the one before; training takes as long.
      experimental_max_worker_delay_secs=0,
    ),
    params={"learning_rate": FLAGS.learning_rate, "num_ps": FLAGS.num_ps},
  )
  tf.estimator.train_and_evaluate(
    estimator,
    tf.estimator.TrainSpec(
      digits.input_fn(train, FLAGS.batch_size, training=True),
      max_steps=FLAGS.train_steps,
    ),
    tf.estimator.EvalSpec(
      digits.input_fn(test, 360, training=False),
      steps=None,
      start_delay_secs=0,
      throttle_secs=1,
    ),
  )
  number = eckpt.stopped_by_signal()
  if number:
    sys.exit(128 + number)


def free_ports(count: int) -> list[int]:
  """Ports on loopback that nobody listens on."""
  sockets = [socket.socket() for _ in range(count)]
  try:
    for each in sockets:
      each.bind(("127.0.0.1", 0))
    return [each.getsockname()[1] for each in sockets]
  finally:
    for each in sockets:
      each.close()


def tf_configs(num_ps: int, num_workers: int) -> dict[str, dict[str, Any]]:
  """The TF_CONFIG of each task of a cluster on loopback, by its name, chief first.

  Args:
    num_ps: how many parameter servers.
    num_workers: how many workers beside the chief.

  Returns:
    Values for TF_CONFIG; the evaluator is not part of the cluster's addresses.
  """
  counts = {"chief": 1, "worker": num_workers, "ps": num_ps}
  ports = iter(free_ports(sum(counts.values())))
  cluster = {
    job: [f"127.0.0.1:{next(ports)}" for _ in range(count)]
    for job, count in counts.items()
    if count
  }
  tasks = [(job, index) for job, count in counts.items() for index in range(count)]
  return {
    f"{job}/{index}": {"cluster": cluster, "task": {"type": job, "index": index}}
    for job, index in [*tasks, ("evaluator", 0)]
  }


def _follow(name: str, process: subprocess.Popen[str]) -> threading.Thread:
  """Prints the output of a process, each line behind the task's name."""

  def follow() -> None:
    assert process.stdout is not None
    for line in process.stdout:
      print(f"{name:>12} | {line}", end="", flush=True)

  thread = threading.Thread(target=follow, daemon=True)
  thread.start()
  return thread


def run_cluster(
  configs: dict[str, dict[str, Any]], command: Sequence[str], timeout_secs: float
) -> int:
  """Runs a process for each TF_CONFIG until all but the servers have ended.

  Args:
    configs: as `tf_configs` returns them.
    command: what to run.
    timeout_secs: how long it may take.

  Returns:
    Zero, or the exit code of the first that failed; the others are ended then.
  """
  processes: dict[str, subprocess.Popen[str]] = {}
  threads = []
  deadline = time.monotonic() + timeout_secs
  try:
    for name, config in configs.items():
      processes[name] = subprocess.Popen(
        command,
        env={
          **os.environ,
          # For `python -m`, whose sys.path begins with the directory it is run in.
          "PYTHONPATH": os.pathsep.join(sys.path),
          "TF_CONFIG": json.dumps(config),
          "TF_CPP_MIN_LOG_LEVEL": "2",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
      )
      threads.append(_follow(name, processes[name]))
    while True:
      codes = {name: process.poll() for name, process in processes.items()}
      failed = {name: code for name, code in codes.items() if code}
      if failed:
        name, code = next(iter(failed.items()))
        print(f"{name} ended with {code}; so the others are ended.", file=sys.stderr)
        return code
      if all(code == 0 for name, code in codes.items() if not name.startswith("ps/")):
        return 0
      if time.monotonic() > deadline:
        print(
          f"The cluster did not finish within {timeout_secs:g} s; --timeout_secs "
          "gives it longer.",
          file=sys.stderr,
        )
        return 1
      time.sleep(0.1)
  finally:
    # Servers never end by themselves. Only processes that were started here are ended.
    for process in processes.values():
      process.terminate()
    for process in processes.values():
      try:
        process.wait(10)
      except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for thread in threads:
      thread.join(1)


def writers(prefix: str) -> tuple[dict[int, str], str]:
  """Finds which tasks wrote a checkpoint, by the devices in the graph stored beside it.

  Args:
    prefix: the checkpoint.

  Returns:
    The task of each data file, and that of the index.
  """
  meta_graph = tf.compat.v1.MetaGraphDef()
  with open(prefix + ".meta", "rb") as file:
    meta_graph.ParseFromString(file.read())
  nodes = {node.name: node for node in meta_graph.graph_def.node}
  shards = {}
  index = "chief/0"
  for node in nodes.values():
    if node.op == "ShardedFilename":
      shard = tf.make_ndarray(nodes[node.input[1]].attr["value"].tensor)
      shards[int(shard)] = _task(node.device)
    elif node.op == "MergeV2Checkpoints":
      index = _task(node.device)
  # TensorFlow's own merge is on the last server. Names beside object keys come after it.
  if eckpt.detect_format(prefix) is eckpt.CheckpointFormat.DUAL:
    index = "chief/0"
  return shards, index


def _task(device: str) -> str:
  spec = tf.DeviceSpec.from_string(device)
  return f"{spec.job}/{spec.task}"


def print_checkpoint(prefix: str, kept: bool = True) -> None:
  """Prints who wrote which file of a checkpoint, and what is in it.

  Args:
    prefix: the checkpoint.
    kept: whether it stays, so that its path is worth telling.
  """
  index = Index.read(prefix)
  tensors = [0] * index.header.num_shards
  places = set()
  for key in index.keys():
    parts = [entry for _, entry in index.slice_entries(key)] or [index.entry(key)]
    places |= {(entry.shard_id, entry.offset, entry.size) for entry in parts}
  for shard, _, _ in places:
    tensors[shard] += 1
  shards, index_writer = writers(prefix)
  rows = [
    # Where a checkpoint of more files was replaced, there are empty ones besides.
    (path, f"{tensors[shard]} tensors", shards.get(shard, "chief/0"))
    for shard, path in enumerate(index.data_paths(prefix))
  ]
  rows.append((prefix + ".index", f"{len(index)} keys", index_writer))
  rows.append((prefix + ".meta", "the graph", "chief/0"))
  state = os.path.join(os.path.dirname(prefix), "checkpoint")
  rows.append((state, "the latest", "chief/0"))
  shown = prefix if kept else os.path.basename(prefix)
  print(f"\n{shown} ({eckpt.detect_format(prefix).value})\n")
  print(f"{'file':40}{'bytes':>10}  {'what':14}written by")
  for path, what, writer in rows:
    print(f"{os.path.basename(path):40}{os.path.getsize(path):10,}  {what:14}{writer}")


def main(argv: Sequence[str]) -> None:
  """Starts the cluster, or is one task of it."""
  if len(argv) > 1:
    raise app.UsageError(f"Not understood: {' '.join(argv[1:])}")
  if "TF_CONFIG" in os.environ:
    run_task()
    return
  os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
  with contextlib.ExitStack() as stack:
    model_dir = os.path.abspath(
      FLAGS.model_dir
      or stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster_"))
    )
    command = [sys.executable, *sys.argv, f"--model_dir={model_dir}"]
    configs = tf_configs(FLAGS.num_ps, FLAGS.num_workers)
    code = run_cluster(configs, command, FLAGS.timeout_secs)
    if code:
      sys.exit(code)
    print_checkpoint(tf.train.latest_checkpoint(model_dir), kept=bool(FLAGS.model_dir))


if __name__ == "__main__":
  app.run(main)
