"""This package and TensorFlow read each other's files."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess

import numpy as np
import pytest

from estimator_ckpt.bundle import (
  aliased_index,
  checksum,
  dtypes,
  strings,
  table,
  table_writer,
)
from estimator_ckpt.bundle.commit import BundleWriter
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.checkpoint.reader import open_checkpoint

# No wheel of ml-dtypes is for Python 3.7.
ml_dtypes = pytest.importorskip("ml_dtypes")
tf = pytest.importorskip("tensorflow")

_TYPES = [
  "float32", "float64", "int32", "uint8", "int16", "int8", "complex64", "int64", "bool",
  "bfloat16", "uint16", "complex128", "float16", "uint32", "uint64",
]  # fmt: skip


def _array(dtype, shape):
  count = int(np.prod(shape))
  if dtype == "bfloat16":
    return np.arange(count).astype(ml_dtypes.bfloat16).reshape(shape)
  return (np.arange(count) % 101).astype(dtype).reshape(shape)


def _strings(shape):
  count = int(np.prod(shape))
  elements = [bytes(range(n % 7)) * n for n in range(count)]
  array = np.empty(count, object)
  array[:] = elements
  return array.reshape(shape)


def _save(prefix, arrays, specs=None):
  """Saves as a Saver does: slices of partitioned variables have slice specs."""
  keys = list(arrays)
  specs = specs or {}
  tf.raw_ops.SaveV2(
    prefix=prefix,
    tensor_names=[key.partition(" ")[0] for key in keys],
    shape_and_slices=[specs.get(key, "") for key in keys],
    tensors=[tf.constant(arrays[key]) for key in keys],
  )


def _same(a, b):
  if a.dtype == object:
    return a.shape == b.shape and a.tolist() == b.tolist()
  return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("number", range(1, 29))
def test_types_have_tensorflows_names_and_sizes(number):
  dtype = tf.dtypes.as_dtype(number) if number < 26 else None
  if number in (dtypes.RESOURCE, dtypes.VARIANT, dtypes.STRING):
    assert dtypes.name(number) == dtype.name
  elif dtype is not None:
    assert dtypes.name(number) == dtype.name
    assert dtypes.item_size(number) == dtype.size


def test_every_type_that_tensorflow_writes_is_read(tmp_path):
  arrays = {"strings": _strings((4, 3)), "nothing": np.zeros((0, 3), np.float32)}
  for dtype in _TYPES:
    arrays[f"{dtype}/matrix"] = _array(dtype, (5, 3))
    arrays[f"{dtype}/scalar"] = _array(dtype, ())
  prefix = str(tmp_path / "model.ckpt")
  _save(prefix, arrays)
  with open_checkpoint(prefix) as checkpoint:
    assert list(checkpoint) == sorted(arrays)
    for key, array in arrays.items():
      assert _same(checkpoint[key], array), key


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "string"])
def test_slices_that_tensorflow_writes_are_read(tmp_path, dtype):
  array = _strings((6, 5)) if dtype == "string" else _array(dtype, (6, 5))
  rows = {"e 0": "6 5 0,4:0,5", "e 1": "6 5 4,2:-"}
  blocks = {
    f"b {a}{b}": f"6 5 {a},3:{b},{n}" for a in (0, 3) for b, n in ((0, 1), (1, 4))
  }
  arrays = {}
  for key, spec in {**rows, **blocks}.items():
    where = []
    for extent in spec.split(" ")[2].split(":"):
      start, length = (0, 99) if extent == "-" else map(int, extent.split(","))
      where.append(slice(start, start + length))
    arrays[key] = array[tuple(where)]
  prefix = str(tmp_path / "model.ckpt")
  _save(prefix, arrays, {**rows, **blocks})
  with open_checkpoint(prefix) as checkpoint:
    assert list(checkpoint) == ["b", "e"]
    assert _same(checkpoint["e"], array)
    assert _same(checkpoint["b"], array)


def test_merged_shards_are_read_and_copied_byte_for_byte(tmp_path):
  parts = []
  for shard in range(3):
    parts.append(str(tmp_path / f"part-{shard}"))
    _save(parts[-1], {f"w{shard}": _array("int64", (shard + 2,))})
  prefix = str(tmp_path / "model.ckpt")
  tf.raw_ops.MergeV2Checkpoints(
    checkpoint_prefixes=parts, destination_prefix=prefix, delete_old_dirs=False
  )
  with open_checkpoint(prefix) as checkpoint:
    assert checkpoint.index.header.num_shards == 3
    for shard in range(3):
      assert _same(checkpoint[f"w{shard}"], _array("int64", (shard + 2,)))
    data = (tmp_path / "model.ckpt.index").read_bytes()
    assert checkpoint.index.serialize() == data


def test_tables_of_several_blocks_are_written_byte_for_byte(tmp_path):
  prefix = str(tmp_path / "model.ckpt")
  # 9,000 keys fill more than two blocks; one key is longer than a block.
  arrays = {
    f"scope_{n % 7}/layer_{n:05d}/kernel_{n * n % 1009}": np.float32(n)
    for n in range(9000)
  }
  for length in (200_000, 524_200, 524_288, 600_000):
    arrays["scope_3/" + "k" * length] = np.float32(length)
  _save(prefix, arrays)
  with open(prefix + ".index", "rb") as file:
    data = file.read()
  items = table.read_table(data, prefix)
  assert len(items) == len(arrays) + 1
  assert table_writer.write_table(*zip(*items)) == data


def _write(prefix, arrays, num_shards, partitioned=None):
  """Writes a bundle with this package alone; the tensors are spread over the shards."""
  index = Index()
  shards = [bytearray() for _ in range(num_shards)]

  def add(key, array, number, part=None):
    shard = number % num_shards
    if array.dtype == object:
      data, crc = strings.encode(list(array.ravel()))
    else:
      data = array.tobytes()
      crc = checksum.mask(checksum.crc32c(data))
    entry = BundleEntry(
      _number(array),
      array.shape,
      shard,
      len(shards[shard]),
      len(data),
      crc,
    )
    shards[shard] += data
    index.put(key, entry, part)

  for number, (key, array) in enumerate(arrays.items()):
    add(key, array, number)
  for key, array in (partitioned or {}).items():
    rows = array.shape[0]
    parts = tuple(
      TensorSlice(((start, min(3, rows - start)), *((0, -1),) * (array.ndim - 1)))
      for start in range(0, rows, 3)
    )
    index.put(key, BundleEntry(_number(array), array.shape, slices=parts))
    for number, part in enumerate(parts):
      start, length = part.extents[0]
      add(key, array[start : start + length], number, part)
  with BundleWriter(prefix, num_shards) as bundle:
    for data in shards:
      bundle.add_bytes(bytes(data))
    bundle.commit(index)
  return index


def _cases():
  arrays = {f"{dtype}/matrix": _array(dtype, (5, 3)) for dtype in _TYPES}
  arrays |= {f"{dtype}/scalar": _array(dtype, ()) for dtype in _TYPES}
  arrays["strings"] = _strings((4, 3))
  arrays["none"] = np.zeros((0, 3), np.float32)
  arrays["ä .S/../ "] = np.float32(3)
  many = {f"net/{n % 11}/layer_{n:05d}/kernel": np.int64(n) for n in range(9000)}
  long = {"a" * 300_000: np.int64(1), "b" * 600_000: np.int64(2), "c": np.int64(3)}
  # TensorFlow itself cannot join slices of strings or of float16.
  parts = {"embedding": _array("float32", (8, 3)), "ids": _array("int64", (7,))}
  return {
    "types_in_1_shard": (arrays, 1, {}),
    "types_in_4_shards": (arrays, 4, {}),
    "several_blocks": (many, 2, {}),
    "entries_larger_than_a_block": (long, 1, {}),
    "partitioned_in_2_shards": ({"w": arrays["strings"]}, 2, parts),
    "partitioned_in_many": ({}, 1, {"e": _array("int32", (9000, 1))}),
    "empty": ({}, 1, {}),
  }


_CASES = _cases()


@pytest.mark.parametrize("case", _CASES)
def test_what_is_written_here_tensorflow_reads_equal(tmp_path, case):
  arrays, num_shards, partitioned = _CASES[case]
  prefix = str(tmp_path / "model.ckpt")
  index = _write(prefix, arrays, num_shards, partitioned)
  for key in index.keys():
    index.alias(f"alias/{key}", key)
  index.write(prefix)
  reader = tf.train.load_checkpoint(prefix)
  expected = {**arrays, **partitioned}
  shapes = reader.get_variable_to_shape_map()
  assert set(shapes) == set(expected) | {f"alias/{key}" for key in expected}
  for key, array in expected.items():
    for name in (key, f"alias/{key}"):
      tensor = np.asarray(reader.get_tensor(name))
      if array.dtype == object:
        assert tensor.tolist() == array.tolist(), name
      else:
        assert _same(tensor, np.asarray(array)), name


def test_aliases_are_restored_whole_and_in_slices(tmp_path):
  array = _array("float32", (8, 3))
  prefix = str(tmp_path / "model.ckpt")
  index = _write(prefix, {"w": array}, 2, {"e": array})
  index.alias("x/w", "w")
  index.alias("x/e", "e")
  index.write(prefix)
  whole, full, part, cut = tf.raw_ops.RestoreV2(
    prefix=prefix,
    tensor_names=["x/w", "x/e", "x/e", "x/w"],
    shape_and_slices=["", "", "8 3 3,3:0,3", "8 3 2,4:-"],
    dtypes=[tf.float32] * 4,
  )
  assert _same(whole.numpy(), array)
  assert _same(full.numpy(), array)
  assert _same(part.numpy(), array[3:6])
  assert _same(cut.numpy(), array[2:6])


def test_aliases_of_a_large_index_are_restored(tmp_path):
  copy = None
  for save in range(2):
    arrays = {
      f"scope_{n % 7}/layer_{n:05d}/kernel": np.float32(n + save) for n in range(9000)
    }
    rows = {"e 0": "6 5 0,4:0,5", "e 1": "6 5 4,2:-"}
    parts = [_array("float32", (4, 5)) + save, _array("float32", (2, 5)) - save]
    prefix = str(tmp_path / f"model.ckpt-{save}")
    _save(prefix, {**arrays, **dict(zip(rows, parts))}, rows)
    aliases = {f"{key}/alias": key for key in [*arrays, "e"]}
    with open(prefix + ".index", "rb") as file:
      source = file.read()
    result, own = aliased_index.with_aliases(source, aliases)
    assert copy is None or copy.apply(source) == result
    copy = own
    with open(prefix + ".index", "wb") as file:
      file.write(result)
    reader = tf.train.load_checkpoint(prefix)
    for key, array in arrays.items():
      assert reader.get_tensor(f"{key}/alias") == reader.get_tensor(key) == array
    assert _same(reader.get_tensor("e/alias"), np.concatenate(parts))


def test_tensorflow_finds_the_damage_that_is_found_here(tmp_path):
  prefix = str(tmp_path / "model.ckpt")
  _write(prefix, {"w": _array("float32", (8, 3))}, 1)
  data = (tmp_path / "model.ckpt.data-00000-of-00001").read_bytes()
  damaged = data[:20] + b"\x55" + data[21:]
  (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(damaged)
  with pytest.raises(tf.errors.DataLossError):
    tf.raw_ops.RestoreV2(
      prefix=prefix, tensor_names=["w"], shape_and_slices=[""], dtypes=[tf.float32]
    )


_NAMES = ["model.ckpt-1", "a \"quoted\" 'name'-2", "tab\tand\\slash-3", "ünïcödé-4"]


def test_state_files_of_tensorflow_are_read(tmp_path):
  directory = str(tmp_path)
  paths = [f"{directory}/{name}" for name in _NAMES]
  tf.compat.v1.train.update_checkpoint_state(
    directory,
    paths[-1],
    paths,
    all_model_checkpoint_timestamps=[1.5, 2.25, 1700000000.123, 1e-300],
    last_preserved_timestamp=1699999999.75,
  )
  state = state_lib.read_state(directory)
  assert state.model_checkpoint_path == paths[-1]
  assert state.all_model_checkpoint_paths == tuple(paths)
  assert state.all_model_checkpoint_timestamps == (1.5, 2.25, 1700000000.123, 1e-300)
  assert state.last_preserved_timestamp == 1699999999.75


@pytest.mark.parametrize("elsewhere", [False, True])
def test_tensorflow_reads_the_state_files_written_here(tmp_path, elsewhere):
  directory = str(tmp_path / "model_dir")
  os.mkdir(directory)
  start = str(tmp_path / "elsewhere") if elsewhere else directory
  state = state_lib.CheckpointState(
    f"{start}/{_NAMES[-1]}",
    tuple(f"{start}/{name}" for name in _NAMES),
    (1.5, 1e300, 1700000000.123, 4.0),
    1.25,
  )
  state_lib.write_state(directory, state)
  read = tf.train.get_checkpoint_state(directory)
  assert read.model_checkpoint_path == state.model_checkpoint_path
  assert tuple(read.all_model_checkpoint_paths) == state.all_model_checkpoint_paths
  timestamps = tuple(read.all_model_checkpoint_timestamps)
  assert timestamps == state.all_model_checkpoint_timestamps
  assert read.last_preserved_timestamp == state.last_preserved_timestamp


# Runs on TensorFlow 1.15 too.
_READ_ALL = """
import hashlib, json, sys
import numpy as np
import tensorflow as tf

