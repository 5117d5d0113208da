"""BestCheckpointExporter: what it keeps, and that the job's deletions do not matter."""

from __future__ import annotations

import json
import logging
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.bundle import copies, files
from estimator_ckpt.checkpoint import best_file, state_file
from estimator_ckpt.checkpoint.verify import verify
from tests import models, tensorflows

v1 = tf.compat.v1
_ALL = {
  "stock": lambda fn: fn,
  "tf1": eckpt.checkpointing("tf1"),
  "tf2": eckpt.tf2_checkpointing,
  "dual": eckpt.dual_checkpointing,
  "separate": eckpt.dual_checkpointing(separate=True),
}


def _names(directory):
  return sorted(n for n in os.listdir(directory) if n.endswith(".index"))


def _best(directory):
  return [
    (c.name, c.step, c.metrics["loss"])
    for c in best_file.read_best(str(directory)).checkpoints
  ]


class _Kept(tf.estimator.Exporter):
  """Copies the evaluated checkpoint, and keeps the results of the evaluation."""

  name = "kept"

  def __init__(self, directory):
    self._directory = directory
    self.found = {}

  def export(
    self, estimator, export_path, checkpoint_path, eval_result, is_the_final_export
  ):
    name = os.path.basename(checkpoint_path)
    self.found[name] = eval_result
    os.makedirs(self._directory, exist_ok=True)
    for path in tf.io.gfile.glob(checkpoint_path + ".*"):
      shutil.copy(path, self._directory)


def _train_and_evaluate(estimator, steps, *exporters):
  tf.estimator.train_and_evaluate(
    estimator,
    tf.estimator.TrainSpec(models.input_fn, max_steps=steps),
    tf.estimator.EvalSpec(
      models.eval_input_fn, exporters=list(exporters), throttle_secs=0
    ),
  )


@pytest.mark.parametrize("how", _ALL)
def test_the_best_of_a_job_is_kept_whole_and_is_a_model_dir(how, tmp_path):
  model_dir = tmp_path / "model"
  fn = _ALL[how](models.model_fn)
  estimator = models.estimator(fn, model_dir, keep_checkpoint_max=1)
  kept = _Kept(tmp_path / "copies")
  _train_and_evaluate(
    estimator, 20, eckpt.BestCheckpointExporter(mode="max", keep=2), kept
  )
  losses = {name: float(found["loss"]) for name, found in kept.found.items()}
  assert len(losses) == 4
  ranked = sorted(losses, key=losses.get, reverse=True)[:2]
  best = model_dir / "best"
  assert _best(best) == [
    (name, int(name.rsplit("-")[-1]), losses[name]) for name in ranked
  ]
  # The job has deleted its own; the kept ones have the values that were evaluated.
  assert _names(model_dir) == ["model.ckpt-20.index"]
  assert _names(best) == sorted(name + ".index" for name in ranked)
  for name in ranked:
    models.assert_same_values(
      models.values(best / name), models.values(tmp_path / "copies" / name)
    )
  report = verify(str(best))
  assert [f for f in report.findings if f.code != "state-not-latest"] == []
  # Such a checkpoint can be read, resumed, and used to warm-start another job.
  latest = str(best / ranked[0])
  assert tf.train.latest_checkpoint(str(best)) == latest
  shutil.copytree(best, tmp_path / "resumed")
  values = models.Values()
  resumed = models.estimator(fn, tmp_path / "resumed")
  evaluated = resumed.evaluate(models.eval_input_fn)
  assert evaluated["loss"] == pytest.approx(losses[ranked[0]])
  resumed.train(models.input_fn, hooks=[values], steps=1)
  expected = models.named_values(best / ranked[0])
  for name in ("net/hidden/kernel", "net/out/bias", "global_step"):
    np.testing.assert_array_equal(values.start[name], expected[name])
  begun = models.Values()
  warm = eckpt.dual_checkpointing(warm_start=eckpt.WarmStart(str(best)))
  models.estimator(warm(models.model_fn), tmp_path / "begun").train(
    models.input_fn, hooks=[begun], steps=1
  )
  np.testing.assert_array_equal(
    begun.start["net/hidden/kernel"], expected["net/hidden/kernel"]
  )


