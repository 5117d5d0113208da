from __future__ import annotations

import concurrent.futures
import os
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import checksum, copies, dtypes, strings
from estimator_ckpt.bundle.commit import BundleWriter
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice
from estimator_ckpt.checkpoint import formats
from estimator_ckpt.checkpoint.reader import open_checkpoint
from estimator_ckpt.errors import (
  CheckpointError,
  CheckpointKeyError,
  CheckpointNotFoundError,
  CorruptCheckpointError,
  UnsupportedCheckpointError,
)
from tests import golden


class _Bundle:
  """Writes a bundle of NumPy arrays, with offsets and slices as a test asks."""

  def __init__(self):
    self.index = Index()
    self.data = bytearray()

  def add(self, key, array, slices=(), pad=0, **changes):
    """Adds an array, whole or in slices: a list of (start, length) per dimension."""
    dtype = _number(array)
    parts = tuple(TensorSlice(tuple(extents)) for extents in slices)
    if not parts:
      self.index.put(key, self._entry(array, dtype, pad, changes))
      return
    self.index.put(key, BundleEntry(dtype, array.shape, slices=parts))
    for part in parts:
      where = tuple(
        slice(None) if n == -1 else slice(start, start + n) for start, n in part.extents
      )
      self.index.put(key, self._entry(array[where], dtype, pad, changes), part)

  def _entry(self, array, dtype, pad, changes):
    self.data += b"\xee" * pad
    if array.dtype == object:
      encoded, crc = strings.encode(list(array.ravel()))
    else:
      encoded = array.tobytes()
      crc = checksum.mask(checksum.crc32c(encoded))
    fields = {
      "dtype": dtype,
      "shape": array.shape,
      "offset": len(self.data),
      "size": len(encoded),
      "crc32c": crc,
    }
    self.data += encoded
    return BundleEntry(**{**fields, **changes})

  def write(self, directory):
    prefix = str(directory / "model.ckpt-3")
    with BundleWriter(prefix, 1) as bundle:
      bundle.add_bytes(bytes(self.data))
      bundle.commit(self.index)
    return prefix


def _write(directory, arrays, **options):
  bundle = _Bundle()
  for key, array in arrays.items():
    bundle.add(key, array, **options)
  return bundle.write(directory)


def _same(array, expected):
  return (
    array.dtype == expected.dtype
    and array.shape == expected.shape
    and array.tobytes() == expected.tobytes()
  )


@pytest.mark.parametrize("name", golden.names())
def test_what_tensorflow_wrote_is_read_equal(name):
  with open_checkpoint(golden.path(name)) as checkpoint:
    types = {key: t["dtype"] for key, t in golden.manifest(name)["tensors"].items()}
    assert checkpoint.dtypes == types
    for key, expected in golden.expected(name).items():
      array = checkpoint[key]
      if types[key] == "bfloat16":
        assert array.dtype == dtypes.to_numpy(dtypes.number("bfloat16"))
        array = array.astype(np.float32)
      elif types[key] == "string":
        assert array.dtype == object
        array = array.astype(expected.dtype)
      assert _same(array, expected), key


@pytest.mark.parametrize(
  "dtype", [number for number in range(1, 33) if number not in (7, 20, 21, 30, 31, 32)]
)
def test_every_type_is_read_whole_and_in_slices(dtype, tmp_path):
  if dtypes.name(dtype).startswith(("float8", "int4", "uint4")):
    pytest.importorskip("ml_dtypes")  # No wheel is for Python 3.7.
  numpy_type = dtypes.to_numpy(dtype)
  raw = np.arange(24 * numpy_type.itemsize, dtype=np.uint8)
  if dtypes.name(dtype) in ("bool", "int4"):
    raw = raw % 2
  array = raw.view(numpy_type).reshape(6, 4)
  bundle = _Bundle()
  bundle.add("whole", array, dtype=dtype)
  bundle.add("rows", array, [[(0, 4), (0, -1)], [(4, 2), (0, 4)]], dtype=dtype)
  blocks = [[(a, 3), (b, 2)] for a in (0, 3) for b in (2, 0)]
  bundle.add("blocks", array, blocks, dtype=dtype)
  for key in ("rows", "blocks"):
    entry = bundle.index.entry(key)
    bundle.index.put(key, BundleEntry(dtype, entry.shape, slices=entry.slices))
  with open_checkpoint(bundle.write(tmp_path)) as checkpoint:
    for key in checkpoint:
      assert _same(checkpoint[key], array), key
      assert checkpoint.shapes[key] == (6, 4)


