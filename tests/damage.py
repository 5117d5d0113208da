"""Damages checkpoints as hypothesis says, so that the damage is not obvious."""

from __future__ import annotations

import pathlib
from typing import Any, Callable

from hypothesis import strategies as st

from estimator_ckpt.bundle.table import read_table
from estimator_ckpt.bundle.table_writer import write_table

Draw = Callable[[st.SearchStrategy], Any]


def damage(draw: Draw, data: bytes) -> bytes:
  """Flips, cuts, inserts and repeats some bytes."""
  damaged = bytearray(data)
  for _ in range(draw(st.integers(1, 4))):
    position = draw(st.integers(0, max(len(damaged) - 1, 0)))
    action = draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
    if action == "flip" and damaged:
      damaged[position] = draw(st.integers(0, 255))
    elif action == "cut":
      del damaged[position : position + draw(st.integers(1, 40))]
    elif action == "insert":
      damaged[position:position] = draw(st.binary(min_size=1, max_size=12))
    else:
      damaged[position:position] = damaged[position : position + 30]
  return bytes(damaged)


def damage_an_entry(draw: Draw, prefix: str) -> None:
  """Damages a key or a value of an index; the blocks' checksums stay right."""
  path = pathlib.Path(prefix + ".index")
  items = read_table(path.read_bytes(), "index")
  changed = draw(st.integers(0, len(items) - 1))
  key, value = items[changed]
  if draw(st.booleans()):
    value = damage(draw, value)
  else:
    key = damage(draw, key)
  items[changed] = (key, value)
  path.write_bytes(write_table(*zip(*sorted(dict(items).items()))))
