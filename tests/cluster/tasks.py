"""The tasks of a cluster. Each function runs in a process of its own.

TF_CONFIG says which task of which cluster the process is, as a scheduler would.
"""

from __future__ import annotations

import functools
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
from estimator_ckpt.training.snapshot import Snapshot
from tests import models

v1 = tf.compat.v1
ROWS = 7


def model_fn(partitions: int, make_optimizer: Any = None) -> Any:
  """A model_fn with an embedding of 7 rows in some partitions, and Adam.

  Args:
    partitions: number of partitions of the embedding.
    make_optimizer: a function that makes another optimizer, and its hook.
  """

  def partitioned(features: Any, labels: Any, mode: str) -> Any:
    table = v1.get_variable(
      "embedding", [ROWS, 3], partitioner=v1.fixed_size_partitioner(partitions)
    )
    ids = tf.cast(tf.abs(features["x"][:, 0]) * (ROWS - 1), tf.int64)
    # By "mod", the default of 1.15.5, the rows of an id depend on the number of parts.
    rows = v1.nn.embedding_lookup(table, ids, partition_strategy="div")
    x = tf.concat([features["x"], rows], axis=1)
    is_trained = mode == tf.estimator.ModeKeys.TRAIN
    # Ops made after UPDATE_OPS depend on them, including the init ops of
    # SyncReplicasOptimizer, so moving averages would change before training begins.
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
  """The model_fn, decorated for a format; undecorated for None."""
  fn = model_fn(partitions, make_optimizer)
  if checkpoint_format is None:
    return fn
  return eckpt.checkpointing(checkpoint_format, **options)(fn)


class Start(tf.estimator.SessionRunHook):
  """Remembers every variable as each session found it, with partitions joined.

  Args:
    path: a file that gets `values` each time, or None.

  Attributes:
    values: for each session, the variables by name.
  """

  def __init__(self, path: str | None = None) -> None:
    self._path = path
    self.values: list[dict[str, np.ndarray]] = []

  def after_create_session(self, session: Any, coord: Any) -> None:
    """Reads all variables, and writes them to `path`."""
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
      # The task may be killed at any time.
      written = pathlib.Path(self._path + ".new")
      written.write_bytes(pickle.dumps(self.values))
      written.replace(self._path)
    step = self.values[-1]["global_step"]
    print(f"session {len(self.values)} has started at step {step}", flush=True)


class Slow(tf.estimator.SessionRunHook):
  """Sleeps after each step."""

  def __init__(self, seconds: float):
    self._seconds = seconds

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Sleeps for the given time."""
    time.sleep(self._seconds)


class Evaluations(tf.estimator.Exporter):
  """Remembers the results of evaluations, and exports the last as a SavedModel.

  Attributes:
    found: metrics with the checkpoint's step; also `step_in_name`, the step of the
      checkpoint's name, and `time`, when they were ready.
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
    self.found[-1]["step_in_name"] = int(checkpoint_path.rsplit("-", 1)[1])
    self.found[-1]["time"] = time.time()
    if not is_the_final_export:
      return None
    return estimator.export_saved_model(
      export_path, models.serving_input_fn, checkpoint_path=checkpoint_path
    )


def _poll_often() -> None:
  """Lets a worker without variables poll every second instead of every 30 seconds."""
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
  """Trains up to a step, serves, or evaluates, as TF_CONFIG says.

  Args:
    model_dir: the model_dir.
    checkpoint_format: format of the decorator; None for no decorator.
    steps: the last step.
    partitions: number of partitions of the embedding.
    save_steps: as for RunConfig.
    seconds_a_step: seconds to sleep after each step.
    umask: umask of the process; the modes of files then show which process made them.
    config: further arguments of RunConfig.
    options: further arguments of the decorator.
    warm_start_from: source for the Estimator's own argument of this name.
    evaluation: further arguments of EvalSpec.
    started_path: a file for what a session found, for a task that will be killed.
    extra_hooks: a function from the Estimator to further hooks.
    saving_listener: a CheckpointSaverListener.
    optimizer: a function that makes the optimizer, and its hook.
    more_exporters: further exporters of the EvalSpec.

  Returns:
    For a training task, the variables as each of its sessions found them; for the
    evaluator, the results of its evaluations.
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
    # By default a worker first waits 5 s for each worker before it.
    experimental_max_worker_delay_secs=0,
    **(config or {}),
  )
  hooks = [start, Slow(seconds_a_step)]
  listening = {}
  if saving_listener is not None:
    listening["saving_listeners"] = [saving_listener]
    if "saving_listeners" not in tf.estimator.TrainSpec._fields:  # as in 1.15.5
      estimator.train = _listening(estimator.train, saving_listener)
      listening = {}
  if extra_hooks is not None:
    hooks += extra_hooks(estimator)
  tf.estimator.train_and_evaluate(
    estimator,
    tf.estimator.TrainSpec(
      models.input_fn,
      max_steps=steps,
      hooks=hooks,
      **listening,
    ),
    tf.estimator.EvalSpec(
      models.eval_input_fn,
      exporters=[evaluations, *more_exporters],
      **(evaluation or {}),
    ),
  )
  return start.values or evaluations.found


def _listening(train: Any, listener: Any) -> Any:
  """`Estimator.train` with a listener, whatever `train_and_evaluate` passes."""

  @functools.wraps(train)
  def listening(*args: Any, **kwargs: Any) -> Any:
    return train(*args, **{**kwargs, "saving_listeners": [listener]})

  return listening


def train_keeping_best(mode: str, keep: int, **arguments: Any) -> list[Any]:
  """Runs `train`, and keeps the best checkpoints.

  Args:
    mode: mode of the exporter, which compares the loss.
    keep: number of checkpoints that the exporter keeps.
    **arguments: further arguments of `train`.
  """
  exporter = eckpt.BestCheckpointExporter("loss", mode, keep)
  return train(more_exporters=[exporter], **arguments)


def train_until_signal(asynchronous: bool = False, **arguments: Any) -> int | None:
  """Trains, and saves and ends at SIGTERM; returns what signal came."""
  options = {"save_on_signals": ["SIGTERM"], "asynchronous": asynchronous}
  train(steps=10**6, options=options, **arguments)
  return eckpt.stopped_by_signal()


class _LastStep(tf.estimator.SessionRunHook):
  """Remembers the step that this task has ended last."""

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Reads it."""
    self.step = int(run_context.session.run(v1.train.get_global_step()))
    print(f"step {self.step}", flush=True)