def test_strings_are_read_whole_and_in_slices(tmp_path):
  array = np.array([[b"a", b""], [b"\xff\0", b"x" * 300], [b"c", b"d"]], object)
  bundle = _Bundle()
  bundle.add("whole", array)
  bundle.add("parts", array, [[(0, 1), (0, -1)], [(1, 2), (0, -1)]])
  bundle.add("scalar", np.array(b"one", object))
  bundle.add("none", np.empty((0, 3), object))
  with open_checkpoint(bundle.write(tmp_path)) as checkpoint:
    assert checkpoint["whole"].tolist() == array.tolist()
    assert checkpoint["parts"].tolist() == array.tolist()
    assert checkpoint["scalar"].item() == b"one"
    assert checkpoint["none"].shape == (0, 3)
    assert set(checkpoint.dtypes.values()) == {"string"}


@given(st.data())
def test_any_grid_of_slices_is_stitched(tmp_path_factory, data):
  cuts = [
    data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    for _ in range(data.draw(st.integers(1, 3)))
  ]
  shape = tuple(map(sum, cuts))
  dtype = data.draw(st.sampled_from(["float16", "int64", "complex64", "bool"]))
  array = (np.arange(np.prod(shape)) % 251).astype(dtype).reshape(shape)
  boxes = [[]]
  for lengths in cuts:
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    boxes = [box + [extent] for box in boxes for extent in zip(starts, lengths)]
  bundle = _Bundle()
  bundle.add("part", array, data.draw(st.permutations(boxes)))
  directory = tmp_path_factory.mktemp("grid")
  with open_checkpoint(bundle.write(directory)) as checkpoint:
    assert _same(checkpoint["part"], array)


def test_it_is_a_mapping(tmp_path):
  arrays = {"b": np.arange(3), "a": np.array(1.5), "c/d": np.zeros((2, 0))}
  with open_checkpoint(_write(tmp_path, arrays)) as checkpoint:
    assert list(checkpoint) == ["a", "b", "c/d"]
    assert len(checkpoint) == 3
    assert "a" in checkpoint
    assert "x" not in checkpoint
    assert checkpoint.get("x") is None
    assert {k: v.tolist() for k, v in checkpoint.items()} == {
      "a": 1.5,
      "b": [0, 1, 2],
      "c/d": [[], []],
    }
    assert checkpoint.shapes == {"a": (), "b": (3,), "c/d": (2, 0)}
    assert checkpoint.dtypes == {"a": "float64", "b": "int64", "c/d": "float64"}
    assert checkpoint.format is formats.CheckpointFormat.TF1
    assert checkpoint.prefix.endswith("model.ckpt-3")
    assert checkpoint.object_graph is None
    assert checkpoint.object_paths == {}
    assert checkpoint.slots == []
    assert checkpoint.names == {"a": "a", "b": "b", "c/d": "c/d"}
    assert repr(checkpoint).endswith("model.ckpt-3', 3 tensors)")


def test_large_aligned_tensors_are_mapped_and_others_read(tmp_path):
  large = np.arange(20_000, dtype=np.int64)
  bundle = _Bundle()
  bundle.add("aligned", large)
  bundle.add("odd", large, pad=3)
  bundle.add("small", large[:10])
  prefix = bundle.write(tmp_path)
  with open_checkpoint(prefix) as checkpoint:
    assert isinstance(checkpoint["aligned"], np.memmap)
    assert not isinstance(checkpoint["odd"], np.memmap)
    assert not isinstance(checkpoint["small"], np.memmap)
    assert checkpoint["odd"].flags.aligned
    for key, length in (("aligned", 20_000), ("odd", 20_000), ("small", 10)):
      assert _same(checkpoint[key], large[:length])
      assert not checkpoint[key].flags.writeable
  with open_checkpoint(prefix, memory_map=False) as checkpoint:
    assert not isinstance(checkpoint["aligned"], np.memmap)
    assert _same(checkpoint["aligned"], large)


