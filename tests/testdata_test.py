"""Tests of testdata/: that every golden is whole, small, described and repeatable."""

from __future__ import annotations

import doctest
import gzip
import importlib.util
import os
import re

import numpy as np
import pytest

from tests import golden

PLAIN_DTYPES = {
  "bfloat16": "float32",
  "qint8": "int8",
  "quint8": "uint8",
  "qint16": "int16",
  "quint16": "uint16",
  "qint32": "int32",
}

EVERY_BUNDLE = pytest.mark.parametrize("name", golden.names())
EVERY_GOLDEN = pytest.mark.parametrize("name", golden.names() + golden.v1_names())


def _load_writer():
  path = golden.TESTDATA / "writers" / "golden_writer.py"
  spec = importlib.util.spec_from_file_location("golden_writer", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def _files():
  return [
    path
    for path in golden.TESTDATA.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
  ]


def test_there_are_goldens_of_every_writer():
  versions = {name.split("/")[0] for name in golden.names()}
  assert versions == {"tf1.15", "tf2.15", "tf2.21"}
  assert len(golden.names()) >= 35


def test_all_of_testdata_stays_small():
  assert sum(path.stat().st_size for path in _files()) < 3_000_000


@EVERY_BUNDLE
def test_bundle_has_an_index_and_all_its_data_files(name):
  prefix = golden.path(name)
  folder, base = os.path.split(prefix)
  assert os.path.getsize(prefix + ".index") > 48
  shards = sorted(f for f in os.listdir(folder) if f.startswith(base + ".data-"))
  count = len(shards)
  assert count > 0
  assert shards == [f"{base}.data-{i:05d}-of-{count:05d}" for i in range(count)]


@EVERY_GOLDEN
def test_expected_arrays_are_those_the_bundle_holds(name):
  tensors = golden.manifest(name)["tensors"]
  expected = golden.expected(name)
  without_array = {golden.OBJECT_GRAPH_KEY} | {
    key for key, facts in tensors.items() if facts["dtype"] == "variant"
  }
  assert set(expected) == set(tensors) - without_array
  for key, value in expected.items():
    facts = tensors[key]
    assert list(value.shape) == facts["shape"], key
    if facts["dtype"] == "string":
      assert value.dtype.kind == "S", key
    else:
      assert value.dtype.name == PLAIN_DTYPES.get(facts["dtype"], facts["dtype"]), key


@EVERY_GOLDEN
def test_values_are_distinct_enough_that_a_swap_shows(name):
  for key, value in golden.expected(name).items():
    if value.size > 1:
      assert len(np.unique(value)) > 1, key


@EVERY_GOLDEN
def test_slices_tile_their_tensor(name):
  manifest = golden.manifest(name)
  for key, specs in manifest["slices"].items():
    covered = np.zeros(manifest["tensors"][key]["shape"], int)
    for spec in specs:
      *shape, extents = spec.split(" ")
      assert [int(n) for n in shape] == list(covered.shape)
      pairs = [tuple(map(int, e.split(","))) for e in extents.split(":")]
      covered[tuple(slice(start, start + n) for start, n in pairs)] += 1
    assert (covered == 1).all(), key


@EVERY_GOLDEN
def test_state_file_names_the_bundle_by_a_relative_path(name):
  manifest = golden.manifest(name)
  state = os.path.join(golden.directory(name), "checkpoint")
  if manifest["prefix"].startswith("export/"):  # A SavedModel has no state file.
    assert not os.path.exists(state)
    return
  with open(state, encoding="utf-8") as f:
    text = f.read()
  paths = re.findall(r'checkpoint_paths?: "(.*)"', text)
  assert len(paths) == 2
  assert set(paths) == {manifest["prefix"]}


@EVERY_GOLDEN
def test_a_generator_and_its_tensorflow_version_are_known(name):
  manifest = golden.manifest(name)
  script = golden.TESTDATA / manifest["generator"]
  text = script.read_text(encoding="utf-8")
  version = manifest["written_by"].replace("TensorFlow ", "")
  assert f'wanted_version="{version}"' in text
  assert f'folder="{name.split("/")[0]}"' in text
  assert manifest["summary"].endswith(".")


def test_no_bundle_lies_outside_a_golden():
  known = {golden.path(name) + ".index" for name in golden.names()}
  # tests/training/promised_test.py covers the bundles of earlier releases.
  promised = golden.TESTDATA / "promised"
  found = golden.TESTDATA.rglob("*.index")
  assert {str(path) for path in found if promised not in path.parents} == known


def test_readme_lists_every_golden():
  text = (golden.TESTDATA / "README.md").read_text(encoding="utf-8")
  every = golden.names() + golden.v1_names()
  missing = [name for name in every if f"`{name}`" not in text]
  assert not missing


@pytest.mark.parametrize("readme", ["digits/README.md", "text/README.md"])
def test_readme_examples_of_data_sets_hold(readme, monkeypatch):
  monkeypatch.chdir(golden.TESTDATA.parent)
  result = doctest.testfile(str(golden.TESTDATA / readme), module_relative=False)
  assert result.attempted > 2
  assert result.failed == 0


def test_digits_are_the_1797_of_uci():
  with np.load(golden.TESTDATA / "digits" / "digits.npz") as digits:
    images, labels = digits["images"], digits["labels"]
  assert images.shape == (1797, 8, 8)
  assert (images.min(), images.max()) == (0, 16)
  counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
  assert np.bincount(labels).tolist() == counts
  assert images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
  assert int(images.sum()) == 561718


def test_texts_are_rated_and_hold_no_names_or_addresses():
  path = golden.TESTDATA / "text" / "tweets.tsv.gz"
  with gzip.open(path, "rt", encoding="utf-8") as f:
    rows = [line.rstrip("\n").split("\t") for line in f]
  ratings = np.array([float(rating) for rating, _ in rows])
  texts = [text for _, text in rows]
  assert len(texts) == 4190
  assert int((ratings >= 0.5).sum()) == 2342
  assert int((ratings <= -0.5).sum()) == 1083
  assert np.abs(ratings).max() <= 4
  for text in texts:
    assert set(re.findall(r"@\w+", text)) <= {"@anonymous"}
    assert not re.search(r"\w@\w+\.\w", text)
    assert not re.search(r"\d{3}\D\d{3}\D\d{4}", text)


def test_recorded_steps_of_each_optimizer_pass_through_the_saved_one():
  for name in golden.names("tf1.15/optimizers/"):
    expected, data = golden.expected(name), golden.data(name)
    weights = [key for key in data if key.startswith("after_step/")]
    assert len(weights) == 4
    assert data["loss"].shape == (10,)
    for key in weights:
      history = data[key]
      assert history.shape[0] == 11
      np.testing.assert_array_equal(history[5], expected[key[len("after_step/") :]])
      assert (history[4] != history[5]).any()
      assert (history[5] != history[6]).any()


def test_a_copied_golden_is_a_plain_model_dir(tmp_path):
  prefix = golden.copy("tf1.15/canned_linear", tmp_path / "model")
  assert prefix == str(tmp_path / "model" / "model.ckpt-7")
  assert sorted(os.listdir(tmp_path / "model")) == [
    "checkpoint",
    "model.ckpt-7.data-00000-of-00002",
    "model.ckpt-7.data-00001-of-00002",
    "model.ckpt-7.index",
    "words.txt",
  ]


def test_an_unknown_golden_is_refused_by_name():
  with pytest.raises(ValueError, match="no golden checkpoint called tf1.15/nothing"):
    golden.path("tf1.15/nothing")


class _Generator:
  """A generator run in a folder of its own, without TensorFlow."""

  def __init__(self, root, monkeypatch, capsys):
    self.writer = _load_writer()
    self.root = root
    self.value = np.arange(3.0)
    self._monkeypatch, self._capsys = monkeypatch, capsys
    monkeypatch.setattr(self.writer, "TESTDATA", str(root))

  def run(self, *arguments, version="9.9.9"):
    self._monkeypatch.setattr("sys.argv", ["generate_tf9.py", *arguments])
    self.writer.main({"one": self._one}, "tf9", "generate_tf9.py", version, "9.9.9")
    return self._capsys.readouterr().out

  def files(self):
    return sorted(p.name for p in self.root.rglob("*") if p.is_file())

  def stored(self):
    with np.load(self.root / "tf9" / "one" / "expected.npz") as arrays:
      return arrays["a/b"].tolist()

  def _one(self, directory):
    """One vector."""
    for name in ("checkpoint", "m-1.index", "m-1.data-00000-of-00001", "graph.pbtxt"):
      with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
        f.write(name)
    tensors = {"a/b": ("float64", (3,))}
    return self.writer.Written("m-1", tensors, {"a/b": self.value})


@pytest.fixture
def generator(tmp_path, monkeypatch, capsys):
  return _Generator(tmp_path, monkeypatch, capsys)


def test_generator_only_says_what_it_would_do_by_default(generator):
  out = generator.run()
  assert out == "TensorFlow 9.9.9\nwould write  testdata/tf9/one: One vector.\n"
  assert generator.files() == []


def test_generator_writes_bundle_and_arrays_and_drops_the_rest(generator):
  assert "wrote        testdata/tf9/one: " in generator.run("--write")
  assert generator.files() == [
    "checkpoint",
    "expected.npz",
    "m-1.data-00000-of-00001",
    "m-1.index",
    "manifest.json",
  ]
  assert generator.stored() == [0.0, 1.0, 2.0]


def test_generator_never_overwrites_unasked(generator):
  generator.run("--write")
  generator.value = np.arange(3.0) + 5
  assert "kept         testdata/tf9/one: exists" in generator.run("--write")
  assert generator.stored() == [0.0, 1.0, 2.0]
  assert "would replace" in generator.run("--overwrite")
  assert generator.stored() == [0.0, 1.0, 2.0]
  assert "replaced     testdata/tf9/one" in generator.run("--write", "--overwrite")
  assert generator.stored() == [5.0, 6.0, 7.0]


def test_generator_writes_the_same_bytes_again(generator):
  generator.run("--write")
  first = (generator.root / "tf9" / "one" / "expected.npz").read_bytes()
  generator.run("--write", "--overwrite")
  assert (generator.root / "tf9" / "one" / "expected.npz").read_bytes() == first


def test_generator_refuses_another_tensorflow(generator):
  with pytest.raises(SystemExit, match="writes with TensorFlow 9.9.9 only"):
    generator.run("--write", version="9.9.8")
  assert generator.files() == []


def test_generator_refuses_a_value_that_is_not_what_the_bundle_holds(generator):
  generator.value = np.arange(4.0)
  with pytest.raises(AssertionError, match=r"a/b: bundle has float64 \(3,\)"):
    generator.run("--write")
  assert generator.files() == []
