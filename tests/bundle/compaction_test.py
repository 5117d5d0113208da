from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import files
from estimator_ckpt.bundle.commit import BundleWriter
from estimator_ckpt.bundle.compaction import compact_data
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.errors import CorruptCheckpointError
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.diff import diff
from estimator_ckpt.files.rewrite_plan import RewritePlan
from estimator_ckpt.files.strip import strip
from estimator_ckpt.files.write import SourceCheckpoint, write
from tests import golden, stored


def test_overlapping_tensors_overlap_when_compacted(tmp_path):
  prefix = stored.write(tmp_path / "x", {"a": stored.vector(1, 2, 3)})
  index = Index.read(prefix)
  for number in (0, 1):
    data = stored.vector(number + 1, number + 2).parts[0][1]
    crc = stored.checksum.mask(stored.checksum.crc32c(data))
    index.put(f"part_{number}", BundleEntry(1, (2,), 0, 4 * number, 8, crc))
  index.remove("a")
  index.write(prefix)
  before = stored.stored(prefix)
  source = SourceCheckpoint.read(prefix)
  plan = RewritePlan(source.format, {key: key for key in before})
  write(source, str(tmp_path / "y"), plan, compact=True)
  assert stored.stored(tmp_path / "y") == before
  assert os.path.getsize(tmp_path / "y.data-00000-of-00001") == 12


def test_parts_and_the_whole_stay_one_tensor(tmp_path):
  # The object's key has the whole float16 tensor, over the bytes of the name's parts.
  names = golden.path("tf1.15/partitioned_half")
  convert(names, tmp_path / "dual", "dual")
  dual = str(tmp_path / "dual")
  size = os.path.getsize(dual + ".data-00000-of-00002")
  strip(dual, tmp_path / "compact", compact=True)
  assert os.path.getsize(tmp_path / "compact.data-00000-of-00002") == size
  assert not diff(dual, tmp_path / "compact", values=True).differences
  convert(tmp_path / "compact", tmp_path / "names", "tf1")
  assert stored.stored(tmp_path / "names") == stored.stored(names)


def _compact(prefix, target):
  index = Index.read(prefix)
  copied = []
  with BundleWriter(target, index.header.num_shards) as bundle:
    shards = Shards(prefix, index.header.num_shards)
    bundle.commit(compact_data(index, shards, bundle, copied.append))
  return sum(copied)


@pytest.mark.parametrize("chunk_size", [1, 3, 4, 5, 8, 100])
def test_tensors_that_end_anywhere_in_a_chunk(tmp_path, monkeypatch, chunk_size):
  tensors = {f"v{n}": stored.vector(*range(n)) for n in range(6)}
  prefix = stored.write(tmp_path / "x", tensors)
  monkeypatch.setattr(files, "CHUNK_SIZE", chunk_size)
  assert _compact(prefix, str(tmp_path / "y")) == 60
  assert stored.stored(tmp_path / "y") == tensors
  # The damaged byte is found wherever the chunks end.
  with open(prefix + ".data-00000-of-00001", "r+b") as file:
    file.seek(30)
    file.write(b"\x99")
  with pytest.raises(CorruptCheckpointError, match="'v4'"):
    _compact(prefix, str(tmp_path / "z"))


@given(
  st.lists(st.integers(0, 5), min_size=1, max_size=8),
  st.sets(st.integers(0, 7)),
  st.integers(1, 3),
)
def test_any_part_of_a_checkpoint(tmp_path_factory, sizes, gone, num_shards):
  directory = tmp_path_factory.mktemp("part")
  tensors = {f"v{n}": stored.vector(*range(size)) for n, size in enumerate(sizes)}
  prefix = stored.write(directory / "x", tensors, num_shards=num_shards)
  index = Index.read(prefix)
  for number in gone:
    if number < len(sizes):
      index.remove(f"v{number}")
  index.write(prefix)
  left = stored.stored(prefix)
  assert _compact(prefix, str(directory / "y")) == sum(
    len(tensor.parts[0][1]) for tensor in left.values()
  )
  assert stored.stored(directory / "y") == left
