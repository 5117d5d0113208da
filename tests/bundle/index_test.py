from __future__ import annotations

import dataclasses
import os
import sys
from unittest import mock

import numpy as np  # noqa: F401
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import files, slices, table, table_writer
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry, BundleHeader, TensorSlice
from estimator_ckpt.errors import (
  CheckpointError,
  CheckpointKeyError,
  CheckpointNotFoundError,
  CorruptCheckpointError,
  OptionError,
  UnsupportedCheckpointError,
)
from tests import golden

_HEADER = BundleHeader().serialize()


def _entry(number):
  return BundleEntry(1, (number,), 0, 100 * number, 4 * number, number)


def _partitioned(index, key, number=1):
  parts = (TensorSlice(((0, 3), (0, -1))), TensorSlice(((3, 2), (0, -1))))
  index.put(key, BundleEntry(1, (5, 2), slices=parts))
  for part in parts:
    index.put(key, _entry(number + part.extents[0][0]), part)
  return parts


def _parse(items):
  return Index.parse(table_writer.write_table(*zip(*items)), "model.ckpt-3.index")


def _again(index):
  return Index.parse(index.serialize(), "again")


@pytest.mark.parametrize("name", golden.names())
def test_reading_and_writing_again_gives_tensorflows_bytes(name):
  path = golden.path(name) + ".index"
  data = files.read(path)
  assert Index.parse(data, path).serialize() == data


@pytest.mark.parametrize("name", golden.names())
def test_entries_say_what_tensorflow_wrote(name):
  from estimator_ckpt.bundle import dtypes

  index = Index.read(golden.path(name))
  tensors = golden.manifest(name)["tensors"]
  assert index.keys() == sorted(tensors, key=str.encode)
  for key, expected in tensors.items():
    entry = index.entry(key)
    assert list(entry.shape) == expected["shape"]
    assert dtypes.name(entry.dtype) == expected["dtype"]


def test_keys_are_those_of_tensors_sorted():
  index = Index()
  index.put("b", _entry(1))
  _partitioned(index, "part")
  index.put("a", _entry(2))
  assert index.keys() == list(index) == ["a", "b", "part"]
  assert _again(index).keys() == ["a", "b", "part"]
  assert len(index) == 3
  assert "part" in index
  assert "" not in index
  assert None not in index
  assert index.slice_keys() == ["part"]


def test_an_entry_is_what_was_put():
  index = Index()
  index.put("a", _entry(7))
  assert _again(index).entry("a") == _entry(7)
  assert _again(index).slice_entries("a") == []


def test_slices_come_in_the_order_of_their_tensors_entry():
  index = Index()
  parts = _partitioned(index, "part", number=4)
  found = _again(index).slice_entries("part")
  assert found == [(parts[0], _entry(4)), (parts[1], _entry(7))]


def test_an_alias_has_the_same_entry_and_slices():
  index = Index()
  index.put("a", _entry(7))
  _partitioned(index, "net/part")
  index.alias("b", "a")
  index.alias("x/part", "net/part")
  index = _again(index)
  assert index.keys() == ["a", "b", "net/part", "x/part"]
  assert index.entry("b") == _entry(7)
  assert index.entry("x/part") == index.entry("net/part")
  assert index.slice_entries("x/part") == index.slice_entries("net/part")
  assert index.location("b") == index.location("a")
  assert index.location("x/part") == index.location("net/part")
  assert index.location("a") != index.location("net/part")


def test_locations_are_those_of_all_keys():
  index = Index()
  for number, key in enumerate(["b", "c", "a"]):
    index.put(key, _entry(number))
  _partitioned(index, "part", number=4)
  # The same slices of another tensor.
  _partitioned(index, "like part", number=14)
  index.alias("b/too", "b")
  index.alias("part/too", "part")
  assert index.locations() == {key: index.location(key) for key in index.keys()}
  assert list(index.locations()) == index.keys()
  assert index.value("b") == index.value("b/too") == index.location("b")[0]
  assert index.value("d") is None
  assert index.values(["b", "d"]) == [index.value("b"), None]