for prefix in sys.argv[1:]:
  reader = tf.train.load_checkpoint(prefix)
  digests = {}
  for key in reader.get_variable_to_shape_map():
    tensor = np.asarray(reader.get_tensor(key))
    is_object = tensor.dtype == object
    data = repr(tensor.tolist()).encode() if is_object else tensor.tobytes()
    digests[key] = [list(tensor.shape), hashlib.sha256(data).hexdigest()]
  print(json.dumps(digests))
"""


def _digest(array):
  array = np.asarray(array)
  data = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
  return [list(array.shape), hashlib.sha256(data).hexdigest()]


@pytest.mark.parametrize("environment", ["tf115", "tf221"])
def test_what_is_written_here_other_tensorflows_read_equal(
  interpreter, environment, tmp_path
):
  program = interpreter(environment)
  expected = []
  for case, (arrays, num_shards, partitioned) in _CASES.items():
    prefix = str(tmp_path / case)
    index = _write(prefix, arrays, num_shards, partitioned)
    for key in index.keys():
      index.alias(f"alias/{key}", key)
    index.write(prefix)
    digests = {key: _digest(array) for key, array in {**arrays, **partitioned}.items()}
    digests.update({f"alias/{key}": digest for key, digest in digests.items()})
    expected.append(digests)
  run = subprocess.run(
    [program, "-c", _READ_ALL, *(str(tmp_path / case) for case in _CASES)],
    capture_output=True,
    check=False,
    encoding="utf-8",
    env={**os.environ, "PYTHONPATH": "", "PYTHONIOENCODING": "utf-8"},
  )
  assert run.returncode == 0, run.stderr[-2000:]
  found = map(json.loads, run.stdout.splitlines()[-len(_CASES) :])
  for case, digests, wanted in zip(_CASES, found, expected):
    assert digests == wanted, case


def _number(array):
  return dtypes.STRING if array.dtype == object else dtypes.number(array.dtype.name)
