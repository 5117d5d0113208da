from __future__ import annotations

import pytest

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import formats
from estimator_ckpt.checkpoint.listing import saved_tensors
from estimator_ckpt.checkpoint.saved_tensor import SavedTensors
from tests import golden
from tests.bundle_builder import BundleBuilder

_PARTITIONED = "partitioned"


@pytest.fixture(params=[*golden.names(), _PARTITIONED])
def tensors(request):
  if request.param == _PARTITIONED:
    builder = BundleBuilder()
    builder.numbers("a", [1.0])
    builder.partitioned("p", [[1.0], [2.0], [3.0]], cuts=[1])
    builder.numbers("z", [1.0, 2.0])
    return saved_tensors(builder.index, None)
  prefix = golden.path(request.param)
  index = Index.read(prefix)
  return saved_tensors(index, formats.read_object_graph(prefix, index))


def test_columns_say_what_each_tensor_says(tensors):
  made = list(tensors)
  assert made == [tensors[row] for row in range(len(tensors))] == tensors[:]
  assert made[-1] == tensors[-1]
  assert list(SavedTensors.of(made)) == made
  assert list(tensors.names) == [tensor.name for tensor in made]
  assert list(tensors.keys) == [tensor.keys for tensor in made]
  assert list(tensors.sizes) == [tensor.size for tensor in made]
  assert tensors.shards == [tensor.shards for tensor in made]
  assert list(tensors.entries.shapes) == [tensor.shape for tensor in made]
  parts = [part.entry for tensor in made for part in tensor.parts]
  ends = [(entry.shard_id, entry.offset + entry.size) for entry in parts]
  assert tensors.parts.ends() == {
    shard_id: max(end for own, end in ends if own == shard_id) for shard_id, _ in ends
  }
  with pytest.raises(IndexError):
    tensors[len(tensors)]


def test_tensors_are_taken_and_joined(tensors):
  made = list(tensors)
  rows = [*range(1, len(made), 2), 0, 0]
  assert list(tensors.take(rows)) == [made[row] for row in rows]
  assert list(tensors.take([])) == []
  assert list(tensors.take(range(1)).followed_by(tensors)) == [made[0], *made]
  backwards = tensors.take(range(len(made) - 1, -1, -1))
  assert list(backwards.by_name()) == sorted(made, key=lambda tensor: tensor.name)
  assert list(tensors.by_name()) == made


def test_a_partitioned_tensor_has_the_bytes_of_its_slices():
  builder = BundleBuilder()
  builder.partitioned("p", [[1.0], [2.0], [3.0]], cuts=[1])
  tensors = saved_tensors(builder.index, None)
  (tensor,) = tensors
  assert tensors.sizes == [12]
  assert [part.entry.size for part in tensor.parts] == [4, 8]