def test_keys_besides_known_entries_are_those_of_others_and_of_all_partitioned_tensors():
  index = Index()
  for number, key in enumerate(["b", "c", "a"]):
    index.put(key, _entry(number))
  index.alias("b/too", "b")
  _partitioned(index, "part", number=4)
  known = {index.value("b"), index.value("part")}
  assert index.keys_besides(known) == ["a", "c", "part"]
  assert index.keys_besides(set()) == index.keys()


def test_an_alias_keeps_what_a_newer_version_wrote():
  raw = _entry(7).serialize() + b"\xa2\x06\x03abc"
  index = _parse([(b"", _HEADER), (b"a", raw)])
  index.alias("b", "a")
  items = dict(table.read_table(index.serialize(), "x"))
  assert items[b"a"] == items[b"b"] == raw


def test_an_alias_may_be_made_twice_but_not_over_another_tensor():
  index = Index()
  index.put("a", _entry(1))
  index.put("b", _entry(2))
  _partitioned(index, "p", number=1)
  _partitioned(index, "q", number=2)
  index.alias("a", "a")
  index.alias("c", "a")
  index.alias("c", "a")
  for new, old in (("b", "a"), ("a", "p"), ("q", "p")):
    with pytest.raises(OptionError, match=f"{old!r} cannot also be {new!r}"):
      index.alias(new, old)
  assert index.entry("b") == _entry(2)


_NEW_AND_OLD = st.dictionaries(
  st.sampled_from(["a", "b", "c", "d", "p", "q", "r", "é", "", "\0", "\0x"]),
  st.sampled_from(["a", "b", "c", "p", "none"]),
  max_size=4,
)


@given(_NEW_AND_OLD, st.booleans())
def test_many_aliases_are_those_that_are_made_one_by_one(keys, has_slices):
  ended = []
  for together in (True, False):
    index = Index()
    index.put("a", _entry(1))
    index.put("b", _entry(2))
    if has_slices:
      _partitioned(index, "p", number=1)
    try:
      if together:
        index.alias_all(keys)
      else:
        for new_key, key in keys.items():
          index.alias(new_key, key)
      ended.append(index.serialize())
    except CheckpointError as error:
      ended.append(str(error))
  assert ended[0] == ended[1]


@given(_NEW_AND_OLD)
def test_other_keys_are_the_same_with_slices_beside_them(keys):
  ended = []
  for has_slices in (False, True):
    index = Index()
    index.put("a", _entry(1))
    index.put("b", _entry(2))
    index.put("c", _entry(3))
    if has_slices:
      _partitioned(index, "beside", number=4)
    try:
      index.rekey(keys)
      ended.append({key: index.entry(key) for key in index.keys()})
    except OptionError as error:
      ended.append(str(error))
    except CheckpointKeyError:
      ended.append("no such key")
  assert ended[0] == ended[1]
  if isinstance(ended[0], dict):
    numbers = {"a": 1, "b": 2, "c": 3}
    assert ended[0] == {key: _entry(numbers[old]) for key, old in keys.items()}


@pytest.mark.parametrize("key", ["", "\0", "\0net/emb"])
def test_keys_that_the_format_needs_are_refused(key):
  index = Index()
  index.put("a", _entry(1))
  with pytest.raises(OptionError, match="cannot be a tensor's key"):
    index.alias(key, "a")
  with pytest.raises(OptionError, match="cannot be a tensor's key"):
    index.put(key, _entry(1))


def test_renaming_moves_slices_too():
  index = Index()
  _partitioned(index, "old")
  expected = index.slice_entries("old")
  index.rename("old", "new")
  index.rename("new", "new")
  index = _again(index)
  assert index.keys() == index.slice_keys() == ["new"]
  assert index.slice_entries("new") == expected


def test_removing_leaves_no_slices_behind():
  index = Index()
  _partitioned(index, "part")
  index.put("a", _entry(1))
  index.remove("part")
  assert [key for key, _ in table.read_table(index.serialize(), "x")] == [b"", b"a"]