def test_arrays_outlive_their_reader_and_a_closed_one_says_so(tmp_path):
  large = np.arange(20_000)
  with open_checkpoint(_write(tmp_path, {"w": large})) as checkpoint:
    array = checkpoint["w"]
  assert _same(array, large)
  with pytest.raises(CheckpointError, match="the reader is closed"):
    checkpoint["w"]


@pytest.mark.parametrize("length", [10, 20_000])
def test_damaged_bytes_are_found_at_the_first_read(tmp_path, length):
  prefix = _write(tmp_path, {"w": np.arange(length)})
  with open(f"{prefix}.data-00000-of-00001", "r+b") as file:
    file.seek(8)
    file.write(b"\x07")
  with open_checkpoint(prefix) as checkpoint:
    for _ in range(2):
      with pytest.raises(CorruptCheckpointError, match="the checksum of 'w' does not"):
        checkpoint["w"]
  with open_checkpoint(prefix, verify=False) as checkpoint:
    assert checkpoint["w"][1] == 7


def test_a_tensor_is_verified_once(tmp_path, monkeypatch):
  prefix = _write(tmp_path, {"w": np.arange(20_000)})
  with open_checkpoint(prefix) as checkpoint:
    checkpoint["w"]
    monkeypatch.setattr(checksum, "extend", None)
    monkeypatch.setattr(checksum, "crc32c", None)
    assert checkpoint["w"][7] == 7


def test_threads_may_share_a_reader(tmp_path):
  arrays = {f"w{n}": np.arange(n, n + 10_000) for n in range(24)}
  prefix = _write(tmp_path, arrays)
  with open_checkpoint(prefix) as checkpoint:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
      keys = sorted(arrays) * 5
      for key, array in zip(keys, pool.map(checkpoint.__getitem__, keys)):
        assert _same(array, arrays[key])


@pytest.mark.parametrize(
  "name", ["tf1.15/many_dtypes", "tf1.15/momentum_partitioned", "tf2.15/keras2_adam"]
)
def test_threads_may_share_a_reader_of_anything(name):
  path = golden.path(name)
  with open_checkpoint(path) as alone:
    expected = {key: _read(alone, key) for key in alone}
    names, paths, slots = alone.names, alone.object_paths, alone.slots
  start = threading.Barrier(8)

  def read_all(number):
    start.wait()
    keys = sorted(expected)
    # Each thread begins elsewhere; all ask at once for data that is read only once.
    found = {key: _read(shared, key) for key in keys[number * 3 :] + keys[: number * 3]}
    return found, shared.names, shared.object_paths, shared.slots

  interval = sys.getswitchinterval()
  sys.setswitchinterval(1e-6)
  try:
    with open_checkpoint(path) as shared:
      with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for found, *graph in pool.map(read_all, range(8)):
          assert graph == [names, paths, slots]
          assert found == expected
  finally:
    sys.setswitchinterval(interval)


def _read(checkpoint, key):
  array = checkpoint[key]
  content = array.tolist() if array.dtype == object else array.tobytes()
  return array.dtype, array.shape, content


def test_a_missing_key_has_its_nearest(tmp_path):
  with open_checkpoint(_write(tmp_path, {"dense/kernel": np.ones(1)})) as checkpoint:
    with pytest.raises(CheckpointKeyError, match="nearest is 'dense/kernel'"):
      checkpoint["dense/kernal"]
    with pytest.raises(KeyError):
      checkpoint["x"]


