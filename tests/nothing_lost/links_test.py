"""File modes, symbolic links, hard links, and directories that were copied."""

from __future__ import annotations

import os
import shutil
import stat

import pytest

import estimator_ckpt as eckpt
from tests import stored
from tests.bundle_builder import dual_builder
from tests.nothing_lost import jobs, killing, values

_TRAIN = "tests.nothing_lost.jobs:train"
_FORMATS = ("tf1", "tf2", "dual", "separate")


@pytest.fixture
def train(launcher, tmp_path):
  """`train(model_dir, format, max_steps)` in a process of its own."""

  def run(model_dir, checkpoint_format, max_steps, umask=None):
    launcher.start(
      "train",
      _TRAIN if umask is None else "tests.nothing_lost.links_test:train_with_umask",
      model_dir=str(model_dir),
      checkpoint_format=checkpoint_format,
      max_steps=max_steps,
      save_steps=2,
      progress=str(tmp_path / "progress"),
      **({} if umask is None else {"umask": umask}),
    ).wait()
    return killing.check_directory(model_dir)

  return run


def train_with_umask(umask, **arguments):
  os.umask(umask)
  jobs.train(**arguments)


def _modes(directory):
  """The modes of all that checkpoints are made of."""
  return {
    stat.S_IMODE(os.stat(os.path.join(parent, name)).st_mode)
    for parent, _, names in os.walk(directory)
    for name in names
    if ".index" in name or ".data-" in name or name == "checkpoint"
  }


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_of_trained_files_follow_the_umask(umask, train, tmp_path):
  for checkpoint_format in ("dual", "separate"):
    model_dir = tmp_path / checkpoint_format
    train(model_dir, checkpoint_format, 2, umask)
    train(model_dir, checkpoint_format, 4, umask)
    assert _modes(model_dir) == {0o666 & ~umask}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_of_converted_files_follow_the_umask(umask, tmp_path):
  source = dual_builder().write(tmp_path / "source" / "m")
  before = os.umask(umask)
  try:
    eckpt.convert(source, tmp_path / "copied" / "m", "tf1", data="copy")
    eckpt.strip(source, tmp_path / "stripped" / "m", optimizer_state=True, compact=True)
  finally:
    os.umask(before)
  for name in ("copied", "stripped"):
    assert _modes(tmp_path / name) == {0o666 & ~umask}
    assert stat.S_IMODE(os.stat(tmp_path / name).st_mode) == 0o777 & ~umask


def test_new_files_take_the_group_of_a_directory_that_says_so(tmp_path):
  group = next((g for g in os.getgroups() if g != os.getegid()), None)
  if group is None and os.geteuid():
    pytest.skip("this user has one group only")
  target = tmp_path / "shared"
  target.mkdir()
  try:
    os.chown(target, -1, 12345 if group is None else group)
  except OSError as error:  # in a user namespace that has one group only
    pytest.skip(f"this user has one group only: {error.strerror}")
  target.chmod(0o2775)
  source = dual_builder().write(tmp_path / "source" / "m")
  eckpt.convert(source, target / "m", "tf1", data="copy")
  for name in os.listdir(target):
    assert os.stat(target / name).st_gid == os.stat(target).st_gid


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_a_model_dir_behind_a_symbolic_link(checkpoint_format, train, tmp_path):
  real = tmp_path / "disk" / "real"
  real.mkdir(parents=True)
  link = tmp_path / "link"
  link.symlink_to(real)
  assert train(link, checkpoint_format, 4) == 4
  assert train(real, checkpoint_format, 8) == 8
  assert train(link, checkpoint_format, 12) == 12
  assert link.is_symlink()
  for directory in (real, real / "tf2"):
    if directory.is_dir():
      assert "/" not in (directory / "checkpoint").read_text()
      steps = {n.split(".")[1] for n in os.listdir(directory) if n.startswith("model.")}
      assert steps == {"ckpt-10", "ckpt-12"}
  # A directory that was moved together with its link can be trained on in.
  (tmp_path / "disk").rename(tmp_path / "moved")
  link.unlink()
  link.symlink_to(tmp_path / "moved" / "real")
  assert train(link, checkpoint_format, 14) == 14
  assert eckpt.verify(link).ok


def _converted(model_dir, tmp_path):
  converted = tmp_path / "converted"
  eckpt.convert(model_dir, converted, "tf1", data="link")
  found = {
    name: stored.stored(converted / name[: -len(".index")])
    for name in os.listdir(converted)
    if name.endswith(".index")
  }
  return converted, found


@pytest.mark.parametrize("what", ["deleted", "trained on", "stripped", "overwritten"])
def test_a_linked_conversion_stays_right_whatever_happens_to_its_source(
  what, train, tmp_path
):
  model_dir = tmp_path / "model"
  train(model_dir, "dual", 4)
  converted, expected = _converted(model_dir, tmp_path)
  assert any(
    os.stat(converted / n).st_nlink == 2 for n in os.listdir(converted) if ".data-" in n
  )
  latest = f"{model_dir}/model.ckpt-4"
  if what == "deleted":
    shutil.rmtree(model_dir)
  elif what == "trained on":
    # The first save is of step 4 again, and replaces that checkpoint.
    assert train(model_dir, "dual", 12) == 12
    assert train(model_dir, "tf1", 14) == 14
  elif what == "stripped":
    eckpt.strip(latest, tmp_path / "small" / "m", variables="net/w", compact=True)
    eckpt.convert(
      tmp_path / "small" / "m", f"{model_dir}/model.ckpt-4", "tf2", overwrite=True
    )
  else:
    eckpt.convert(latest, tmp_path / "other" / "m", "tf2", data="copy")
    eckpt.rename(tmp_path / "other" / "m", latest, {"net/": "new/"}, overwrite=True)
  for name, tensors in expected.items():
    assert stored.stored(converted / name[: -len(".index")]) == tensors
  assert eckpt.verify(converted).ok
  # The conversion can be trained on in, too.
  assert train(converted, "tf1", 16) == 16


def test_training_on_in_a_conversion_leaves_its_source_alone(train, tmp_path):
  model_dir = tmp_path / "model"
  train(model_dir, "dual", 4)
  before = stored.snapshot(model_dir)
  converted, _ = _converted(model_dir, tmp_path)
  assert train(converted, "dual", 12) == 12
  assert stored.snapshot(model_dir) == before


@pytest.mark.parametrize("checkpoint_format", ["dual", "separate"])
def test_a_copied_directory_with_absolute_paths_spares_the_original(
  checkpoint_format, train, tmp_path
):
  """tf.train.CheckpointManager and the guide's Scaffold write such state files."""
  original = tmp_path / "original"
  train(original, checkpoint_format, 4)
  for directory in (original, original / "tf2"):
    if directory.is_dir():
      path = directory / "checkpoint"
      path.write_text(path.read_text().replace('"model', f'"{directory}/model'))
  before = stored.snapshot(original)
  copied = shutil.copytree(original, tmp_path / "copied")
  assert train(copied, checkpoint_format, 12) == 12
  assert stored.snapshot(original) == before
  assert values.check_checkpoint(f"{copied}/model.ckpt-12") == 12