def test_putting_replaces():
  index = Index()
  index.put("a", _entry(1))
  index.put("a", _entry(2))
  parts = _partitioned(index, "p", number=1)
  index.put("p", _entry(9), parts[0])
  assert index.entry("a") == _entry(2)
  assert [entry for _, entry in _again(index).slice_entries("p")] == [
    _entry(9),
    _entry(4),
  ]


_names = st.text(
  st.characters(blacklist_categories=["Cs"]) | st.sampled_from("/.\0 "),
  min_size=1,
  max_size=12,
).filter(lambda name: not name.startswith("\0"))


@given(st.dictionaries(_names, st.booleans(), min_size=1, max_size=12), st.data())
def test_an_index_is_what_a_dict_of_names_is(tensors, data):
  index = Index()
  model = {}
  for number, (name, partitioned) in enumerate(tensors.items(), 1):
    if partitioned:
      _partitioned(index, name, 10 * number)
    else:
      index.put(name, _entry(number))
    model[name] = index.location(name)
  for new in data.draw(st.lists(_names, max_size=6)):
    old = data.draw(st.sampled_from(sorted(model)))
    if new in model:
      continue
    if data.draw(st.booleans()):
      index.alias(new, old)
      model[new] = model[old]
    else:
      index.rename(old, new)
      model[new] = model.pop(old)
  index = _again(index)
  assert index.keys() == sorted(model, key=str.encode)
  assert {name: index.location(name) for name in model} == model


def test_names_that_are_no_text_survive():
  index = _parse([(b"", _HEADER), (b"a\xff", _entry(1).serialize())])
  (key,) = index.keys()
  index.alias(f"x/{key}", key)
  assert [k for k, _ in table.read_table(index.serialize(), "x")] == [
    b"",
    b"a\xff",
    b"x/a\xff",
  ]


def test_a_missing_key_is_named_with_the_nearest():
  index = _parse([(b"", _HEADER), (b"dense/bias", _entry(1).serialize())])
  with pytest.raises(CheckpointKeyError) as caught:
    index.entry("dense/bais")
  assert str(caught.value) == (
    "model.ckpt-3.index: no tensor 'dense/bais' among 1; the nearest is 'dense/bias'"
  )
  for call in (index.remove, index.location, index.slice_entries):
    with pytest.raises(CheckpointKeyError):
      call("x")
  with pytest.raises(CheckpointKeyError):
    index.alias("y", "x")
  with pytest.raises(CheckpointKeyError):
    index.rename("x", "x")


def test_a_damaged_entry_names_file_and_key():
  index = _parse([(b"", _HEADER), (b"a", b"\x12\x05")])
  with pytest.raises(CorruptCheckpointError) as caught:
    index.entry("a")
  assert str(caught.value).startswith("model.ckpt-3.index: entry of 'a': truncated")


def test_a_missing_slice_is_named():
  index = Index()
  parts = (TensorSlice(((0, 3),)), TensorSlice(((3, 2),)))
  index.put("p", BundleEntry(1, (5,), slices=parts))
  index.put("p", _entry(1), parts[0])
  with pytest.raises(CorruptCheckpointError, match="slice 3,2 of 'p' has no entry"):
    index.slice_entries("p")


def test_slices_without_their_tensors_entry_are_kept_and_shown():
  key = slices.slice_key("lost", TensorSlice(((0, 3),)))
  index = _parse([(b"", _HEADER), (key, _entry(1).serialize())])
  assert index.keys() == []
  assert index.slice_keys() == ["lost"]
  assert _again(index).slice_keys() == ["lost"]


@pytest.mark.parametrize(
  "header, error, problem",
  [
    (BundleHeader(endianness=1), UnsupportedCheckpointError, "big-endian"),
    (BundleHeader(endianness=2), CorruptCheckpointError, "unknown byte order 2"),
    (BundleHeader(min_consumer=2), UnsupportedCheckpointError, "format version 2"),
    (BundleHeader(bad_consumers=(1,)), UnsupportedCheckpointError, "excluded: \\[1\\]"),
    (BundleHeader(num_shards=0), CorruptCheckpointError, "0 data files"),
    (BundleHeader(num_shards=-1), CorruptCheckpointError, "-1 data files"),
    (BundleHeader(num_shards=2**31 - 1), CorruptCheckpointError, "2147483647 data"),
  ],
)
def test_headers_that_cannot_be_read_are_refused(header, error, problem):
  with pytest.raises(error, match=problem) as caught:
    _parse([(b"", header.serialize())])
  assert str(caught.value).startswith("model.ckpt-3.index: ")


