from __future__ import annotations

import json

import numpy as np
import pytest

from estimator_ckpt.files.page.contents import contents
from tests import golden
from tests.bundle_builder import BundleBuilder


@pytest.fixture
def sides(tmp_path):
  """Two checkpoints: one tensor equal, moved, and renamed; one on each side alone."""
  arrays = {
    "a": {"same": [1, 2], "w": [3, 4], "old": [5, 6, 7], "gone": [1], "zero": [0, 0]},
    "b": {"same": [1, 2], "w": [3, 4.5], "new": [5, 6, 7], "come": [2], "zero": [1, 0]},
  }
  prefixes = []
  for side, tensors in arrays.items():
    builder = BundleBuilder()
    for name, values in tensors.items():
      builder.numbers(name, np.array(values))
    prefixes.append(builder.write(tmp_path / side / "model.ckpt-1"))
  return prefixes


def test_without_values_checksums_tell(sides):
  section = contents(*sides).sections["comparison"]
  said = {
    name: section["statuses"][status]
    for name, status in zip(section["name"], section["status"])
  }
  assert said == {
    "same": "same",
    "w": "changed",
    "zero": "changed",
    "new": "renamed",
    "gone": "only_in_a",
    "come": "only_in_b",
  }
  assert section["was"] == {str(section["name"].index("new")): "old"}
  assert "distances" not in section


def test_values_are_read_where_checksums_differ(sides):
  done = []
  found = contents(*sides, values=True, progress=lambda *of: done.append(of))
  section = found.sections["comparison"]
  distances = {section["name"][int(p)]: d for p, d in section["distances"].items()}
  assert distances == {"w": [0.5, 0.1, 0.5, 1], "zero": [1.0, None, 1.0, 1]}
  assert done[-1] == (32, 32)
  json.dumps(found.as_dict(), allow_nan=False)


def test_equal_names_of_files_are_told_apart_by_their_paths(sides):
  assert contents(*sides).title == f"{sides[0]} and {sides[1]}"


def test_two_goldens_of_any_format():
  found = contents(
    golden.path("tf1.15/many_dtypes"), golden.path("tf2.15/keras2_adam"), values=True
  )
  assert list(found.sections) == ["comparison"]
  json.dumps(found.as_dict(), allow_nan=False)
