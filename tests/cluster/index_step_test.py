"""The index step runs on the chief, which may not see the servers' data files."""

from __future__ import annotations

import contextlib
import os
import pathlib
import threading

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.bundle import aliased_index
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.bundle.recurring import RecurringIndex
from estimator_ckpt.checkpoint import key_plan
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.training import dual_index
from estimator_ckpt.training.saver import CheckpointSaver

v1 = tf.compat.v1
_VALUES = {"w": np.arange(12, dtype=np.float32).reshape(4, 3), "b": np.ones(3)}


class _HidingSession(v1.Session):
  """A session in which data files cannot be opened once they are written.

  Each data file becomes a link to a missing file: the link can be renamed, removed and
  linked, like a file of another owner, but opening it fails.
  """

  def hide(self, directory: pathlib.Path, hidden: pathlib.Path) -> None:
    """From now on, moves data files below a directory to another directory."""
    self._directory = directory
    self._hidden = hidden
    self.names: list[str] = []

  def run(self, *args, **options):
    result = super().run(*args, **options)
    for path in self._directory.rglob("*.data-*"):
      if not path.is_symlink():
        self.names.append(path.name)
        away = self._hidden / f"{len(self.names)}-{path.name}"
        path.rename(away)
        path.symlink_to(self._hidden / "nothing" / away.name)
    return result

  def show(self) -> None:
    """Puts the data files back, wherever their links are now."""
    for path in self._directory.rglob("*.data-*"):
      if path.is_symlink():
        away = self._hidden / os.path.basename(os.readlink(path))
        path.unlink()
        away.rename(path)


@contextlib.contextmanager
def _session(directory, hidden):
  with tf.Graph().as_default():
    v1.train.create_global_step()
    for i, (name, value) in enumerate(_VALUES.items()):
      # Each variable has its own device, and so its own data file; the step has
      # another.
      with tf.device(f"/job:localhost/replica:0/task:0/device:CPU:{i}"):
        v1.get_variable(name, initializer=value)
    config = v1.ConfigProto(device_count={"CPU": 2}, allow_soft_placement=True)
    with _HidingSession(config=config) as session:
      session.hide(directory, hidden)
      session.run(v1.global_variables_initializer())
      yield session


def test_it_needs_no_data_file(tmp_path):
  """Saves a new checkpoint, and then replaces one, without reading a data file."""
  hidden = tmp_path / "hidden"
  hidden.mkdir()
  (tmp_path / "model").mkdir()
  prefix = str(tmp_path / "model" / "model.ckpt")
  with _session(tmp_path / "model", hidden) as session:
    saver = CheckpointSaver("dual")
    saver.build()
    path = saver.save(session, prefix, global_step=0)
    assert len(session.names) == 3
    session.show()
    assert not eckpt.verify(path).findings
    # A second save with another value has to replace the files.
    variable = next(v for v in v1.global_variables() if v.op.name == "w")
    session.run(variable.assign(_VALUES["w"] + 1))
    path = saver.save(session, prefix, global_step=0)
    session.show()
    assert eckpt.verify(path).ok
  with eckpt.open_checkpoint(path) as reader:
    np.testing.assert_array_equal(reader["w"], _VALUES["w"] + 1)
    np.testing.assert_array_equal(reader["b"], _VALUES["b"])


def test_what_a_killed_chief_left_goes_once_a_checkpoint_is_there(tmp_path):
  left = [tmp_path / f"model.ckpt-{step}.index.tmp-eckpt-0123abcd" for step in (0, 7)]
  for path in left:
    path.write_bytes(b"half an index")
  with _session(tmp_path / "nowhere", tmp_path) as session:
    saver = CheckpointSaver("dual")
    saver.build()
    for step in (0, 1):
      saver.save(session, str(tmp_path / "model.ckpt"), global_step=step)
  assert not any(path.exists() for path in left)


def test_training_goes_on_while_an_asynchronous_save_adds_names(tmp_path, monkeypatch):
  """Holds the index step up until training has changed a variable."""
  add_aliases = dual_index.add_aliases
  has_trained = threading.Event()
  held = []

  def held_up(*args):
    held.append(has_trained.wait(60))
    add_aliases(*args)

  monkeypatch.setattr(dual_index, "add_aliases", held_up)
  with tf.Graph().as_default():
    v1.train.create_global_step()
    w = v1.get_variable("w", initializer=np.ones(3), use_resource=True)
    train = w.assign_add(np.ones(3), read_value=False)
    saver = CheckpointSaver("dual", asynchronous=True)
    saver.build()
    with v1.Session() as session:
      session.run(v1.global_variables_initializer())
      path = saver.save(session, str(tmp_path / "model.ckpt"), global_step=0)
      session.run(train)
      assert saver.is_writing
      has_trained.set()
      saver.wait_until_finished()
  assert held == [True]
  assert eckpt.verify(path).ok
  with eckpt.open_checkpoint(path) as reader:
    np.testing.assert_array_equal(reader["w"], np.ones(3))


@pytest.mark.parametrize("count", [3, 3000])
def test_small_and_large_indexes_get_the_names_of_the_plan(tmp_path, count):
  names = [f"model/layer_{i}/kernel" for i in range(count)]
  plan = key_plan.plan_save(list(map(key_plan.Saved, names)), CheckpointFormat.DUAL)
  prefix = str(tmp_path / "model.ckpt")
  recurring = RecurringIndex()
  for save in range(3):
    index = Index()
    for i, key in enumerate(plan.keys.values()):
      index.put(key, BundleEntry(1, (2,), 0, 8 * i, 8, 1000 + i + save))
    index.write(prefix)
    is_large = os.path.getsize(prefix + ".index") >= aliased_index.LARGE
    assert is_large == (count > 3)
    dual_index.add_aliases(prefix, plan, recurring)
    index.alias_all(plan.aliases)
    assert pathlib.Path(prefix + ".index").read_bytes() == index.serialize()
  # An index that is damaged is an error, whatever its size.
  damaged = bytearray(index.serialize())
  damaged[5] ^= 1
  pathlib.Path(prefix + ".index").write_bytes(damaged)
  with pytest.raises(eckpt.errors.CorruptCheckpointError, match="checksum"):
    dual_index.add_aliases(prefix, plan, recurring)
