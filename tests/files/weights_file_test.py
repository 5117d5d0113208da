"""inspect and diff of `.weights.h5` and `.keras`; no TensorFlow."""

from __future__ import annotations

import json
import sys
import zipfile

import h5py
import numpy as np
import pytest

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.cli import main
from tests.bundle_builder import BundleBuilder

_KERNEL = np.arange(6, dtype=np.float32).reshape(3, 2)
_BIAS = np.ones(2, np.float32)


def _write(path, kernel=_KERNEL, name="first"):
  """A file as Keras 3 writes it, of a dense layer and its optimizer."""
  with h5py.File(path, "w") as file:
    layer = file.create_group("layers/dense/vars")
    if name:
      layer.attrs["name"] = name
    layer["0"], layer["1"] = kernel, _BIAS
    state = file.create_group("optimizer/vars")
    state["0"], state["1"] = np.int64(7), np.float32(0.1)
    state["2"], state["3"] = kernel * 2, kernel * 3
    half = layer.create_dataset("2", data=np.array([1, 2], np.float32))
    half.attrs["dtype"] = "bfloat16"
  return str(path)


def _write_keras(path, **options):
  weights = _write(path.with_suffix(".weights.h5"), **options)
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.write(weights, "model.weights.h5")
    archive.writestr("config.json", "{}")
  return str(path)


def _checkpoint(path, kernel=_KERNEL):
  builder = BundleBuilder()
  builder.numbers("net/dense/kernel", kernel)
  builder.numbers("net/dense/bias", _BIAS)
  return builder.write(str(path))


@pytest.mark.parametrize("kind", ["weights.h5", "keras"])
def test_inspect_lists_what_a_file_of_weights_holds(kind, tmp_path):
  path = tmp_path / f"m.{kind}"
  found = _write(path) if kind != "keras" else _write_keras(path)
  inspection = eckpt.inspect(found, values=True)
  assert (inspection.format.value, inspection.step) == (kind, 7)
  tensors = {tensor.name: tensor for tensor in inspection.tensors}
  kernel = tensors["layers/dense/vars/0"]
  assert (kernel.dtype, kernel.shape, kernel.size) == ("float32", (3, 2), 24)
  assert kernel.values.maximum == 5 and kernel.kind.value == "variable"
  assert kernel.object_paths == ("layers/first/vars/0",)
  assert tensors["layers/dense/vars/2"].dtype == "bfloat16"
  assert tensors["optimizer/vars/2"].kind.value == "slot"
  assert tensors["optimizer/vars/0"].kind.value == "global_step"
  assert tensors["optimizer/vars/1"].kind.value == "non_slot"


def test_the_commands_show_it_too(tmp_path, capsys):
  path = _write_keras(tmp_path / "m.keras")
  assert main.run(["inspect", path, "--values"]) == 0
  out = capsys.readouterr().out
  assert "a model of Keras (.keras)" in out and "layers/dense/vars/0" in out
  assert main.run(["inspect", path, "--tree"]) == 0
  capsys.readouterr()
  assert main.run(["inspect", path, "--json"]) == 0
  answer = json.loads(capsys.readouterr().out)
  assert answer["format"] == "keras" and len(answer["tensors"]) == 7


def test_a_checkpoint_is_compared_with_the_weights_that_were_made_of_it(
  tmp_path, capsys
):
  source = _checkpoint(tmp_path / "tf1")
  same, other = tmp_path / "m.weights.h5", tmp_path / "n.weights.h5"
  _write(same), _write(other, _KERNEL + 1)
  rules = ["net/dense/kernel:layers/dense/vars/0", "net/dense/bias:layers/dense/vars/1"]
  found = eckpt.diff(source, same, name_map=rules, values=True)
  assert found.matched == 2 and not found.problems
  assert {d.kind.value for d in found.differences} == {"only in b"}
  assert found.format_b.value == "weights.h5"
  found = eckpt.diff(source, other, name_map=rules, values=True)
  [difference] = [d for d in found.differences if d.kind.value == "values"]
  assert (difference.changed, difference.largest) == (6, 1.0)
  argv = ["diff", str(same), str(other), "--values"]
  assert main.run(argv) == 1
  assert "layers/dense/vars/0" in capsys.readouterr().out
  assert eckpt.diff(same, same, values=True).equal


def test_objects_of_a_checkpoint_are_not_missed_in_a_file_of_weights(tmp_path):
  source = _checkpoint(tmp_path / "tf1")
  eckpt.convert(source, tmp_path / "tf2", "tf2")
  weights = _write(tmp_path / "m.weights.h5")
  found = eckpt.diff(tmp_path / "tf2", weights)
  assert {d.name for d in found.differences if d.kind.value == "only in a"} == {
    "net/dense/kernel",
    "net/dense/bias",
  }


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_what_is_no_file_of_weights_is_an_error(name, tmp_path, capsys):
  with pytest.raises(errors.CheckpointNotFoundError, match="no such file of weights"):
    eckpt.inspect(tmp_path / name)
  (tmp_path / name).write_bytes(b"something else" * 100)
  with pytest.raises(errors.CorruptCheckpointError, match="or a damaged one"):
    eckpt.inspect(tmp_path / name)
  assert main.run(["diff", str(tmp_path / name), str(tmp_path / name)]) == 2
  assert "damaged" in capsys.readouterr().err


def test_a_zip_file_without_weights_is_an_error(tmp_path):
  with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
    archive.writestr("config.json", "{}")
  with pytest.raises(errors.CorruptCheckpointError, match=r"model\.weights\.h5"):
    eckpt.inspect(tmp_path / "m.keras")


def test_h5py_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
  path = _write(tmp_path / "m.weights.h5")
  monkeypatch.setitem(sys.modules, "h5py", None)
  with pytest.raises(errors.MissingDependencyError, match="pip install h5py"):
    eckpt.inspect(path)
