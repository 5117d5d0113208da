"""TensorFlow 1.15.5 and 2.21 read what convert, rename, strip and merge write.

Both read every result as a whole, by key. A 1.15.5 Saver also reads name-based results;
a 2.21 Checkpoint also reads object-based results, and has to consume all values.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from estimator_ckpt.checkpoint import layout
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.merge import merge
from estimator_ckpt.files.rename import rename
from estimator_ckpt.files.strip import strip
from tests import golden
from tests.interop import readers, written

_BLOCK_SIZE = 262144


@dataclasses.dataclass(frozen=True)
class Source:
  """A checkpoint that TensorFlow wrote.

  Attributes:
    prefix: its prefix.
    values: its tensors by name.
    slices: for tensors in slices, the number of slices along each axis.
  """

  prefix: str
  values: dict[str, np.ndarray]
  slices: dict[str, list[int]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Result:
  """A checkpoint that an offline command wrote, and its expected content.

  Attributes:
    prefix: its prefix.
    checkpoint_format: its format.
    values: its tensors by name.
    slices: for tensors in slices, the number of slices along each axis.
    edge: the name of the dict of variables in the object graph.
    at_root: names of variables beside that dict -> their names in the object graph.
  """

  prefix: str
  checkpoint_format: str
  values: dict[str, np.ndarray]
  slices: dict[str, list[int]]
  edge: str = "var_list"
  at_root: dict[str, str] = dataclasses.field(default_factory=dict)

  @property
  def has_names(self) -> bool:
    return self.checkpoint_format in ("tf1", "dual")

  @property
  def has_objects(self) -> bool:
    return self.checkpoint_format in ("tf2", "dual")


def _golden(name):
  tensors = golden.manifest(name)["tensors"]
  values = {
    key: value.astype(tensors[key]["dtype"])
    if tensors[key]["dtype"] == "bfloat16"
    else value
    for key, value in golden.expected(name).items()
  }
  return Source(
    golden.path(name), values, _slice_counts(golden.manifest(name)["slices"])
  )


def _slice_counts(specs):
  """The number of slices of each tensor along each axis, from the slice specs."""
  counts = {}
  for key, parts in specs.items():
    starts = [
      [e.split(",")[0] for e in part.split(" ")[-1].split(":")] for part in parts
    ]
    counts[key] = [len(set(axis)) for axis in zip(*starts)]
  return counts


_GOLDENS = [
  f"tf1.15/{name}"
  for name in (
    "adam_dense",
    "momentum_partitioned",
    "partitioned_half",
    "multi_shard",
    "odd_names",
    "canned_dnn",
    "many_dtypes",
    "saved_model",
  )
]


def _large(root):
  """Index entries that fill several blocks, and an entry larger than two blocks."""
  values = {
    # Neighbouring keys share only their beginning.
    f"scope_{i * 7919 % 10007:05}/a/rather/long/name/of/some/variable_{i}": np.float32(
      [i, -i, i / 7]
    )
    for i in range(4000)
  }
  values["a/name/" + "x" * (2 * _BLOCK_SIZE + 99)] = np.arange(9, dtype=np.int64)
  values["global_step"] = np.array(21, np.int64)
  rows = np.arange(2000, dtype=np.float32).reshape(1000, 2)
  prefix = str(root / "model.ckpt-21")
  parts = range(0, 1000, 10)
  tf.raw_ops.SaveV2(
    prefix=prefix,
    tensor_names=[*values, *["many/slices"] * len(parts)],
    shape_and_slices=[""] * len(values) + [f"1000 2 {i},10:0,2" for i in parts],
    tensors=[*values.values(), *[rows[i : i + 10] for i in parts]],
  )
  return Source(prefix, {**values, "many/slices": rows}, {"many/slices": [100, 1]})


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
  """Name -> a name-based checkpoint as input for the commands."""
  found = {name: _golden(name) for name in _GOLDENS}
  found["large"] = _large(tmp_path_factory.mktemp("large"))
  return found


def _conversions(source, root):
  """Way -> the results of converting a name-based checkpoint there and back."""
  made = {}
  for way in (("tf2",), ("dual",), ("tf2", "tf1"), ("dual", "tf1"), ("tf2", "dual")):
    read = made[" ".join(way[:-1])].prefix if way[:-1] else source.prefix
    prefix = str(root / "-".join(way) / "model.ckpt-3")
    convert(read, prefix, way[-1])
    made[" ".join(way)] = Result(prefix, way[-1], source.values, source.slices)
  return made


def _edits(sources, root):
  """Name -> the results of the other commands for the goldens."""
  made = {}
  adam, sliced = sources["tf1.15/adam_dense"], sources["tf1.15/momentum_partitioned"]

  dual = str(root / "dual" / "model.ckpt-7")
  convert(sliced.prefix, dual, "dual")
  for name, read in (("tf1", sliced.prefix), ("dual", dual)):
    prefix = str(root / f"renamed_{name}" / "model.ckpt-7")
    rename(read, prefix, {"net/": "model/deep/net/"})
    made[f"renamed {name}"] = Result(
      prefix, name, _scoped(sliced.values), _scoped(sliced.slices)
    )
    for compact in (False, True):
      prefix = str(root / f"stripped_{name}_{compact}" / "model.ckpt-7")
      strip(read, prefix, optimizer_state=True, compact=compact)
      made[f"stripped {name}" + " compact" * compact] = Result(
        prefix, name, _weights(sliced.values), _weights(sliced.slices)
      )
  for to in ("tf1", "tf2", "dual"):
    prefix = str(root / f"merged_{to}" / "model.ckpt-7")
    merge([adam.prefix, dual], prefix, to=to)
    made[f"merged {to}"] = Result(
      prefix, to, {**adam.values, **sliced.values}, sliced.slices
    )
  return made


def _scoped(named):
  return {f"model/deep/{k}" if k.startswith("net/") else k: v for k, v in named.items()}


def _weights(named):
  return {k: v for k, v in named.items() if not k.endswith("/Momentum")}


def _from_objects(root):
  """Name -> the results of converting checkpoints that TensorFlow 2 wrote."""
  made = {}
  adam = golden.expected("tf1.15/adam_dense")
  for version in ("tf2.15", "tf2.21"):
    for to in ("tf1", "dual"):
      prefix = str(root / f"{version}_{to}" / "model.ckpt-7")
      convert(golden.path(f"{version}/converted_names"), prefix, to)
      # That golden is tf1.15/adam_dense, converted as TensorFlow's guide does.
      made[f"{version} {to}"] = Result(prefix, to, adam, {}, edge="vars")
  guide = {
    "global_step" if path[0] == "step" else path[1]: value
    for path, value in (
      (layout.parse_object_key(key).path, value)
      for key, value in golden.expected("tf2.15/guide_scaffold").items()
    )
  }
  for to in ("tf1", "tf2", "dual"):
    prefix = str(root / f"guide_{to}" / "model.ckpt-7")
    convert(golden.path("tf2.15/guide_scaffold"), prefix, to)
    made[f"guide {to}"] = Result(prefix, to, guide, {}, at_root={"global_step": "step"})
  return made


_WAYS = ("tf2", "dual", "tf2 tf1", "dual tf1", "tf2 dual")
_CONVERTED = [f"{name} {way}" for name in [*_GOLDENS, "large"] for way in _WAYS]
_EDITED = [
  *(f"renamed {fmt}" for fmt in ("tf1", "dual")),
  *(f"stripped {fmt}{how}" for fmt in ("tf1", "dual") for how in ("", " compact")),
  *(f"merged {fmt}" for fmt in ("tf1", "tf2", "dual")),
]
_FROM_OBJECTS = [
  *(f"{version} {to}" for version in ("tf2.15", "tf2.21") for to in ("tf1", "dual")),
  *(f"guide {to}" for to in ("tf1", "tf2", "dual")),
]
_ALL = [*_CONVERTED, *_EDITED, *_FROM_OBJECTS]


@pytest.fixture(scope="module")
def results(sources, tmp_path_factory):
  """Name -> each result."""
  made: dict[str, Any] = {}
  for i, (name, source) in enumerate(sources.items()):
    root = tmp_path_factory.mktemp(f"converted{i}")
    for way, result in _conversions(source, root).items():
      made[f"{name} {way}"] = result
  made.update(_edits(sources, tmp_path_factory.mktemp("edited")))
  made.update(_from_objects(tmp_path_factory.mktemp("objects")))
  assert sorted(made) == sorted(_ALL)
  return made


def _all_read(results):
  return {
    f"{name}: all": {"kind": "load_checkpoint", "path": result.prefix}
    for name, result in results.items()
  }


# How many variables of the large checkpoint are restored one by one: it has too many.
_SOME = 200


def _some(values):
  return dict(list(values.items())[-_SOME:])


def _is_quantized(name):
  return name.startswith(("qint", "quint"))


@pytest.fixture(scope="module")
def in_1_15(results, interpreter, tmp_path_factory):
  """What TensorFlow 1.15.5 says about all results."""
  questions = _all_read(results)
  for name, result in results.items():
    if result.has_names:
      questions[f"{name}: saver"] = {
        "kind": "saver",
        "prefix": result.prefix,
        "variables": written.variables(
          _restorable(_some(result.values)), partitions=result.slices
        ),
        "in_var_list": True,
        "resource": "many_dtypes" in name,
      }
  return readers.ask(
    interpreter("tf115"),
    "tf1_15_reader.py",
    tmp_path_factory.mktemp("in_1_15"),
    questions,
  )


@pytest.fixture(scope="module")
def in_2_21(results, interpreter, tmp_path_factory):
  """What TensorFlow 2.21 says about all results."""
  questions = _all_read(results)
  for name, result in results.items():
    if result.has_objects and not _only_in_parts(result):
      questions[f"{name}: flat"] = {
        "kind": "flat",
        "path": result.prefix,
        "variables": written.variables(result.values),
        "edge": result.edge,
        "at_root": result.at_root,
      }
  return readers.ask(
    interpreter("tf221"),
    "tf2_21_reader.py",
    tmp_path_factory.mktemp("in_2_21"),
    questions,
  )


def _restorable(values):
  """The values that TensorFlow 1.15 can assign to a variable on a CPU."""
  return {
    name: value
    for name, value in values.items()
    if not _is_quantized(name) and value.dtype not in (np.uint32, np.uint64)
  }


def _only_in_parts(result):
  """Whether a reader cannot restore all: float16 in slices, or quantized variables."""
  return any(
    _is_quantized(name) or (name in result.slices and value.dtype == np.float16)
    for name, value in result.values.items()
  )


def _expected_keys(result):
  """Every key that the result has to have -> the value."""
  keys = {}
  if result.has_names:
    keys.update(result.values)
  if result.has_objects:
    for name, value in result.values.items():
      root = result.at_root.get(name)
      keys[layout.object_key([root] if root else [result.edge, name])] = value
  return keys


def _assert_read(answer, result):
  unreadable = answer.facts["unreadable"]
  expected = _expected_keys(result)
  for key in unreadable:
    # TensorFlow cannot join float16 slices, whoever wrote them.
    assert expected.pop(key).dtype == np.float16, unreadable[key]
  found = {key: readers.plain(answer.values[key]) for key in expected}
  readers.assert_equal(found, {key: readers.plain(v) for key, v in expected.items()})


@pytest.mark.parametrize("name", _ALL)
def test_1_15_reads_every_key(name, results, in_1_15):
  _assert_read(in_1_15[f"{name}: all"], results[name])


@pytest.mark.parametrize("name", _ALL)
def test_2_21_reads_every_key(name, results, in_2_21):
  _assert_read(in_2_21[f"{name}: all"], results[name])


@pytest.mark.parametrize("name", _ALL)
def test_both_find_the_same_keys(name, in_1_15, in_2_21):
  old, new = in_1_15[f"{name}: all"], in_2_21[f"{name}: all"]
  assert old.facts["dtypes"] == new.facts["dtypes"]
  assert set(old.facts["unreadable"]) == set(new.facts["unreadable"])


def _of_format(*formats):
  """Names of the results in one of the formats."""
  known = ("tf1", "tf2", "dual")
  return [n for n in _ALL if [w for w in n.split() if w in known][-1] in formats]


# After tf2, float16 tensors are whole, and no TensorFlow cuts a whole float16 tensor.
_NOT_IN_PARTS = "tf1.15/partitioned_half tf2 "


@pytest.mark.parametrize(
  "name", [n for n in _of_format("tf1", "dual") if not n.startswith(_NOT_IN_PARTS)]
)
def test_a_1_15_saver_restores_what_has_names(name, results, in_1_15):
  answer = in_1_15[f"{name}: saver"]
  found = {k: readers.plain(v) for k, v in answer.values.items()}
  expected = _restorable(_some(results[name].values))
  readers.assert_equal(found, {k: readers.plain(v) for k, v in expected.items()})


_NOT_AS_A_WHOLE = ("tf1.15/many_dtypes", "tf1.15/partitioned_half")


@pytest.mark.parametrize(
  "name",
  [n for n in _of_format("tf2", "dual") if not n.startswith(_NOT_AS_A_WHOLE)],
)
def test_a_2_21_checkpoint_consumes_what_has_objects(name, results, in_2_21):
  answer = in_2_21[f"{name}: flat"]
  found = {k: readers.plain(v) for k, v in answer.values.items()}
  expected = results[name].values
  readers.assert_equal(found, {k: readers.plain(v) for k, v in expected.items()})


@pytest.mark.parametrize("way", ["tf2 tf1", "dual tf1"])
@pytest.mark.parametrize("name", _GOLDENS)
def test_a_round_trip_keeps_every_key_and_byte(name, way, sources, results):
  prefix = results[f"{name} {way}"].prefix
  before = tf.train.load_checkpoint(sources[name].prefix)
  after = tf.train.load_checkpoint(prefix)
  assert before.get_variable_to_shape_map() == after.get_variable_to_shape_map()
  assert before.get_variable_to_dtype_map() == after.get_variable_to_dtype_map()
  # The object graph's data file stays behind these, though no key needs it any more.
  data = _data_files(sources[name].prefix)
  assert _data_files(prefix)[: len(data)] == data


def _data_files(prefix):
  found = sorted(pathlib.Path(prefix).parent.glob(os.path.basename(prefix) + ".data-*"))
  return [path.read_bytes() for path in found]


def test_the_large_one_has_several_blocks(results):
  assert os.path.getsize(results["large dual tf1"].prefix + ".index") > 3 * _BLOCK_SIZE
