from __future__ import annotations

import pytest

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.bundle.stored_entries import (
  check_sizes,
  stored_entries,
  used_shards,
)
from estimator_ckpt.errors import CorruptCheckpointError
from tests import golden, stored


def test_aliases_are_one_place():
  index = Index.read(golden.path("tf1.15/momentum_partitioned"))
  entries = len(list(stored_entries(index)))
  index.alias("net/embedding_too", "net/embedding")
  assert len(list(stored_entries(index))) == entries + 3
  assert len(list(stored_entries(index, aliases=False))) == entries
  assert used_shards(index) == [0]


def test_an_entry_beyond_its_file(tmp_path):
  prefix = stored.write(tmp_path / "x", {"a": stored.vector(1), "b": stored.vector(2)})
  index = Index.read(prefix)
  assert check_sizes(index, Shards(prefix, 1)) == [8]
  index.put("c", BundleEntry(1, (1,), 0, 6, 4))
  with pytest.raises(CorruptCheckpointError, match="'c' is at bytes 6 to 10"):
    check_sizes(index, Shards(prefix, 1))
  index.put("c", BundleEntry(1, (1,), 3, 0, 4))
  with pytest.raises(CorruptCheckpointError, match="'c' is in data file number 3"):
    check_sizes(index, Shards(prefix, 1))


def test_of_many_tensors_each_is_looked_at(tmp_path):
  tensors = {f"w_{number}": stored.vector(number) for number in range(300)}
  prefix = stored.write(tmp_path / "x", tensors)
  index = Index.read(prefix)
  assert check_sizes(index, Shards(prefix, 1)) == [1200]
  for shard_id, offset, said in ((0, 1198, "bytes 1198 to 1202"), (1, 0, "number 1")):
    index.put("w_150", BundleEntry(1, (1,), shard_id, offset, 4, 1))
    with pytest.raises(CorruptCheckpointError, match=f"'w_150' is .*{said}"):
      check_sizes(index, Shards(prefix, 1))
