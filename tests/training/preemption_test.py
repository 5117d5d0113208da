"""Training that a signal ends: what is saved, what stops, and which handlers are there."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.training import saver as saver_lib

v1 = tf.compat.v1
_SIGNALS = ("SIGUSR1",)


def _input_fn():
  return tf.data.Dataset.from_tensors(({"x": [0.0]}, [0.0])).repeat()


def _train_op():
  """Adds 1 to the step, and to a variable."""
  counted = v1.get_variable("counted", [], tf.int64, tf.zeros_initializer())
  step = v1.train.get_or_create_global_step()
  return tf.group(v1.assign_add(counted, 1), v1.assign_add(step, 1))


def _model_fn(features, labels, mode):
  return tf.estimator.EstimatorSpec(mode, loss=tf.constant(0.0), train_op=_train_op())


class _At(tf.estimator.SessionRunHook):
  """Signals this process in the hook's calls; counts steps.

  Args:
    step: after how many steps of this session; 0 for a signal before the first one.
    number: the signal.
  """

  def __init__(self, step=None, number=signal.SIGUSR1):
    self._step = step
    self._number = number
    self.steps = 0
    self.ended = False

  def after_create_session(self, session, coord):
    if self._step == 0:
      os.kill(os.getpid(), self._number)

  def after_run(self, run_context, run_values):
    self.steps += 1
    if self.steps == self._step:
      os.kill(os.getpid(), self._number)

  def end(self, session):
    self.ended = True


@pytest.fixture(autouse=True)
def default_handlers():
  """What a shell that starts tests in the background sets is not a user's default."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def handler():
  """The Python handler that was there before; it lists the signals it hears of."""
  heard = []

  def handle(number, frame):
    heard.append(number)

  before = signal.signal(signal.SIGUSR1, handle)
  yield heard
  found = signal.signal(signal.SIGUSR1, before)
  assert found is handle, "a handler was left behind"
  assert signal.set_wakeup_fd(-1) == -1


def _estimator(model_dir, model_fn=None, save_steps=100, **options):
  options = {"save_on_signals": _SIGNALS, **options}
  return tf.estimator.Estimator(
    eckpt.dual_checkpointing(**options)(model_fn or _model_fn),
    os.fspath(model_dir),
    tf.estimator.RunConfig(
      save_checkpoints_steps=save_steps,
      save_summary_steps=None,
      log_step_count_steps=None,
    ),
  )


def _saved(model_dir):
  """The step of the latest checkpoint, whose values must be those of one step."""
  with eckpt.open_checkpoint(os.fspath(model_dir)) as reader:
    step, counted = (reader[reader.names[n]] for n in ("global_step", "counted"))
  assert step == counted
  return step


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
@pytest.mark.parametrize("options", [{}, {"asynchronous": True}])
def test_an_estimator_saves_and_returns(tmp_path, handler, checkpoint_format, options):
  estimator = eckpt.with_checkpointing(
    tf.estimator.Estimator(_model_fn, os.fspath(tmp_path)),
    checkpoint_format,
    save_on_signals=_SIGNALS,
    **options,
  )
  hook = _At(step=7)
  assert estimator.train(_input_fn, hooks=[hook], max_steps=50) is estimator
  assert (hook.steps, hook.ended, _saved(tmp_path)) == (7, True, 7)
  assert eckpt.detect_format(tmp_path).value == checkpoint_format
  assert eckpt.stopped_by_signal() == signal.SIGUSR1
  assert handler == [signal.SIGUSR1]

  estimator.train(_input_fn, max_steps=10)
  assert _saved(tmp_path) == 10
  assert eckpt.stopped_by_signal() is None
  assert handler == [signal.SIGUSR1]


@pytest.mark.parametrize("options", [{}, {"asynchronous": True}])
@pytest.mark.parametrize("save_steps", [100, None])
def test_a_scaffold_alone_stops_its_session(tmp_path, options, save_steps):
  hook = _At(step=3)
  with tf.Graph().as_default():
    train_op = _train_op()
    with v1.train.MonitoredTrainingSession(
      checkpoint_dir=os.fspath(tmp_path),
      scaffold=eckpt.tf2_scaffold(save_on_signals=_SIGNALS, **options),
      hooks=(hook,),
      save_checkpoint_steps=save_steps,
      save_checkpoint_secs=None,
    ) as session:
      while not session.should_stop():
        session.run(train_op)
  assert (hook.steps, _saved(tmp_path)) == (3, 3)
  assert eckpt.stopped_by_signal() == signal.SIGUSR1


