"""A large index gets the keys that `Index` gives it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import aliased_index, table_writer
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice

_NAMES = st.text("ab/.\xe9\U0001f600", min_size=1, max_size=9)
_HALVES = [TensorSlice(((start, 300), (0, -1))) for start in (0, 300)]


def _index(keys, partitioned=(), crc=1000):
  index = Index()
  for number, key in enumerate(keys):
    crcs = crc + 3 * number
    if key not in partitioned:
      # A checksum of zero is left out.
      entry = BundleEntry(1, (2,), number % 3, 8 * number, 8, number % 5 and crcs)
      index.put(key, entry)
      continue
    index.put(key, BundleEntry(1, (600, 2), slices=tuple(_HALVES)))
    for half, tensor_slice in enumerate(_HALVES):
      entry = BundleEntry(1, (300, 2), half, 8 * number, 2400, crcs + half)
      index.put(key, entry, tensor_slice)
  return index


def _aliased(index, aliases):
  index.alias_all(aliases)
  return index.serialize()


@given(st.data())
def test_the_file_is_that_of_an_index(data):
  keys = sorted(data.draw(st.sets(_NAMES, min_size=1, max_size=30)))
  partitioned = data.draw(st.sets(st.sampled_from(keys), max_size=3))
  aliased = data.draw(st.lists(st.sampled_from(keys), unique=True))
  mark = data.draw(st.sampled_from(["A", "a!", "z\udcff", "\u20ac"]))
  aliases = {mark + key: key for key in aliased}
  index = _index(keys, partitioned)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(aliased_index, "_PIECE", data.draw(st.sampled_from([1, 512])))
    made = aliased_index.with_aliases(index.serialize(), aliases)
  assert made is not None
  result, copy = made
  assert result == _aliased(index, aliases)
  other = _index(keys, partitioned, crc=5000)
  assert copy.apply(other.serialize()) == _aliased(other, aliases)


def test_many_blocks():
  keys = [f"var_list/model.Slayer_{i}/kernel" for i in range(30000)]
  aliases = {f"model/layer_{i}": key for i, key in enumerate(keys) if i % 1000}
  partitioned = {keys[7], keys[20000]}
  index = _index(keys, partitioned)
  source = index.serialize()
  result, copy = aliased_index.with_aliases(source, aliases)
  assert len(source) > 3 * 262144
  assert result == _aliased(index, aliases)
  other = _index(keys, partitioned, crc=5000)
  assert copy.apply(other.serialize()) == _aliased(other, aliases)


@pytest.mark.parametrize("mark", ["", "/", "z"])
def test_new_keys_may_stand_before_between_and_behind_the_present_ones(mark):
  keys = [f"layer_{i:04}" for i in range(3000)]
  aliases = {f"{mark}{key}{'' if mark else '/w'}": key for key in reversed(keys)}
  index = _index(keys)
  result, _ = aliased_index.with_aliases(index.serialize(), aliases)
  assert result == _aliased(index, aliases)


@pytest.mark.parametrize(
  "aliases",
  [
    {"new": "missing"},
    {"a": "b"},
    {"a": "a"},
    {"": "a"},
    {"\0new": "a"},
    {"new": ""},
    {"new": "\0"},
  ],
)
def test_wrong_keys_are_left_to_others(aliases):
  source = _index(["a", "b", *map(str, range(40))], {"b"}).serialize()
  assert aliased_index.with_aliases(source, {"fine": "a"}) is not None
  assert aliased_index.with_aliases(source, {"fine": "a", **aliases}) is None


@pytest.mark.parametrize("piece", [1, 512])
def test_an_alias_that_is_there_is_left_to_others(piece, monkeypatch):
  monkeypatch.setattr(aliased_index, "_PIECE", piece)
  index = _index(["a", *map(str, range(40))])
  index.alias("b", "a")
  assert aliased_index.with_aliases(index.serialize(), {"b": "a"}) is None


def test_a_table_without_a_header_is_left_to_others():
  keys = [b"%03d" % i for i in range(100)]
  file = table_writer.write_table(keys, keys)
  assert aliased_index.with_aliases(file, {"a": "001"}) is None
  file = table_writer.write_table([b"", *keys], [b"\x1a\x02\x10\x05", *keys])
  assert aliased_index.with_aliases(file, {"a": "001"}) is None
