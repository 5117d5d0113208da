"""Checkpoints that this process's TensorFlow writes, for other versions to read."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf

import estimator_ckpt as eckpt
from tests.interop import training

v1 = tf.compat.v1
STEPS = 5


@dataclasses.dataclass(frozen=True)
class Trained:
  """A model_dir that an Estimator has trained in.

  Attributes:
    model: the model's name in `training`.
    directory: the model_dir.
    prefix: the last checkpoint.
    start: values that its last training started from, by name.
    values: values in memory when the last checkpoint was saved, by name.
    predicted: what the Estimator predicts for all rows.
  """

  model: str
  directory: str
  prefix: str
  start: Mapping[str, np.ndarray]
  values: Mapping[str, np.ndarray]
  predicted: np.ndarray

  def copy(self, to: pathlib.Path) -> str:
    """A copy of the model_dir to train on in."""
    return str(shutil.copytree(self.directory, to))


def estimator(
  model: str, directory: Any, checkpoint_format: str | None, partitions: int = 1
) -> tf.estimator.Estimator:
  """An Estimator of `training`, decorated unless the format is None."""
  if checkpoint_format is None:
    return training.make(model, str(directory), partitions)
  if model == "adam":
    decorate = eckpt.checkpointing(checkpoint_format)
    return training.adam(str(directory), partitions, decorate)
  plain = training.make(model, str(directory), partitions)
  return eckpt.with_checkpointing(plain, checkpoint_format)


def train(
  model: str,
  directory: Any,
  checkpoint_format: str | None,
  partitions: int = 1,
  steps: int = STEPS,
) -> Trained:
  """Trains in a new or existing model_dir."""
  made = estimator(model, directory, checkpoint_format, partitions)
  start, end = training.train(made, model, steps)
  prefix = made.latest_checkpoint()
  return Trained(
    model, str(directory), prefix, start, end, training.predict(made, model)
  )


def export(
  trained: Trained, checkpoint_format: str, to: pathlib.Path, partitions: int
) -> str:
  """The SavedModel that an "adam" Estimator exports."""
  made = estimator("adam", trained.directory, checkpoint_format, partitions)
  return made.export_saved_model(str(to), training.serving_input_fn).decode()


def serving_inputs() -> dict[str, list[Any]]:
  """All rows, for the serving signature."""
  return {"x": training.X.tolist(), "id": training.IDS.tolist()}


def variables(
  values: Mapping[str, np.ndarray],
  names: Iterable[str] | None = None,
  partitions: Mapping[str, list[int]] | None = None,
) -> list[dict[str, Any]]:
  """Describes variables to a reader: all or some of them, some of them in slices."""
  partitions = partitions or {}
  return [
    {
      "name": name,
      "dtype": "string" if values[name].dtype.kind in "OS" else values[name].dtype.name,
      "shape": list(values[name].shape),
      "partitions": partitions.get(name),
    }
    for name in (values if names is None else names)
  ]


def in_slices(values: Mapping[str, np.ndarray], count: int) -> dict[str, list[int]]:
  """Slice counts of variables and slots that `training.network` cuts into slices."""
  if count == 1:
    return {}
  return {
    name: [count, 1] if name.startswith("net/embedding") else [1, count]
    for name in values
    if name.startswith(("net/embedding", "net/wide"))
  }


def save_values(
  directory: pathlib.Path,
  values: Mapping[str, np.ndarray],
  checkpoint_format: str = "dual",
  devices: int = 1,
  partitions: Mapping[str, list[int]] | None = None,
) -> str:
  """Saves variables with these names and values, as a user's own graph would.

  Args:
    directory: the new directory to write to.
    values: by name.
    checkpoint_format: the format to write.
    devices: number of CPU devices, each with a data file, to spread the variables over.
    partitions: number of slices along each axis, by name.

  Returns:
    The prefix of the checkpoint.
  """
  partitions = partitions or {}
  directory.mkdir()
  config = v1.ConfigProto(device_count={"CPU": devices})
  with tf.Graph().as_default(), v1.Session(config=config) as session:
    step = v1.train.get_or_create_global_step()
    var_list: dict[str, Any] = {"global_step": step}
    for i, (name, value) in enumerate(values.items()):
      counts = partitions.get(name)
      with tf.device(f"/cpu:{i % devices}"):
        var_list[name] = v1.get_variable(
          f"v{i}",
          value.shape,
          tf.as_dtype("string" if value.dtype == object else value.dtype),
          _constant(value),
          partitioner=(lambda shape, dtype, c=counts: c) if counts else None,
        )
    scaffold = getattr(eckpt, f"{checkpoint_format}_scaffold")(var_list=var_list)
    scaffold.finalize()
    session.run(scaffold.init_op)
    return scaffold.saver.save(
      session, os.path.join(directory, "model.ckpt"), global_step=step
    )


def _constant(value: np.ndarray) -> Any:
  """An initializer that returns a constant value, slice by slice."""

  def initializer(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
    offsets = partition_info.var_offset if partition_info else [0] * value.ndim
    where = tuple(slice(o, o + n) for o, n in zip(offsets, shape))
    return tf.constant(value[where], dtype)

  return initializer


def _other_dtypes() -> dict[str, np.ndarray]:
  values = {
    f"dtypes/{dtype}": np.arange(6).reshape(2, 3).astype(dtype)
    for dtype in ("float16", "float64", "int8", "int32", "int64", "uint8", "bool")
  }
  values["dtypes/bfloat16"] = np.arange(6, dtype=np.float32).astype(ml_dtypes.bfloat16)
  values["dtypes/complex64"] = np.array([1 + 2j, 3 - 4j], np.complex64)
  values["dtypes/string"] = np.array([b"", b"one", b"z\0\xff\0", b"x" * 300], object)
  values["dtypes/no_rows"] = np.zeros((0, 3), np.float32)
  values["dtypes/scalar"] = np.array(7.5, np.float64)
  return values


_ODD_NAMES = ("a.b/c", "a.Sb", "a/b", "dots..", "with space", "na\u00efve/\u00e9", ".S")


def _odd_names() -> dict[str, np.ndarray]:
  return {name: np.float32([i, -i]) for i, name in enumerate(_ODD_NAMES, 1)}


def _spread() -> dict[str, np.ndarray]:
  rows = np.arange(28, dtype=np.float32).reshape(7, 4)
  return {
    "spread/rows": rows,
    "spread/columns": rows + 100,
    "spread/whole": rows[0],
    "spread/step": np.array(3, np.int64),
  }


# Variables that the models do not have: name -> values, and how they are saved.
OTHERS = {
  "other dtypes": (_other_dtypes, {}),
  "odd names": (_odd_names, {}),
  "two data files": (
    _spread,
    {"devices": 2, "partitions": {"spread/rows": [3, 1], "spread/columns": [1, 2]}},
  ),
}


def save_others(root: pathlib.Path) -> dict[str, tuple[str, dict[str, np.ndarray]]]:
  """Saves each of OTHERS as dual; returns prefixes and values."""
  saved = {}
  for name, (make, options) in OTHERS.items():
    values = make()
    saved[name] = save_values(root / name, values, **options), values
  return saved


# Slices of float16, which no TensorFlow joins, and of bfloat16, which every one joins.
HALF_PARTITIONS = {
  f"{dtype}/{cut}": counts
  for dtype in ("float16", "bfloat16")
  for cut, counts in (("rows", [3, 1]), ("columns", [1, 2]))
}


def save_half(root: pathlib.Path) -> tuple[str, dict[str, np.ndarray]]:
  """Saves HALF_PARTITIONS as dual; returns the prefix and the values."""
  numbers = np.arange(28, dtype=np.float32).reshape(7, 4)
  values = {
    name: (numbers + 30 * i).astype(getattr(ml_dtypes, name.split("/")[0], "float16"))
    for i, name in enumerate(HALF_PARTITIONS)
  }
  return save_values(root, values, partitions=HALF_PARTITIONS), values
