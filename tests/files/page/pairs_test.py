from __future__ import annotations

import numpy as np
import pytest

from estimator_ckpt.files.page.pairs import Status, pairs
from estimator_ckpt.files.summary import inspect_checkpoint
from tests import golden
from tests.bundle_builder import BundleBuilder


def found(tmp_path, a, b) -> dict[tuple[str | None, str | None], Status]:
  """How tensors were paired, by their names on both sides."""
  sides = []
  for name, arrays in (("a", a), ("b", b)):
    builder = BundleBuilder()
    for key, array in arrays.items():
      builder.numbers(key, array, str(np.asarray(array).dtype))
    sides.append(inspect_checkpoint(builder.write(tmp_path / name)).tensors)
  return {(p.a and p.a.name, p.b and p.b.name): p.status for p in pairs(*sides)}


def f32(*values):
  return np.array(values, np.float32)


def test_each_status(tmp_path):
  a = {
    "same": f32(1, 2),
    "moved": f32(3, 4),
    "old": f32(5),
    "shape": f32(1, 2),
    "gone": f32(9, 9, 9),
  }
  b = {
    "same": f32(1, 2),
    "moved": f32(3, 5),
    "new": f32(5),
    "shape": f32(1),
    "come": f32(8, 8, 8),
  }
  assert found(tmp_path, a, b) == {
    ("same", "same"): Status.SAME,
    ("moved", "moved"): Status.CHANGED,
    ("old", "new"): Status.RENAMED,
    ("shape", "shape"): Status.SHAPE,
    ("gone", None): Status.ONLY_IN_A,
    (None, "come"): Status.ONLY_IN_B,
  }


def test_another_type_of_the_same_bytes_is_no_rename(tmp_path):
  a, b = {"x": f32(0, 0)}, {"y": np.zeros(2, np.int32)}
  assert set(found(tmp_path, a, b).values()) == {Status.ONLY_IN_A, Status.ONLY_IN_B}


def test_what_could_be_two_is_not_guessed(tmp_path):
  a, b = {"x": f32(0, 0), "y": f32(0, 0)}, {"z": f32(0, 0)}
  assert found(tmp_path, a, b) == {
    ("x", None): Status.ONLY_IN_A,
    ("y", None): Status.ONLY_IN_A,
    (None, "z"): Status.ONLY_IN_B,
  }


def test_a_name_that_is_there_is_no_rename_of_another(tmp_path):
  # Two tensors have swapped places.
  a, b = {"x": f32(1), "y": f32(2)}, {"x": f32(2), "y": f32(1)}
  assert found(tmp_path, a, b) == {
    ("x", "x"): Status.CHANGED,
    ("y", "y"): Status.CHANGED,
  }


def test_empty_tensors_are_not_taken_for_each_other(tmp_path):
  a, b = {"x": np.zeros((0, 2), np.float32)}, {"y": np.zeros((0, 2), np.float32)}
  assert Status.RENAMED not in found(tmp_path, a, b).values()


def test_formats_do_not_matter(tmp_path):
  from estimator_ckpt.files.convert import convert

  prefix = golden.path("tf1.15/adam_dense")
  convert(prefix, tmp_path / "tf2.ckpt", to="tf2")
  sides = [inspect_checkpoint(p).tensors for p in (prefix, tmp_path / "tf2.ckpt")]
  made = pairs(*sides)
  assert {pair.status for pair in made} == {Status.SAME}
  assert len(made) == len(sides[0])


@pytest.mark.parametrize("name", golden.names())
def test_every_golden_is_itself(name):
  tensors = inspect_checkpoint(golden.path(name)).tensors
  made = pairs(tensors, tensors)
  assert {pair.status for pair in made} == {Status.SAME}
  assert [pair.shown for pair in made] == list(tensors)