@pytest.mark.parametrize(
  "header",
  [
    BundleHeader(producer=99),
    BundleHeader(producer=0),
    BundleHeader(min_consumer=1, bad_consumers=(2, 3)),
  ],
)
def test_headers_that_tensorflow_accepts_are_accepted(header):
  assert _parse([(b"", header.serialize())]).header == header


def test_a_table_without_header_is_no_checkpoint():
  with pytest.raises(CorruptCheckpointError, match="without a bundle's header"):
    _parse([(b"a", b"")])


def test_a_damaged_slice_key_is_refused():
  with pytest.raises(CorruptCheckpointError, match="model.ckpt-3.index: slice key"):
    _parse([(b"", _HEADER), (b"\x00abc", b"")])


def test_an_unchanged_header_keeps_its_bytes():
  raw = bytes.fromhex("08011a04080120072a00")
  index = _parse([(b"", raw)])
  assert table.read_table(index.serialize(), "x") == [(b"", raw)]
  index.header = dataclasses.replace(index.header, num_shards=2)
  assert _again(index).header.num_shards == 2
  assert _again(index).header.unknown == b"\x2a\x00"


def test_data_paths_are_as_many_as_the_header_says():
  index = Index(BundleHeader(num_shards=2))
  assert index.data_paths("m") == ["m.data-00000-of-00002", "m.data-00001-of-00002"]


def test_writing_replaces_the_file_and_leaves_nothing_else(tmp_path):
  prefix = str(tmp_path / "model.ckpt-3")
  for number in (1, 2):
    index = Index()
    index.put("a", _entry(number))
    index.write(prefix)
    assert Index.read(prefix).entry("a") == _entry(number)
  assert os.listdir(tmp_path) == ["model.ckpt-3.index"]


def test_a_missing_index_is_named(tmp_path):
  with pytest.raises(CheckpointNotFoundError, match="model.ckpt-3.index"):
    Index.read(str(tmp_path / "model.ckpt-3"))


def test_many_variables_are_read_and_aliased():
  index = Index()
  for number in range(20_000):
    index.put(f"scope_{number % 37}/layer_{number}/kernel", _entry(number + 1))
  index = _again(index)
  index.alias_all({f"var_list/{key}": key for key in index.keys()})
  index = _again(index)
  assert len(index) == 40_000
  assert index.entry("var_list/scope_0/layer_37/kernel") == _entry(38)


@given(
  st.dictionaries(
    st.binary(max_size=8) | st.binary(max_size=8).map(lambda b: b"\0" + b),
    st.binary(max_size=30),
    max_size=8,
  )
)
def test_any_table_is_an_index_or_a_checkpoint_error(items):
  items.setdefault(b"", _HEADER)
  try:
    index = _parse(sorted(items.items()))
  except CheckpointError:
    return
  for key in index.keys():
    try:
      index.entry(key)
      index.slice_entries(key)
    except CheckpointError:
      pass
  assert _again(index).keys() == index.keys()


@pytest.mark.parametrize("key", ["w", "a\0b", "a\udcff", "k" * 2000])
def test_a_large_index_has_the_same_bytes_with_and_without_numpy(key):
  index = Index()
  for number in range(2500):
    index.put(f"layer_{number}/ä", BundleEntry(1, (2,), 0, 8 * number, 8, number))
  rows = TensorSlice(((0, 1), (0, -1)))
  index.put("parts", BundleEntry(1, (2, 3), slices=(rows,)))
  index.put("parts", BundleEntry(1, (1, 3), 0, 0, 12, 7), rows)
  index.put(key, BundleEntry(1, (), 0, 0, 4, 1))
  written = index.serialize()
  with mock.patch.dict(sys.modules):
    del sys.modules["numpy"]
    assert index.serialize() == written
  assert Index.parse(written, "index").locations() == index.locations()
