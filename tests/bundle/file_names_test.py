from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import file_names


def test_names_are_those_of_tensorflow():
  assert file_names.index_path("dir/model.ckpt-3") == "dir/model.ckpt-3.index"
  path = file_names.data_path("dir/model.ckpt-3", 7, 12)
  assert path == "dir/model.ckpt-3.data-00007-of-00012"


@given(st.text(max_size=20), st.integers(0, 99999), st.integers(0, 99999))
def test_data_paths_round_trip(prefix, shard, count):
  path = file_names.data_path(prefix, shard, count)
  assert file_names.parse_data_path(path) == (prefix, shard, count)


@pytest.mark.parametrize(
  "path",
  [
    "model.ckpt-3.index",
    "model.ckpt-3.data-00000-of-00001.tmp",
    "model.ckpt-3.data-0-of-1",
    "model.ckpt-3.data-00000-of-000010",
    "data-00000-of-00001",
  ],
)
def test_other_names_are_none_of_a_data_file(path):
  assert file_names.parse_data_path(path) is None