def test_data_is_linked_not_copied(tmp_path):
  estimator = models.estimator(eckpt.dual_checkpointing(models.model_fn), tmp_path)
  _train_and_evaluate(estimator, 5, eckpt.BestCheckpointExporter())
  data = "model.ckpt-5.data-00000-of-00001"
  assert os.path.samefile(tmp_path / data, tmp_path / "best" / data)
  meta = "model.ckpt-5.meta"
  assert os.path.samefile(tmp_path / meta, tmp_path / "best" / meta)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A model_dir with checkpoints of the steps 1 to 6."""
  directory = tmp_path_factory.mktemp("trained") / "model"
  models.estimator(
    eckpt.dual_checkpointing(models.model_fn), directory, 1, keep_checkpoint_max=0
  ).train(models.input_fn, steps=6)
  return directory


class _Job:
  """Calls an exporter as `train_and_evaluate` does, with given metrics."""

  def __init__(self, directory):
    self.model_dir = str(directory)
    self.best = str(directory / "best")

  def export(self, exporter, step, **metrics):
    return exporter.export(
      self,
      self.model_dir + "/export/best",
      f"{self.model_dir}/model.ckpt-{step}",
      {"global_step": np.int64(step), **metrics},
      False,
    )


@pytest.fixture
def job(trained, tmp_path):
  shutil.copytree(trained, tmp_path / "model")
  return _Job(tmp_path / "model")


def test_better_ones_displace_worse_ones(job):
  exporter = eckpt.BestCheckpointExporter(keep=2)
  assert job.export(exporter, 1, loss=0.5) == job.best + "/model.ckpt-1"
  assert job.export(exporter, 2, loss=0.6) == job.best + "/model.ckpt-2"
  assert job.export(exporter, 3, loss=0.7) is None
  assert job.export(exporter, 4, loss=0.1) == job.best + "/model.ckpt-4"
  assert job.export(exporter, 5, loss=0.5) is None  # The earlier of equals stays.
  assert [name for name, *_ in _best(job.best)] == ["model.ckpt-4", "model.ckpt-1"]
  assert _names(job.best) == ["model.ckpt-1.index", "model.ckpt-4.index"]
  state = state_file.read_state(job.best)
  assert state.model_checkpoint_path == job.best + "/model.ckpt-4"
  assert state.all_model_checkpoint_paths == (
    job.best + "/model.ckpt-1",
    job.best + "/model.ckpt-4",
  )
  names = sorted(os.listdir(job.best))
  assert names == sorted(
    ["best.json", "checkpoint"]
    + [
      f"model.ckpt-{step}{suffix}"
      for step in (1, 4)
      for suffix in (".index", ".data-00000-of-00001", ".meta")
    ]
  )


def test_a_restarted_job_goes_on_comparing(job):
  job.export(eckpt.BestCheckpointExporter(), 2, loss=0.2)
  assert job.export(eckpt.BestCheckpointExporter(), 3, loss=0.3) is None
  assert job.export(eckpt.BestCheckpointExporter(), 4, loss=0.1) is not None
  assert _best(job.best) == [("model.ckpt-4", 4, 0.1)]


def test_fewer_are_kept_when_told_so_and_another_metric_counts_anew(job):
  exporter = eckpt.BestCheckpointExporter(keep=3)
  for step, loss, accuracy in [(1, 0.1, 0.5), (2, 0.2, 0.9), (3, 0.3, 0.7)]:
    job.export(exporter, step, loss=loss, accuracy=accuracy)
  exporter = eckpt.BestCheckpointExporter("accuracy", "max", keep=2)
  job.export(exporter, 4, loss=9.0, accuracy=0.8)
  assert [name for name, *_ in _best(job.best)] == ["model.ckpt-2", "model.ckpt-4"]
  assert _names(job.best) == ["model.ckpt-2.index", "model.ckpt-4.index"]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_never_the_best(job, mode, value, caplog):
  exporter = eckpt.BestCheckpointExporter(mode=mode)
  with caplog.at_level(logging.WARNING):
    assert job.export(exporter, 1, loss=value) is None
  assert "not finite" in caplog.text
  assert not os.path.exists(job.best)
  job.export(exporter, 2, loss=0.5, accuracy=float("nan"))
  job.export(exporter, 3, loss=value)
  assert _best(job.best) == [("model.ckpt-2", 2, 0.5)]
  said = json.loads(open(job.best + "/best.json").read())
  assert said["checkpoints"][0]["metrics"]["accuracy"] is None


@pytest.mark.parametrize("lost", [".index", ".data-00000-of-00001"])
def test_an_evaluated_checkpoint_that_is_gone_is_one_warning(job, lost, caplog):
  exporter = eckpt.BestCheckpointExporter()
  job.export(exporter, 1, loss=0.5)
  before = sorted(os.listdir(job.best))
  os.remove(f"{job.model_dir}/model.ckpt-2{lost}")
  with caplog.at_level(logging.WARNING):
    assert job.export(exporter, 2, loss=0.1) is None
  warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
  assert len(warnings) == 1
  assert "model.ckpt-2" in warnings[0] and "keep_checkpoint_max" in warnings[0]
  assert _best(job.best) == [("model.ckpt-1", 1, 0.5)]
  assert sorted(os.listdir(job.best)) == before
  assert job.export(exporter, 3, loss=0.4) is not None
  assert verify(job.best).ok


def test_one_that_is_deleted_while_it_is_linked_leaves_nothing(job, monkeypatch):
  exporter = eckpt.BestCheckpointExporter()
  job.export(exporter, 1, loss=0.5)
  before = sorted(os.listdir(job.best))
  link = copies.hard_link

  def deleting(path, to):
    if path.endswith(".data-00000-of-00001"):
      os.remove(path)
    return link(path, to)

  monkeypatch.setattr(copies, "hard_link", deleting)
  assert job.export(exporter, 2, loss=0.1) is None
  assert sorted(os.listdir(job.best)) == before
  assert _best(job.best) == [("model.ckpt-1", 1, 0.5)]


def test_the_same_checkpoint_evaluated_again_is_ranked_anew(job):
  exporter = eckpt.BestCheckpointExporter(keep=2)
  job.export(exporter, 1, loss=0.5)
  job.export(exporter, 2, loss=0.6)
  inode = os.stat(job.best + "/model.ckpt-2.data-00000-of-00001").st_ino
  job.export(exporter, 2, loss=0.4)
  assert _best(job.best) == [("model.ckpt-2", 2, 0.4), ("model.ckpt-1", 1, 0.5)]
  assert os.stat(job.best + "/model.ckpt-2.data-00000-of-00001").st_ino == inode


def test_another_checkpoint_of_the_same_name_takes_its_place(job):
  exporter = eckpt.BestCheckpointExporter(keep=2)
  job.export(exporter, 1, loss=0.5)
  job.export(exporter, 2, loss=0.6)
  # The job was begun anew, so its second step has other values.
  other = {".index", ".data-00000-of-00001"}
  for suffix in other:
    os.remove(f"{job.model_dir}/model.ckpt-2{suffix}")
  eckpt.convert(
    job.model_dir + "/model.ckpt-5", job.model_dir + "/model.ckpt-2", "dual"
  )
  job.export(exporter, 2, loss=0.4)
  models.assert_same_values(
    models.values(job.best + "/model.ckpt-2"),
    models.values(job.model_dir + "/model.ckpt-5"),
  )
  assert verify(job.best).ok


class _Killed(BaseException):
  pass


def test_a_crash_at_any_write_leaves_a_whole_directory(job, monkeypatch):
  """Stops at the nth change of a file, for every n; a new process then goes on."""
  job.export(eckpt.BestCheckpointExporter(keep=2), 1, loss=0.5)
  job.export(eckpt.BestCheckpointExporter(keep=2), 2, loss=0.6)
  shutil.copytree(job.best, job.model_dir + "_start")
  for number in range(1, 100):
    shutil.rmtree(job.best)
    shutil.copytree(job.model_dir + "_start", job.best)
    left = [number]

    def count(original, left=left):
      def counted(*args, **kwargs):
        left[0] -= 1
        if left[0] <= 0:
          raise _Killed
        return original(*args, **kwargs)

      return counted

    with monkeypatch.context() as patch:
      for name in ("rename", "remove", "hard_link"):
        module = copies if name == "hard_link" else files
        patch.setattr(module, name, count(getattr(module, name)))
      try:
        job.export(eckpt.BestCheckpointExporter(keep=2), 3, loss=0.1)
        finished = True
      except _Killed:
        finished = False
    # A reader at this moment finds every named checkpoint whole.
    state = state_file.read_state(job.best)
    for prefix in state.all_model_checkpoint_paths[-1:]:
      assert verify(prefix).ok
    found = best_file.read_best(job.best)
    assert all(verify(f"{job.best}/{name}").ok for name in found.names)
    if finished:
      break
    # The next evaluation cleans up, whether or not it finds a better checkpoint.
    shutil.copytree(job.best, job.model_dir + "_killed")
    job.export(eckpt.BestCheckpointExporter(keep=2), 4, loss=9.0)
    names = [name for name, *_ in _best(job.best)]
    assert len(names) == 2 and best_file.read_best(job.best).unfinished == ()
    assert _names(job.best) == sorted(name + ".index" for name in names)
    state = state_file.read_state(job.best)
    assert [os.path.basename(p) for p in state.all_model_checkpoint_paths] == names[
      ::-1
    ]
    assert verify(job.best).findings == ()
    shutil.rmtree(job.best)
    os.rename(job.model_dir + "_killed", job.best)
    job.export(eckpt.BestCheckpointExporter(keep=2), 4, loss=0.05)
    names = {name for name, *_ in _best(job.best)}
    assert names == {"model.ckpt-4", "model.ckpt-3"} or names == {
      "model.ckpt-4",
      "model.ckpt-1",
    }
    assert _names(job.best) == sorted(name + ".index" for name in names)
    assert best_file.read_best(job.best).unfinished == ()
  assert finished and number > 8


def test_a_job_that_goes_on_in_the_directory_is_left_alone(job, caplog):
  job.export(eckpt.BestCheckpointExporter(), 1, loss=0.5)
  estimator = models.estimator(eckpt.dual_checkpointing(models.model_fn), job.best)
  estimator.train(models.input_fn, steps=5)
  before = sorted(os.listdir(job.best))
  exporter = eckpt.BestCheckpointExporter()
  with caplog.at_level(logging.WARNING):
    assert job.export(exporter, 2, loss=0.1) is None
    assert job.export(exporter, 3, loss=0.1) is None
  assert caplog.text.count("another job saves in this directory") == 1
  assert sorted(os.listdir(job.best)) == before
  assert tf.train.latest_checkpoint(job.best).endswith("model.ckpt-6")


def test_what_was_removed_by_hand_does_not_count(job):
  exporter = eckpt.BestCheckpointExporter()
  job.export(exporter, 1, loss=0.1)
  for name in os.listdir(job.best):
    if name.startswith("model.ckpt"):
      os.remove(f"{job.best}/{name}")
  assert job.export(exporter, 2, loss=0.5) is not None
  assert _best(job.best) == [("model.ckpt-2", 2, 0.5)]


def test_without_links_files_are_copied_and_it_says_so_once(job, monkeypatch, caplog):
  monkeypatch.setattr(copies, "hard_link", lambda path, to: False)
  monkeypatch.setattr(copies, "reflink", lambda path, to: False)
  exporter = eckpt.BestCheckpointExporter(keep=2)
  with caplog.at_level(logging.WARNING):
    job.export(exporter, 1, loss=0.5)
    job.export(exporter, 2, loss=0.4)
  assert caplog.text.count("has no links") == 1
  models.assert_same_values(
    models.values(job.best + "/model.ckpt-2"),
    models.values(job.model_dir + "/model.ckpt-2"),
  )


def test_checkpoints_of_the_format_v1_are_kept(tmp_path):
  def fn(features, labels, mode):
    made = models.model_fn(features, labels, mode)
    saver = v1.train.Saver(write_version=v1.train.SaverDef.V1)
    return made._replace(scaffold=v1.train.Scaffold(saver=saver))

  estimator = models.estimator(fn, tmp_path)
  exporter = eckpt.BestCheckpointExporter(mode="max")
  _train_and_evaluate(estimator, 10, exporter)
  ((name, step, loss),) = _best(tmp_path / "best")
  assert os.path.samefile(tmp_path / name, tmp_path / "best" / name)
  assert tf.train.latest_checkpoint(str(tmp_path / "best")).endswith(name)
  found = models.estimator(fn, tmp_path / "best").evaluate(models.eval_input_fn)
  assert (found["global_step"], found["loss"]) == (step, pytest.approx(loss))


@pytest.mark.parametrize("scheme", ["memory", "ram"])
def test_an_object_store(scheme, trained, tmp_path, caplog):
  pytest.importorskip("fsspec")
  root = f"{scheme}:/{tmp_path}/model"
  if scheme == "ram" and not tensorflows.has_file_system(root):
    pytest.skip(f"TensorFlow {tf.__version__} has no file system in memory")
  files.mkdirs(root)
  for path in trained.iterdir():
    if path.is_file() and ("ckpt-1." in path.name or "ckpt-2." in path.name):
      files.write_atomic(f"{root}/{path.name}", path.read_bytes())
  job = _Job.__new__(_Job)
  job.model_dir, job.best = root, root + "/best"
  exporter = eckpt.BestCheckpointExporter()
  with caplog.at_level(logging.WARNING):
    assert job.export(exporter, 1, loss=0.5) == root + "/best/model.ckpt-1"
    assert job.export(exporter, 2, loss=0.4) == root + "/best/model.ckpt-2"
  # fsspec's store can copy; TensorFlow's cannot, and a message says so once.
  assert caplog.text.count("through this machine") == (scheme == "ram")
  assert _best(job.best) == [("model.ckpt-2", 2, 0.4)]
  names = files.list_dir(job.best)
  assert [n for n in names if n.endswith(".index")] == ["model.ckpt-2.index"]
  with eckpt.open_checkpoint(job.best) as found:
    expected = models.values(trained / "model.ckpt-2")
    for key in found:
      if key != "_CHECKPOINTABLE_OBJECT_GRAPH":
        np.testing.assert_array_equal(found[key], expected[key])


@pytest.mark.parametrize(
  "options, message",
  [
    ({"mode": "mni"}, "Did you mean 'min'"),
    ({"mode": None}, "'min', if lower"),
    ({"keep": 0}, "at least 1"),
    ({"keep": 1.5}, "at least 1"),
    ({"keep": True}, "at least 1"),
    ({"name": ""}, "not the name of a directory"),
    ({"name": "a/b"}, "not the name of a directory"),
    ({"name": ".."}, "not the name of a directory"),
    ({"name": "export"}, "choose another"),
    ({"name": "tf2"}, "choose another"),
  ],
)
def test_wrong_arguments(options, message):
  with pytest.raises(errors.OptionError, match=message):
    eckpt.BestCheckpointExporter(**options)


def test_a_metric_that_is_not_there(job):
  exporter = eckpt.BestCheckpointExporter("acuracy", "max")
  with pytest.raises(errors.OptionError, match="Did you mean 'accuracy'"):
    job.export(exporter, 1, loss=0.5, accuracy=0.5)
  assert not os.path.exists(job.best)


def test_a_damaged_best_json_is_an_error_and_nothing_is_lost(job):
  job.export(eckpt.BestCheckpointExporter(), 1, loss=0.5)
  with open(job.best + "/best.json", "w") as file:
    file.write("{")
  before = sorted(os.listdir(job.best))
  with pytest.raises(errors.CorruptCheckpointError, match="best.json"):
    job.export(eckpt.BestCheckpointExporter(), 2, loss=0.1)
  assert sorted(os.listdir(job.best)) == before
