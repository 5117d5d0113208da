"""Two offline commands that write to one place at the same time."""

from __future__ import annotations

import os
import pathlib
import random
import select
import shutil
import time
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

import estimator_ckpt as eckpt
from estimator_ckpt.errors import CheckpointExistsError
from tests import stored
from tests.bundle_builder import BundleBuilder, dual_builder
from tests.cluster import processes
from tests.nothing_lost import faults

Act = Callable[[], Any]

# Seconds that a command may wait for a paused command, before the pause ends.
_PATIENCE = 0.4
_TIMEOUT = 60.0
_DONE, _REFUSED, _FAILED = 0, 10, 20


class Outcome(NamedTuple):
  """How a command ended.

  Attributes:
    done: whether the command succeeded.
    refused: whether the command reported an existing checkpoint, or its writer.
    text: the command's error, or the error that ended the process.
  """

  done: bool
  refused: bool
  text: str


class _Run:
  """A command in a process of its own, which may stop at one of its changes."""

  def __init__(self, act: Act, at: int = 0, seed: int | None = None):
    said, tell = os.pipe()
    wait, self._go = os.pipe()
    self.pid = os.fork()
    if not self.pid:
      code = _FAILED
      try:
        code = _in_child(act, at, seed, tell, wait)
      finally:
        os._exit(code)
    os.close(tell)
    os.close(wait)
    self._said = said
    self._text = b""

  def until_paused_or_ended(self, timeout: float) -> bool:
    """Waits; returns whether the command paused or ended in time."""
    ready, _, _ = select.select([self._said], [], [], timeout)
    if ready:
      self._text += os.read(self._said, 1)
    return bool(ready)

  def go_on(self) -> None:
    """Ends the pause."""
    try:
      os.write(self._go, b"g")
    except BrokenPipeError:
      pass

  def outcome(self) -> Outcome:
    """Waits for the end, for a minute at most."""
    deadline = time.monotonic() + _TIMEOUT
    while True:
      left = deadline - time.monotonic()
      ready, _, _ = select.select([self._said], [], [], max(left, 0))
      if not ready:
        os.kill(self.pid, 9)
      chunk = os.read(self._said, 1 << 16)
      if not chunk:
        break
      self._text += chunk
    _, status = os.waitpid(self.pid, 0)
    os.close(self._said)
    os.close(self._go)
    code = processes.exit_code(status)
    text = self._text.lstrip(b"p").decode(errors="replace")
    return Outcome(code == _DONE, code == _REFUSED, text or f"exit {code}")


def _in_child(act: Act, at: int, seed: int | None, tell: int, wait: int) -> int:
  chance = random.Random(seed)

  def pause(call: str, path: str) -> None:
    os.write(tell, b"p")
    os.read(wait, 1)

  def dawdle(call: str, path: str) -> None:
    time.sleep(chance.expovariate(500))

  strike = pause if seed is None else dawdle
  try:
    again = seed is not None
    # Writes are left out: a pause would tear a write in two.
    calls = faults.OS_CALLS
    with faults.injected(1 if again else at, strike, persistent=again, only=calls):
      act()
  except CheckpointExistsError as error:
    os.write(tell, str(error).encode())
    return _REFUSED
  except BaseException as error:
    os.write(tell, repr(error).encode())
    return _FAILED
  return _DONE


def paused_at(one: Act, other: Act, at: int) -> tuple[Outcome, Outcome]:
  """Runs a command up to one of its changes, then another command, then the rest.

  Args:
    one: the command that pauses.
    other: the command that runs in the pause, to its end unless it waits for `one`.
    at: number of the change to the file system to pause at, from 1.

  Returns:
    The outcomes of the two commands.
  """
  first = _Run(one, at)
  first.until_paused_or_ended(_TIMEOUT)
  second = _Run(other)
  second.until_paused_or_ended(_PATIENCE)
  first.go_on()
  return first.outcome(), second.outcome()


def together(one: Act, other: Act, seed: int) -> tuple[Outcome, Outcome]:
  """Runs two commands at once, each with a short rest before every change."""
  first, second = _Run(one, seed=2 * seed), _Run(other, seed=2 * seed + 1)
  return first.outcome(), second.outcome()


def changes(act: Act) -> int:
  """The number of changes to the file system that a command makes."""
  with faults.injected(0, faults.kill, only=faults.OS_CALLS) as calls:
    act()
  return len(calls)


class Pair(NamedTuple):
  """Two commands that write to one place.

  Attributes:
    name: a description for messages.
    one: takes the directories of the source and of the target, and options.
    other: the second command, with the same arguments.
    is_one_place: whether both write the same checkpoints.
  """

  name: str
  one: Callable[..., Any]
  other: Callable[..., Any]
  is_one_place: bool = True

  def __str__(self) -> str:
    return self.name


_STEP = "model.ckpt-7"


def _convert(source: str, target: str, to: str, **options: Any) -> Any:
  return eckpt.convert(f"{source}/{_STEP}", f"{target}/{_STEP}", to, **options)


