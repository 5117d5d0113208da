"""Offline commands, stopped at every change that they make to the file system."""

from __future__ import annotations

import errno
import os
import pathlib
import shutil
from typing import Any, Callable, NamedTuple

import pytest

import estimator_ckpt as eckpt
from estimator_ckpt.checkpoint import state_file as state_lib
from tests import golden, stored
from tests.bundle_builder import dual_builder
from tests.nothing_lost import faults

_STEP = "model.ckpt-7"


class _Command(NamedTuple):
  """A command, as a user runs it.

  Attributes:
    run: takes the directories of the source and of the target, and options.
    takes_directory: whether it writes a whole model_dir, state file included.
  """

  run: Callable[..., Any]
  takes_directory: bool = False


def _prefix(directory):
  return f"{directory}/{_STEP}"


_COMMANDS = {
  "convert": _Command(
    lambda a, b, **o: eckpt.convert(_prefix(a), _prefix(b), "tf1", **o)
  ),
  "convert by copy": _Command(
    lambda a, b, **o: eckpt.convert(_prefix(a), _prefix(b), "tf2", data="copy", **o)
  ),
  "convert model_dir": _Command(
    lambda a, b, **o: eckpt.convert(a, b, "tf1", **o), True
  ),
  "rename": _Command(
    lambda a, b, **o: eckpt.rename(_prefix(a), _prefix(b), {"net/": "other/"}, **o)
  ),
  "strip compact": _Command(
    lambda a, b, **o: eckpt.strip(
      _prefix(a), _prefix(b), optimizer_state=True, compact=True, **o
    )
  ),
  "merge": _Command(
    lambda a, b, **o: eckpt.merge([_prefix(a), f"{a}/other/m"], _prefix(b), **o)
  ),
}


@pytest.fixture
def source(scratch):
  """A model_dir with two checkpoints and one more below it."""
  directory = scratch / "source"
  dual_builder().write(directory / _STEP)
  builder = dual_builder()
  builder.numbers("net/more", [1, 2, 3])
  builder.write(directory / "model.ckpt-3")
  other = golden.copy("tf1.15/momentum_partitioned", directory / "other")
  eckpt.rename(other, directory / "other/m", {"global_step": "step"})
  (directory / "checkpoint").write_text(
    'model_checkpoint_path: "model.ckpt-7"\n'
    'all_model_checkpoint_paths: "model.ckpt-3"\n'
    'all_model_checkpoint_paths: "model.ckpt-7"\n'
  )
  return directory


def _old(directory: pathlib.Path) -> None:
  """An older model_dir with other values at the destination."""
  for name in (_STEP, "model.ckpt-3"):
    prefix = golden.copy("tf1.15/adam_dense", directory / "copied")
    for path in pathlib.Path(directory / "copied").glob("model.ckpt-7*"):
      shutil.move(path, directory / path.name.replace(os.path.basename(prefix), name))
    shutil.rmtree(directory / "copied")
  (directory / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"')


def _content(directory) -> dict[str, Any]:
  """The checkpoints of a directory by name, each with every tensor's bytes."""
  if not os.path.isdir(directory):
    return {}
  return {
    name[: -len(".index")]: stored.stored(f"{directory}/{name[: -len('.index')]}")
    for name in os.listdir(directory)
    if name.endswith(".index")
  }


def _names(directory):
  """Names of files; the names of data files are reduced to their checkpoint's name."""
  return sorted({name.split(".data-")[0] for name in os.listdir(directory)})


@pytest.mark.parametrize("how", ["refused", "killed"])
@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "overwrite"])
@pytest.mark.parametrize("name", _COMMANDS)
def test_every_point(name, overwrite, how, source, scratch):
  command = _COMMANDS[name]
  options = {"overwrite": True} if overwrite else {}
  source_before = stored.snapshot(source)

  def prepared(directory):
    if overwrite:
      directory.mkdir()
      _old(directory)
    return directory

  clean = prepared(scratch / "clean")
  old = _content(clean)
  with faults.injected(0, faults.kill) as calls:
    command.run(str(source), str(clean), **options)
  new = _content(clean)
  points = len(calls)
  assert points > 5
  for at in range(1, points + 1):
    target = prepared(scratch / f"target{at}")
    if how == "killed":
      act = lambda: command.run(str(source), str(target), **options)  # noqa: B023, E731
      assert faults.run_killed(at, act)
    else:
      with faults.injected(at, faults.refuse(errno.EIO)):
        try:
          command.run(str(source), str(target), **options)
        except eckpt.CheckpointError as error:
          assert "Input/output error" in str(error)
    # Each checkpoint is, as a whole, either the old one or the new one.
    for checkpoint, content in _content(target).items():
      expected = [side[checkpoint] for side in (old, new) if checkpoint in side]
      assert content in expected, (at, calls[at - 1], checkpoint)
    if overwrite:
      assert set(_content(target)) >= set(old)
    current = state_lib.read_state(str(target))
    if current is not None:
      assert _content(target)[os.path.basename(current.model_checkpoint_path)]
      if command.takes_directory and not overwrite:
        assert _content(target) == new
    assert stored.snapshot(source) == source_before
    # A rerun of the same command succeeds, unless the first run had already ended.
    try:
      command.run(str(source), str(target), **options)
    except eckpt.CheckpointError as error:
      assert "there is a" in str(error), (at, calls[at - 1], error)
    assert _content(target) == new, (at, calls[at - 1])
    assert _names(target) == _names(clean), (at, calls[at - 1])
    report = eckpt.verify(target)
    assert report.ok and "leftover" not in {f.code for f in report.findings}, (
      at,
      calls[at - 1],
      report.findings,
    )
    shutil.rmtree(target)
  assert stored.snapshot(source) == source_before