def test_a_list_of_hooks_stays_the_users(tmp_path):
  hooks = [_At(step=3)]
  for saved in (3, 8):
    with tf.Graph().as_default():
      train_op = _train_op()
      creator = v1.train.ChiefSessionCreator(
        eckpt.tf2_scaffold(save_on_signals=_SIGNALS), checkpoint_dir=os.fspath(tmp_path)
      )
      with v1.train.MonitoredSession(creator, hooks) as session:
        while not session.should_stop():
          session.run(train_op)
    assert (len(hooks), _saved(tmp_path)) == (1, saved)
    hooks[0] = _At(step=5)


def test_a_job_that_saves_nothing_saves_at_a_signal(tmp_path):
  estimator = _estimator(tmp_path, save_steps=None)
  estimator.train(_input_fn, max_steps=5)
  assert not tf.train.latest_checkpoint(os.fspath(tmp_path))
  estimator.train(_input_fn, hooks=[_At(step=0)], max_steps=50)
  assert not tf.train.latest_checkpoint(os.fspath(tmp_path))
  estimator.train(_input_fn, hooks=[_At(step=4)], max_steps=50)
  assert _saved(tmp_path) == 4


def test_a_signal_while_the_graph_is_built(tmp_path, handler):
  def model_fn(features, labels, mode):
    if mode == "train" and not handler and (tmp_path / "checkpoint").exists():
      os.kill(os.getpid(), signal.SIGUSR1)
    assert not handler
    return _model_fn(features, labels, mode)

  _estimator(tmp_path).train(_input_fn, max_steps=3)
  hook = _At()
  _estimator(tmp_path, model_fn).train(_input_fn, hooks=[hook], max_steps=50)
  assert (hook.steps, _saved(tmp_path)) == (0, 3)
  assert (eckpt.stopped_by_signal(), handler) == (signal.SIGUSR1, [signal.SIGUSR1])


def test_a_signal_while_variables_are_restored(tmp_path, monkeypatch):
  estimator = _estimator(tmp_path)
  estimator.train(_input_fn, max_steps=3)
  restore = saver_lib.CheckpointSaver.restore

  def interrupted(*arguments):
    os.kill(os.getpid(), signal.SIGUSR1)
    restore(*arguments)

  monkeypatch.setattr(saver_lib.CheckpointSaver, "restore", interrupted)
  hook = _At()
  estimator.train(_input_fn, hooks=[hook], max_steps=50)
  assert (hook.steps, _saved(tmp_path)) == (0, 3)
  assert eckpt.stopped_by_signal() == signal.SIGUSR1


class _Exports(tf.estimator.Exporter):
  name = "exports"

  def __init__(self):
    self.steps = []

  def export(
    self, estimator, export_path, checkpoint_path, eval_result, is_the_final_export
  ):
    self.steps.append(eval_result["global_step"])


@pytest.mark.parametrize("options", [{}, {"asynchronous": True}])
@pytest.mark.parametrize("during", ["evaluation", "training"])
def test_no_evaluation_goes_on(tmp_path, options, during):
  evaluation = _At(step=12 if during == "evaluation" else None)
  training = _At(step=25 if during == "training" else None)
  exports = _Exports()
  result = tf.estimator.train_and_evaluate(
    _estimator(tmp_path, save_steps=10, **options),
    tf.estimator.TrainSpec(_input_fn, max_steps=50, hooks=[training]),
    tf.estimator.EvalSpec(
      _input_fn, steps=10, hooks=[evaluation], throttle_secs=0, exporters=[exports]
    ),
  )
  if during == "evaluation":
    # The second evaluation ends after two of its ten batches, and tells nobody a metric.
    assert (evaluation.steps, exports.steps) == (12, [10])
    # It runs beside no step, but an asynchronous write may end when step 30 is due.
    assert 20 <= training.steps == _saved(tmp_path) <= 30
  else:
    # An asynchronous write of step 20 may not be over yet.
    assert exports.steps == (
      [10, 20] if not options else [10, 20][: len(exports.steps)]
    )
    assert evaluation.steps == 10 * len(exports.steps) > 0
    assert training.steps == _saved(tmp_path) == 25
  assert result[0]["global_step"] == exports.steps[-1]
  assert eckpt.stopped_by_signal() == signal.SIGUSR1


