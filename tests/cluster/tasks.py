"""What the tasks of a cluster do. Each function runs in a process of its own.

TF_CONFIG says which task of which cluster the process is, as a scheduler would.
"""

from __future__ import annotations

import json
import os
import pathlib
import pickle
import signal
import time
from typing import Any

import numpy as np
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models

v1 = tf.compat.v1
ROWS = 7


def model_fn(partitions: int, make_optimizer: Any = None) -> Any:
  """A model_fn with an embedding of 7 rows in some partitions, and Adam.

  Args:
    partitions: how many.
    make_optimizer: a function that makes another optimizer, and a hook for it.
  """

  def partitioned(features: Any, labels: Any, mode: str) -> Any:
    table = v1.get_variable(
      "embedding", [ROWS, 3], partitioner=v1.fixed_size_partitioner(partitions)
    )
    ids = tf.cast(tf.abs(features["x"][:, 0]) * (ROWS - 1), tf.int64)
    x = tf.concat([features["x"], tf.nn.embedding_lookup(table, ids)], axis=1)
    is_trained = mode == tf.estimator.ModeKeys.TRAIN
    # What is made after UPDATE_OPS depends on them; that includes SyncReplicasOptimizer's
    # init ops, so moving averages would move before training begins.
    y = models.network(x, is_trained and make_optimizer is None)
    if make_optimizer is None or not is_trained:
      return models.spec(mode, y, labels)
    optimizer, hook = make_optimizer()
    return models.spec(mode, y, labels, optimizer, training_hooks=[hook])

  return partitioned


def decorated(
  checkpoint_format: str | None,
  partitions: int,
  make_optimizer: Any = None,
  **options: Any,
) -> Any:
  """That model_fn with one line above it; for None without."""
  fn = model_fn(partitions, make_optimizer)
  if checkpoint_format is None:
    return fn
  return eckpt.checkpointing(checkpoint_format, **options)(fn)


class Start(tf.estimator.SessionRunHook):
  """Remembers every variable as each session found it, partitions put together.

  Args:
    path: a file to write `values` to each time, or none.

  Attributes:
    values: for each session, the variables by name.
  """

  def __init__(self, path: str | None = None) -> None:
    self._path = path
    self.values: list[dict[str, np.ndarray]] = []

  def after_create_session(self, session: Any, coord: Any) -> None:
    """Reads all of them, and says so."""
    named: dict[str, list[Any]] = {}
    for variable in v1.global_variables():
      info = variable._save_slice_info
      name = info.full_name if info else variable.op.name
      named.setdefault(name, []).append(variable)
    read = session.run(named)
    self.values.append(
      {
        name: np.concatenate(parts) if len(parts) > 1 else parts[0]
        for name, parts in read.items()
      }
    )
    if self._path is not None:
      pathlib.Path(self._path).write_bytes(pickle.dumps(self.values))
    print(f"session {len(self.values)} has started", flush=True)


