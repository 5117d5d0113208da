"""Damages golden checkpoints, and checks `verify` and the reader."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import random
import shutil
from collections.abc import Iterator
from typing import Any, Callable

import numpy as np

import estimator_ckpt as eckpt
from estimator_ckpt.bundle.index import Index
from tests import golden

Damage = Callable[[], None]


@dataclasses.dataclass
class Figures:
  """The results of some damage.

  Attributes:
    tried: number of damages.
    found: number of damages that `verify` found.
    refused: tensors for which the reader raised an error.
    right: tensors for which the reader still returned the right value.
    missed: the damages that `verify` did not find.
  """

  tried: int = 0
  found: int = 0
  refused: int = 0
  right: int = 0
  missed: list[str] = dataclasses.field(default_factory=list)

  def add(self, other: Figures) -> None:
    """Adds the numbers of other figures."""
    self.tried += other.tried
    self.found += other.found
    self.refused += other.refused
    self.right += other.right
    self.missed += other.missed


class Golden:
  """A copy of a golden checkpoint, to be damaged.

  Args:
    name: the golden's name.
    directory: where the copy is made; must not exist yet.
  """

  def __init__(self, name: str, directory: pathlib.Path):
    self.name = name
    self.prefix = golden.copy(name, directory)
    self._data_paths = Index.read(self.prefix).data_paths(self.prefix)
    self._files = {
      path: pathlib.Path(path).read_bytes()
      for path in (f"{self.prefix}.index", *self._data_paths)
    }
    self._sound = eckpt.verify(self.prefix).findings
    self._values = dict(self._read())

  def restore(self) -> None:
    """Restores the undamaged files."""
    for path, data in self._files.items():
      pathlib.Path(path).write_bytes(data)

  def index_bits(self) -> Iterator[str]:
    """Flips each bit of the index in turn; yields a description each time."""
    path = f"{self.prefix}.index"
    yield from self._bits(path, range(8 * len(self._files[path])))

  def data_bits(self, count: int, seed: int) -> Iterator[str]:
    """Flips some bits of each data file in turn; yields a description each time."""
    for path in self._data_paths:
      size = 8 * len(self._files[path])
      chosen = random.Random(seed).sample(range(size), min(count, size))
      yield from self._bits(path, chosen)

  def _bits(self, path: str, positions: Any) -> Iterator[str]:
    data = self._files[path]
    with open(path, "r+b", buffering=0) as file:
      for position in positions:
        where, bit = divmod(position, 8)
        file.seek(where)
        file.write(bytes((data[where] ^ 1 << bit,)))
        yield f"bit {bit} of byte {where} of {os.path.basename(path)}"
        file.seek(where)
        file.write(data[where : where + 1])

  def cuts(self, count: int, seed: int) -> Iterator[str]:
    """Cuts each file at some lengths; yields a description each time."""
    for path, data in self._files.items():
      lengths = random.Random(seed).sample(range(len(data)), min(count, len(data)))
      for length in lengths:
        os.truncate(path, length)
        yield f"{os.path.basename(path)} cut at {length}"
        pathlib.Path(path).write_bytes(data)

  def missing(self) -> Iterator[str]:
    """Removes each data file in turn; yields a description each time."""
    for path, data in self._files.items():
      # Without an index there is no checkpoint to verify.
      if path.endswith(".index"):
        continue
      os.remove(path)
      yield f"{os.path.basename(path)} missing"
      pathlib.Path(path).write_bytes(data)

  def swapped(self) -> Iterator[str]:
    """Swaps data files or replaces their bytes; yields a description each time."""
    for path in self._data_paths:
      for other in self._data_paths:
        if self._files[other] != self._files[path]:
          shutil.copyfile(other, path + ".x")
          pathlib.Path(other).write_bytes(self._files[path])
          shutil.move(path + ".x", path)
          yield f"{os.path.basename(path)} and {os.path.basename(other)} swapped"
          self.restore()
      data = self._files[path]
      pathlib.Path(path).write_bytes(bytes(255 - byte for byte in data))
      yield f"{os.path.basename(path)} of another checkpoint"
      self.restore()

  def look(self, damages: Iterator[str]) -> Figures:
    """Runs `verify` and a reader on each damage.

    Raises:
      AssertionError: the reader returned a wrong value.
    """
    figures = Figures()
    for what in damages:
      figures.tried += 1
      if eckpt.verify(self.prefix).findings != self._sound:
        figures.found += 1
      else:
        figures.missed.append(f"{self.name}: {what}")
      self._look_as_reader(figures, what)
    return figures

  def _look_as_reader(self, figures: Figures, what: str) -> None:
    try:
      found = self._read()
      for key, value in found:
        if isinstance(value, eckpt.CheckpointError):
          figures.refused += 1
          continue
        expected = self._values[key]
        assert value.dtype == expected.dtype, (self.name, what, key)
        assert value.tobytes() == expected.tobytes() or np.array_equal(
          value, expected
        ), (self.name, what, key)
        figures.right += 1
    except eckpt.CheckpointError:
      figures.refused += len(self._values)

  def _read(self) -> Iterator[tuple[str, Any]]:
    with eckpt.open_checkpoint(self.prefix) as reader:
      for key in reader:
        try:
          yield key, reader[key]
        except eckpt.CheckpointError as error:
          yield key, error