def test_an_evaluation_of_a_users_hook_is_whole(tmp_path):
  estimator = _estimator(tmp_path, save_steps=10)
  evaluation = _At(step=2)
  results = []

  class Evaluates(v1.train.CheckpointSaverListener):
    def after_save(self, session, step):
      results.append(estimator.evaluate(_input_fn, steps=5, hooks=[evaluation]))

  training = _At()
  estimator.train(
    _input_fn, hooks=[training], max_steps=50, saving_listeners=[Evaluates()]
  )
  # The save before the first step is evaluated, so the signal comes before all steps.
  assert (evaluation.steps, len(results), training.steps) == (5, 1, 0)
  assert eckpt.stopped_by_signal() == signal.SIGUSR1


def test_an_evaluation_by_itself_is_left_alone(tmp_path, handler):
  estimator = _estimator(tmp_path)
  estimator.train(_input_fn, max_steps=2)
  hook = _At(step=2)
  assert estimator.evaluate(_input_fn, steps=5, hooks=[hook])["global_step"] == 2
  assert (hook.steps, handler) == (5, [signal.SIGUSR1])
  assert eckpt.stopped_by_signal() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_default_handler_is_put_back_and_not_called(tmp_path, number):
  before = signal.getsignal(number)
  assert before in (signal.SIG_DFL, signal.default_int_handler)
  estimator = _estimator(tmp_path, save_on_signals=[number, "SIGUSR1"])
  estimator.train(_input_fn, hooks=[_At(4, number)], max_steps=50)
  assert _saved(tmp_path) == 4
  assert eckpt.stopped_by_signal() == number
  assert signal.getsignal(number) is before


def test_a_handler_that_exits_does_so_after_the_save(tmp_path):
  def leave(number, frame):
    raise SystemExit(number)

  signal.signal(signal.SIGUSR2, leave)
  try:
    estimator = _estimator(tmp_path, save_on_signals=["SIGUSR2"], asynchronous=True)
    with pytest.raises(SystemExit):
      estimator.train(_input_fn, hooks=[_At(4, signal.SIGUSR2)], max_steps=50)
    assert signal.getsignal(signal.SIGUSR2) is leave
  finally:
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
  assert _saved(tmp_path) == 4


def _fails(features, labels, mode):
  raise RuntimeError("no graph")


class _FailsAtStart(tf.estimator.SessionRunHook):
  def after_create_session(self, session, coord):
    raise RuntimeError("no session")


class _FailsLater(tf.estimator.SessionRunHook):
  def after_run(self, run_context, run_values):
    raise RuntimeError("no step")


@pytest.mark.parametrize("where", ["graph", "session", "step"])
def test_training_that_fails_leaves_signals_to_others(tmp_path, handler, where):
  estimator = _estimator(tmp_path, _fails if where == "graph" else None)
  hooks = {"session": [_FailsAtStart()], "step": [_FailsLater()]}.get(where, [])
  with pytest.raises(RuntimeError, match=f"no {where}"):
    estimator.train(_input_fn, hooks=hooks, max_steps=5)
  os.kill(os.getpid(), signal.SIGUSR1)
  assert handler == [signal.SIGUSR1]
  assert eckpt.stopped_by_signal() is None