PAIRS = (
  Pair(
    "convert, convert",
    lambda a, b, **o: _convert(a, b, "tf1", **o),
    lambda a, b, **o: _convert(a, b, "tf2", data="copy", **o),
  ),
  Pair(
    "rename, strip",
    lambda a, b, **o: eckpt.rename(
      f"{a}/{_STEP}", f"{b}/{_STEP}", {"net/": "other/"}, **o
    ),
    lambda a, b, **o: eckpt.strip(
      f"{a}/{_STEP}", f"{b}/{_STEP}", optimizer_state=True, compact=True, **o
    ),
  ),
  Pair(
    "merge, merge",
    lambda a, b, **o: eckpt.merge(
      [f"{a}/{_STEP}", f"{a}/other/m"], f"{b}/{_STEP}", **o
    ),
    lambda a, b, **o: eckpt.merge(
      [f"{a}/other/m", f"{a}/{_STEP}"], f"{b}/{_STEP}", to="tf1", **o
    ),
  ),
  Pair(
    "model_dir, model_dir",
    lambda a, b, **o: eckpt.convert(a, b, "tf1", **o),
    lambda a, b, **o: eckpt.convert(a, b, "tf2", **o),
  ),
  Pair(
    "model_dir, convert",
    lambda a, b, **o: eckpt.convert(a, b, "tf1", **o),
    lambda a, b, **o: _convert(a, b, "tf2", **o),
    is_one_place=False,
  ),
)


def make_source(directory: pathlib.Path) -> str:
  """Writes a model_dir with two checkpoints, and one more below it."""
  dual_builder().write(directory / _STEP)
  builder = dual_builder()
  builder.numbers("net/more", [1, 2, 3])
  builder.write(directory / "model.ckpt-3")
  other = BundleBuilder()
  other.numbers("tower/w", [4, 5])
  other.write(directory / "other/m")
  (directory / "checkpoint").write_text(
    'model_checkpoint_path: "model.ckpt-7"\n'
    'all_model_checkpoint_paths: "model.ckpt-3"\n'
    'all_model_checkpoint_paths: "model.ckpt-7"\n'
  )
  return str(directory)


class Place:
  """A directory that two commands write to, and the checks of the result.

  Args:
    scratch: a directory to work in.
    pair: the two commands.
    overwrite: whether both replace an existing checkpoint.
  """

  def __init__(self, scratch: pathlib.Path, pair: Pair, overwrite: bool):
    self._scratch = scratch
    self._pair = pair
    self._options = {"overwrite": True} if overwrite else {}
    source = scratch / f"source{len(os.listdir(scratch))}"
    self._source = make_source(source)
    self._before = stored.snapshot(source)
    self._target = ""
    # What each command alone writes into the directory.
    self._alone = []
    for number, command in enumerate((pair.one, pair.other)):
      target = self._prepared(f"alone{number}")
      command(self._source, target, **self._options)
      self._alone.append((content(target), names(target)))
      shutil.rmtree(target)

  def changes(self) -> int:
    """The number of changes to the file system that the first command makes."""
    return changes(self.fresh("counted")[0])

  def fresh(self, name: str) -> tuple[Act, Act]:
    """The two commands, for a new directory."""
    if self._target:
      shutil.rmtree(self._target)
    self._target = target = self._prepared(name)
    return (
      lambda: self._pair.one(self._source, target, **self._options),
      lambda: self._pair.other(self._source, target, **self._options),
    )

  def check(self, outcomes: Sequence[Outcome], case: object) -> None:
    """Checks that one command's checkpoint is whole, and nothing of the other is left."""
    winners = [number for number in (0, 1) if outcomes[number].done]
    assert winners, (case, outcomes)
    assert all(outcome.done or outcome.refused for outcome in outcomes), (
      case,
      outcomes,
    )
    if not self._options:
      assert len(winners) == 1, (case, outcomes)
    found = content(self._target), names(self._target)
    expected = [self._alone[number] for number in winners]
    if self._options and not self._pair.is_one_place:
      # One command writes two checkpoints; the other replaces one of them before or
      # after.
      assert found[1] == self._alone[0][1], (case, outcomes, found[1])
      for name, tensors in found[0].items():
        assert tensors in [alone[0][name] for alone in self._alone], (case, outcomes)
    else:
      assert found in expected, (case, outcomes, found[1])
    assert stored.snapshot(self._source) == self._before, case

  def _prepared(self, name: str) -> str:
    # Without an old checkpoint, the command that comes first makes the directory.
    target = self._scratch / name
    if self._options:
      old = self._scratch / "old"
      if not old.exists():
        make_source(old)
        shutil.rmtree(old / "other")
      shutil.copytree(old, target)
    return str(target)


def content(directory: str) -> dict[str, Any]:
  """The checkpoints of a directory by name, each with every tensor's bytes."""
  if not os.path.isdir(directory):
    return {}
  return {
    name[: -len(".index")]: stored.stored(f"{directory}/{name[: -len('.index')]}")
    for name in os.listdir(directory)
    if name.endswith(".index")
  }


def names(directory: str) -> list[str]:
  """Names of files; the names of data files are reduced to their checkpoint's name."""
  return sorted({name.split(".data-")[0] for name in os.listdir(directory)})