class Slow(tf.estimator.SessionRunHook):
  """Sleeps after each step."""

  def __init__(self, seconds: float):
    self._seconds = seconds

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Sleeps."""
    time.sleep(self._seconds)


class Evaluations(tf.estimator.Exporter):
  """Remembers what was evaluated, and exports the last as a SavedModel.

  Attributes:
    found: metrics with the checkpoint's step, and `time` they were there.
  """

  name = "last"

  def __init__(self) -> None:
    self.found: list[dict[str, float]] = []

  def export(
    self,
    estimator: Any,
    export_path: str,
    checkpoint_path: str,
    eval_result: dict[str, Any],
    is_the_final_export: bool,
  ) -> Any:
    """Called by the evaluator after each evaluation."""
    self.found.append({k: float(v) for k, v in eval_result.items()})
    self.found[-1]["time"] = time.time()
    if not is_the_final_export:
      return None
    return estimator.export_saved_model(
      export_path, models.serving_input_fn, checkpoint_path=checkpoint_path
    )


def _poll_often() -> None:
  """A worker that finds no variables yet looks again after 1 s instead of 30."""
  original = v1.train.SessionManager.__init__

  def init(self: Any, *args: Any, **options: Any) -> None:
    original(self, *args, **{**options, "recovery_wait_secs": 1})

  v1.train.SessionManager.__init__ = init


def train(
  model_dir: str,
  checkpoint_format: str | None,
  steps: int,
  partitions: int = 2,
  save_steps: int | None = 5,
  seconds_a_step: float = 0,
  umask: int = 0o022,
  config: dict[str, Any] | None = None,
  options: dict[str, Any] | None = None,
  warm_start_from: str | None = None,
  evaluation: dict[str, Any] | None = None,
  started_path: str | None = None,
  extra_hooks: Any = None,
  saving_listener: Any = None,
  optimizer: Any = None,
  more_exporters: Any = (),
) -> list[Any]:
  """Trains up to a step, or serves, or evaluates, as TF_CONFIG says.

  Args:
    model_dir: the model_dir.
    checkpoint_format: what the model_fn is decorated with; None for nothing.
    steps: the last step.
    partitions: of the embedding.
    save_steps: as for RunConfig.
    seconds_a_step: how long to wait after each.
    umask: of the process; the files it makes show by their mode who made them.
    config: further arguments of RunConfig.
    options: of the decorator.
    warm_start_from: what the Estimator's own argument is to start from.
    evaluation: further arguments of EvalSpec.
    started_path: a file for what a session found, for a task that will be killed.
    extra_hooks: a function from the Estimator to hooks that are added.
    saving_listener: a CheckpointSaverListener.
    optimizer: a function that makes the optimizer, and a hook for it.
    more_exporters: of the EvalSpec.

  Returns:
    For a task that trains, the variables as each of its sessions found them; for the
    evaluator, what it found.
  """
  os.umask(umask)
  _poll_often()
  start = Start(started_path)
  evaluations = Evaluations()
  estimator = models.estimator(
    decorated(checkpoint_format, partitions, optimizer, **(options or {})),
    model_dir,
    save_steps,
    warm_start_from and eckpt.warm_start_settings(warm_start_from),
    # A worker would first wait, 5 s for each before it.
    experimental_max_worker_delay_secs=0,
    **(config or {}),
  )
  hooks = [start, Slow(seconds_a_step)]
  if extra_hooks is not None:
    hooks += extra_hooks(estimator)
  tf.estimator.train_and_evaluate(
    estimator,
    tf.estimator.TrainSpec(
      models.input_fn,
      max_steps=steps,
      hooks=hooks,
      saving_listeners=[saving_listener] if saving_listener is not None else None,
    ),
    tf.estimator.EvalSpec(
      models.eval_input_fn,
      exporters=[evaluations, *more_exporters],
      **(evaluation or {}),
    ),
  )
  return start.values or evaluations.found


def train_keeping_best(mode: str, keep: int, **arguments: Any) -> list[Any]:
  """`train`, with the best checkpoints kept.

  Args:
    mode: of the exporter, which looks at the loss.
    keep: of the exporter.
    **arguments: of `train`.
  """
  exporter = eckpt.BestCheckpointExporter("loss", mode, keep)
  return train(more_exporters=[exporter], **arguments)


def train_synchronously(**arguments: Any) -> list[Any]:
  """`train` with SyncReplicasOptimizer over the chief and one worker."""

  def optimizer() -> tuple[Any, Any]:
    # Adam decays the slots of an embedding before it has the gradient; where the latter
    # is waited for, as here, what is saved would be a step half done.
    synchronous = v1.train.SyncReplicasOptimizer(
      v1.train.MomentumOptimizer(0.05, 0.9),
      replicas_to_aggregate=2,
      total_num_replicas=2,
    )
    is_chief = tf.estimator.RunConfig().is_chief
    return synchronous, synchronous.make_session_run_hook(is_chief, num_tokens=0)

  return train(optimizer=optimizer, **arguments)


def train_with_hooks(stop_at: int, last_step: int, **arguments: Any) -> list[Any]:
  """`train` with hooks that add variables, and with one that has a saver of its own.

  Args:
    stop_at: the step at which early stopping stops everybody, if it is reached.
    last_step: of the hook that stops when a checkpoint has this step.
    **arguments: of `train`.
  """

  def hooks(estimator: Any) -> list[Any]:
    os.makedirs(estimator.eval_dir(), exist_ok=True)

    def should_stop() -> bool:
      path = estimator.latest_checkpoint()
      return path is not None and int(path.rsplit("-", 1)[1]) >= stop_at

    experimental = tf.estimator.experimental
    return [
      experimental.make_early_stopping_hook(
        estimator, should_stop, run_every_secs=None, run_every_steps=1
      ),
      experimental.make_stop_at_checkpoint_step_hook(estimator, last_step, 1),
      tf.data.experimental.CheckpointInputPipelineHook(estimator),
    ]

  return train(extra_hooks=hooks, **arguments)


def serve() -> None:
  """A parameter server and nothing else."""
  config = json.loads(os.environ["TF_CONFIG"])
  task = config["task"]
  cluster = tf.train.ClusterSpec(config["cluster"])
  tf.distribute.Server(cluster, task["type"], task["index"]).join()


class _Killed(v1.train.CheckpointSaverListener):
  """Has its process killed by another one, at some moment of a save.

  Args:
    number: of the save, from 1.
    fraction: the moment, as a fraction of the time that the save before took.
    seconds: what a save took, for the first.
  """

  def __init__(self, number: int, fraction: float, seconds: float):
    self._left = number
    self._fraction = fraction
    self._seconds = seconds
    self._begun = 0.0
    reading, self._writing = os.pipe()
    parent = os.getpid()
    if os.fork() == 0:
      os.close(self._writing)
      told = os.read(reading, 100)
      if told:  # else the parent has ended
        time.sleep(float(told))
        os.kill(parent, signal.SIGKILL)
      os._exit(0)
    os.close(reading)

  def before_save(self, session: Any, global_step_value: int) -> None:
    """Gives the order, if it is this save."""
    self._left -= 1
    if self._left == 0:
      moment = self._fraction * self._seconds
      print(f"to be killed: {moment:.4f} of {self._seconds:.4f}", flush=True)
      os.write(self._writing, f"{moment:.6f}".encode())
    self._begun = time.monotonic()

  def after_save(self, session: Any, global_step_value: int) -> None:
    """Measures."""
    self._seconds = time.monotonic() - self._begun


def train_until_killed(
  number: int, fraction: float, seconds: float, **arguments: Any
) -> list[Any]:
  """`train`, until it is killed in its nth save.

  Args:
    number: see `_Killed`.
    fraction: see there.
    seconds: see there.
    **arguments: of `train`.
  """
  return train(saving_listener=_Killed(number, fraction, seconds), **arguments)


def follow(
  model_dir: str, checkpoint_format: str, last_step: int
) -> tuple[dict[int, int], list[str]]:
  """Reads whatever the state file names, again and again, as an evaluator might.

  Args:
    model_dir: where a cluster writes.
    checkpoint_format: what it writes.
    last_step: the step to end at.

  Returns:
    How often each step was read, and what was wrong.
  """
  looks: dict[int, int] = {}
  wrong: list[str] = []
  first = None
  while True:
    path = tf.train.latest_checkpoint(model_dir)
    if path is None:
      time.sleep(0.01)
      continue
    # What a job starts from may be of another format, until it is saved again.
    first = first or path
    try:
      # Data files of what was replaced are kept for a while, which is no error.
      report = eckpt.verify(path)
      found = [] if report.ok else [str(finding) for finding in report.findings]
      reader = tf.train.load_checkpoint(path)
      keys = reader.get_variable_to_shape_map()
      for key in keys:
        reader.get_tensor(key)
      if path != first and eckpt.detect_format(path).value != checkpoint_format:
        found.append(f"{sorted(keys)}")
    except (eckpt.CheckpointError, ValueError, tf.errors.OpError) as e:
      found = [repr(e)]
    state = tf.train.get_checkpoint_state(model_dir)
    if found and path in state.all_model_checkpoint_paths:
      wrong += [f"{path}: {each}" for each in found]
    step = int(path.rsplit("-", 1)[1])
    looks[step] = looks.get(step, 0) + 1
    if step >= last_step:
      return looks, wrong