def test_a_variables_name_leads_to_its_key():
  with open_checkpoint(golden.path("tf2.15/guide_scaffold")) as checkpoint:
    name, key = next((n, k) for n, k in checkpoint.names.items() if n != k)
    assert key in checkpoint
    with pytest.raises(CheckpointKeyError) as caught:
      checkpoint[name]
    assert f"it stands for the key {key!r}" in str(caught.value)


def test_variants_are_named():
  with open_checkpoint(golden.path("tf1.15/iterator")) as checkpoint:
    key = next(k for k, dtype in checkpoint.dtypes.items() if dtype == "variant")
    with pytest.raises(UnsupportedCheckpointError, match=f"{key}.* is a variant"):
      checkpoint[key]


def test_object_paths_names_and_slots_of_keras_2():
  with open_checkpoint(golden.path("tf2.15/keras2_legacy_adam")) as checkpoint:
    assert checkpoint.format is formats.CheckpointFormat.TF2
    end = "/.ATTRIBUTES/VARIABLE_VALUE"
    kernel = f"model/layer_with_weights-0/kernel{end}"
    paths = {path for path, key in checkpoint.object_paths.items() if key == kernel}
    assert "model/layer_with_weights-0/kernel" in paths
    assert set(checkpoint.object_paths.values()) <= set(checkpoint)
    for path, key in checkpoint.object_paths.items():
      assert golden.OBJECT_GRAPH_KEY != key
      assert ".ATTRIBUTES" not in path
    names = {key: name for name, key in checkpoint.names.items()}
    slots = {
      slot.slot_name: slot for slot in checkpoint.slots if slot.variable_key == kernel
    }
    assert set(slots) == {"m", "v"}
    assert slots["m"].key == kernel.replace(end, f"/.OPTIMIZER_SLOT/optimizer/m{end}")
    assert names[slots["m"].key].endswith("/m")
    assert checkpoint[slots["m"].key].shape == checkpoint[kernel].shape


def test_two_parents_give_two_paths():
  with open_checkpoint(golden.path("tf2.15/module_tree")) as checkpoint:
    keys = list(checkpoint.object_paths.values())
    assert any(keys.count(key) > 1 for key in keys)


def test_an_odd_name_is_a_name():
  name = "tf1.15/odd_names"
  with open_checkpoint(golden.path(name)) as checkpoint:
    assert set(checkpoint.names) == set(golden.manifest(name)["tensors"])


def test_directories_and_files_are_opened():
  directory = golden.directory("tf1.15/adam_dense")
  for path in (directory, f"{directory}/checkpoint", f"{directory}/model.ckpt-7.index"):
    with open_checkpoint(path) as checkpoint:
      assert checkpoint.prefix == f"{directory}/model.ckpt-7"


def test_a_missing_data_file_is_named_when_it_is_needed(tmp_path):
  prefix = _write(tmp_path, {"w": np.ones(3)})
  os.remove(f"{prefix}.data-00000-of-00001")
  with open_checkpoint(prefix) as checkpoint:
    assert checkpoint.shapes == {"w": (3,)}
    with pytest.raises(CheckpointNotFoundError, match="data-00000-of-00001"):
      checkpoint["w"]


def test_remote_checkpoints_are_read(tmp_path):
  pytest.importorskip("fsspec")
  bundle = _Bundle()
  large = np.arange(20_000)
  bundle.add("w", large)
  bundle.add("p", large.reshape(100, 200), [[(0, 60), (0, -1)], [(60, 40), (0, -1)]])
  bundle.write(tmp_path)
  root = f"memory:/{tmp_path}"
  for name in os.listdir(tmp_path):
    copies.copy(str(tmp_path / name), f"{root}/{name}")
  with open_checkpoint(f"{root}/model.ckpt-3") as checkpoint:
    assert _same(checkpoint["w"], large)
    assert _same(checkpoint["p"], large.reshape(100, 200))


_ROWS = [[(0, 4), (0, -1)], [(4, 2), (0, -1)]]