def test_training_within_training_stops_with_it(tmp_path, handler):
  inner = _estimator(tmp_path / "inner", save_on_signals=["SIGUSR1", "SIGUSR2"])
  failing = _estimator(tmp_path / "failing", _fails)
  inside = _At(step=3, number=signal.SIGUSR2)

  class Trains(tf.estimator.SessionRunHook):
    def after_run(self, run_context, run_values):
      with pytest.raises(RuntimeError, match="no graph"):
        failing.train(_input_fn, max_steps=5)
      inner.train(_input_fn, hooks=[inside], max_steps=50)
      assert signal.getsignal(signal.SIGUSR2) != signal.SIG_DFL

  outside = _At()
  hooks = [Trains(), outside]
  _estimator(tmp_path / "outer").train(_input_fn, hooks=hooks, max_steps=50)
  assert (inside.steps, _saved(tmp_path / "inner")) == (3, 3)
  assert (outside.steps, _saved(tmp_path / "outer")) == (1, 1)
  assert eckpt.stopped_by_signal() == signal.SIGUSR2
  assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
  assert handler == []


def test_a_session_that_is_made_anew_goes_on_listening(tmp_path):
  class LosesItsSession(tf.estimator.SessionRunHook):
    lost = False

    def after_run(self, run_context, run_values):
      if not self.lost:
        self.lost = True
        raise tf.errors.AbortedError(None, None, "lost")

  counter = _At(step=6)
  _estimator(tmp_path, save_steps=1).train(
    _input_fn, hooks=[counter, LosesItsSession()], max_steps=50
  )
  assert eckpt.stopped_by_signal() == signal.SIGUSR1
  # The first step was saved before the session was lost.
  assert counter.steps == _saved(tmp_path) == 6


def test_a_forked_process_has_the_handlers_of_before(tmp_path, handler):
  class Forks(_At):
    def after_run(self, run_context, run_values):
      super().after_run(run_context, run_values)
      if self.steps == 2:
        pid = os.fork()
        if not pid:
          os.kill(os.getpid(), signal.SIGUSR1)
          os._exit(17 if handler == [signal.SIGUSR1] else 1)
        self.status = os.WEXITSTATUS(os.waitpid(pid, 0)[1])

  hook = Forks()
  _estimator(tmp_path).train(_input_fn, hooks=[hook], max_steps=5)
  assert (hook.status, hook.steps, handler) == (17, 5, [])
  assert eckpt.stopped_by_signal() is None


def test_a_wakeup_fd_of_others_hears_of_signals(tmp_path):
  receiver, sender = os.pipe()
  os.set_blocking(sender, False)
  assert signal.set_wakeup_fd(sender) == -1
  try:
    _estimator(tmp_path).train(_input_fn, hooks=[_At(step=2)], max_steps=50)
    assert os.read(receiver, 10) == bytes([signal.SIGUSR1])
  finally:
    assert signal.set_wakeup_fd(-1) == sender
    os.close(receiver)
    os.close(sender)


def test_training_on_another_thread_is_refused_before_it_begins(tmp_path):
  raised = []

  def train():
    try:
      _estimator(tmp_path).train(_input_fn, max_steps=5)
    except errors.OptionError as error:
      raised.append(str(error))

  thread = threading.Thread(target=train, name="trainer")
  thread.start()
  thread.join()
  assert len(raised) == 1 and "main thread" in raised[0] and "'trainer'" in raised[0]
  assert not tf.train.latest_checkpoint(os.fspath(tmp_path))


def test_a_signal_that_foreign_code_handles_is_refused(tmp_path, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setattr(signal, "getsignal", lambda number: None)
    with pytest.raises(errors.OptionError, match="not written in Python.*SIGUSR1"):
      _estimator(tmp_path).train(_input_fn, max_steps=5)
  assert not tf.train.latest_checkpoint(os.fspath(tmp_path))


@pytest.mark.parametrize(
  ("signals", "message"),
  [
    ("SIGTERM", r"save_on_signals=\('SIGTERM',\)"),
    (["SIGTREM"], "Did you mean 'SIGTERM'"),
    ([-1], "no signal -1"),
    (["SIGKILL"], "cannot save after SIGKILL"),
    ([signal.SIGSEGV], "cannot save after SIGSEGV"),
  ],
)
def test_signals_that_cannot_be_meant(signals, message):
  with pytest.raises(errors.OptionError, match=message):
    eckpt.checkpointing("dual", save_on_signals=signals)
  with tf.Graph().as_default(), pytest.raises(errors.OptionError, match=message):
    eckpt.tf1_scaffold(save_on_signals=signals)