def train_synchronously_until_signal(**arguments: Any) -> tuple[int | None, int]:
  """Runs `train_synchronously` until SIGTERM; returns the signal, and the last step."""
  last = _LastStep()
  train_synchronously(
    steps=10**6,
    options={"save_on_signals": ["SIGTERM"]},
    extra_hooks=lambda estimator: [last],
    **arguments,
  )
  return eckpt.stopped_by_signal(), last.step


def train_synchronously(**arguments: Any) -> list[Any]:
  """Runs `train` with SyncReplicasOptimizer over the chief and one worker."""

  def optimizer() -> tuple[Any, Any]:
    # Adam decays the slots of an embedding before its gradient arrives. Here the
    # optimizer waits for the gradient, so a save would see a step half done.
    synchronous = v1.train.SyncReplicasOptimizer(
      v1.train.MomentumOptimizer(0.05, 0.9),
      replicas_to_aggregate=2,
      total_num_replicas=2,
    )
    is_chief = tf.estimator.RunConfig().is_chief
    return synchronous, synchronous.make_session_run_hook(is_chief, num_tokens=0)

  return train(optimizer=optimizer, **arguments)


def train_with_hooks(stop_at: int, last_step: int, **arguments: Any) -> list[Any]:
  """Runs `train` with hooks that add variables, and one that has a Saver of its own.

  Args:
    stop_at: the step at which early stopping stops all tasks.
    last_step: the checkpoint's step at which the other hook stops the job.
    **arguments: further arguments of `train`.
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
  """Runs a parameter server and nothing else."""
  config = json.loads(os.environ["TF_CONFIG"])
  task = config["task"]
  cluster = tf.train.ClusterSpec(config["cluster"])
  tf.distribute.Server(cluster, task["type"], task["index"]).join()


class _Killed(v1.train.CheckpointSaverListener):
  """Has another process kill this one at a chosen moment of a save.

  Args:
    number: number of the save, from 1.
    fraction: the moment, as a fraction of the time of the save before.
    seconds: the assumed time of a save, if there was none before.
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
      if told:  # else the parent has already ended
        time.sleep(float(told))
        os.kill(parent, signal.SIGKILL)
      os._exit(0)
    os.close(reading)

  def before_save(self, session: Any, global_step_value: int) -> None:
    """Orders the kill, if this is the chosen save."""
    self._left -= 1
    if self._left == 0:
      moment = self._fraction * self._seconds
      print(f"to be killed: {moment:.4f} of {self._seconds:.4f}", flush=True)
      os.write(self._writing, f"{moment:.6f}".encode())
    self._begun = time.monotonic()

  def after_save(self, session: Any, global_step_value: int) -> None:
    """Measures the time of the save."""
    self._seconds = time.monotonic() - self._begun


def train_until_killed(
  number: int, fraction: float, seconds: float, **arguments: Any
) -> list[Any]:
  """Runs `train` until it is killed in its nth save.

  Args:
    number: as in `_Killed`.
    fraction: as in `_Killed`.
    seconds: as in `_Killed`.
    **arguments: further arguments of `train`.
  """
  return train(saving_listener=_Killed(number, fraction, seconds), **arguments)


def follow(
  model_dir: str, checkpoint_format: str, last_step: int
) -> tuple[dict[int, int], list[str]]:
  """Reads the state file's latest checkpoint again and again, as an evaluator might.

  Args:
    model_dir: the model_dir of a running cluster.
    checkpoint_format: the format that the cluster writes.
    last_step: the step to end at.

  Returns:
    The number of reads of each step, and the errors found.
  """
  looks: dict[int, int] = {}
  wrong: list[str] = []
  first = None
  while True:
    path = tf.train.latest_checkpoint(model_dir)
    if path is None:
      time.sleep(0.01)
      continue
    # The checkpoint that a job starts from may have another format until the next save.
    first = first or path
    try:
      # Data files of a replaced checkpoint stay for a while; this is no error.
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


def train_writing_late(held_step: int, **arguments: Any) -> list[Any]:
  """Runs `train`, and writes one snapshot a second after it was taken.

  Args:
    held_step: the snapshot's step.
    **arguments: further arguments of `train`.
  """
  write = Snapshot.write
  held: list[str] = []

  def write_late(taken: Snapshot, session: Any, prefix: str) -> None:
    if prefix.endswith(f"-{held_step}") and not held:
      held.append(prefix)
      print(f"holds the snapshot of step {held_step}", flush=True)
      time.sleep(1)
    write(taken, session, prefix)

  Snapshot.write = write_late  # type: ignore[method-assign]
  return train(**arguments)