@pytest.mark.parametrize(
  "slices, changes, problem",
  [
    ([[(0, 4), (0, -1)]], {}, "hold 16 of the 24 elements"),
    ([[(0, 4), (0, -1)], [(3, 3), (0, -1)]], {}, "overlap"),
    ([[(0, 4), (0, -1)], [(4, 9), (0, -1)]], {}, "outside its tensor"),
    ([[(0, 6)]], {}, "has 1 dimensions"),
    (_ROWS, {"dtype": 9}, "is int64 of shape \\[4, 4\\], expected float32"),
    (_ROWS, {"shape": (4, 3)}, "is float32 of shape \\[4, 3\\], expected"),
    (_ROWS, {"offset": 50}, "at bytes 50 to 114, and the file has 96"),
  ],
)
def test_slices_are_not_believed(tmp_path, slices, changes, problem):
  bundle = _Bundle()
  array = np.arange(24, dtype=np.float32).reshape(6, 4)
  bundle.add("p", array, slices, **changes)
  bundle.data = bundle.data[:96]
  with open_checkpoint(bundle.write(tmp_path)) as checkpoint:
    with pytest.raises(CorruptCheckpointError, match=problem):
      checkpoint["p"]


def test_slices_may_not_make_much_out_of_little(tmp_path):
  count = 200
  bundle = _Bundle()
  bundle.data += bytes(4000)
  parts = tuple(TensorSlice(((1000 * n, 1000),)) for n in range(count))
  bundle.index.put("p", BundleEntry(1, (1000 * count,), slices=parts))
  for part in parts:
    bundle.index.put("p", BundleEntry(1, (1000,), 0, 0, 4000, 0), part)
  with open_checkpoint(bundle.write(tmp_path)) as checkpoint:
    with pytest.raises(
      CorruptCheckpointError, match="have 800000 bytes, and their data"
    ):
      checkpoint["p"]


@pytest.mark.parametrize(
  "entry",
  [
    BundleEntry(1, (0, 2**62), size=0),
    BundleEntry(1, (1,) * 100, size=4),
    BundleEntry(1, (2**62, 2**62), size=0),
    BundleEntry(7, (2**62,), size=9),
    BundleEntry(1, (2**40,), size=2**42),
    BundleEntry(77, (1,), size=4),
    BundleEntry(0, (), size=0),
    BundleEntry(1, (0, 2**62), slices=(TensorSlice(((0, -1), (0, -1))),)),
    BundleEntry(7, (2**40,), slices=(TensorSlice(((0, -1),)),)),
  ],
)
def test_shapes_are_not_believed(tmp_path, entry):
  bundle = _Bundle()
  bundle.data += bytes(64)
  bundle.index.put("w", entry)
  for part in entry.slices:
    bundle.index.put("w", BundleEntry(entry.dtype, entry.shape, size=0), part)
  with open_checkpoint(bundle.write(tmp_path)) as checkpoint:
    try:
      array = checkpoint["w"]
    except CheckpointError:
      return
    assert array.size * array.itemsize <= 64


@given(
  st.builds(
    BundleEntry,
    dtype=st.integers(0, 35),
    shape=st.lists(st.sampled_from([0, 1, 2, 3, 8, 2**31, 2**62]), max_size=3).map(
      tuple
    ),
    shard_id=st.sampled_from([0, 0, 0, 1, 2**31 - 1]),
    offset=st.integers(0, 70) | st.just(2**62),
    size=st.integers(0, 70) | st.just(2**62),
    crc32c=st.just(0),
    slices=st.just(()),
    unknown=st.just(b""),
  )
)
def test_any_entry_is_an_array_or_a_checkpoint_error(tmp_path_factory, entry):
  bundle = _Bundle()
  bundle.data += bytes(64)
  bundle.index.put("w", entry)
  prefix = bundle.write(tmp_path_factory.mktemp("entry"))
  with open_checkpoint(prefix, verify=False) as checkpoint:
    try:
      array = checkpoint["w"]
    except CheckpointError:
      return
    assert array.shape == entry.shape
    assert array.size <= 64


def _number(array):
  return dtypes.STRING if array.dtype == object else dtypes.number(array.dtype.name)
