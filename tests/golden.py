"""The golden checkpoints of testdata/, for tests.

Names are paths under testdata/, such as "tf1.15/adam_dense". No TensorFlow needed.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from typing import Any

import numpy as np

# Not resolved: under Bazel these are links in a tree of their own.
TESTDATA = pathlib.Path(os.path.abspath(__file__)).parent.parent / "testdata"

_V1 = "/v1/"
OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"


def names(under: str = "") -> list[str]:
  """Names of all bundles, or of those whose name begins with `under`, sorted."""
  return [name for name in _names(under) if _V1 not in name]


def v1_names() -> list[str]:
  """Names of the goldens of the format V1, which are no bundles, sorted."""
  return [name for name in _names("") if _V1 in name]


def _names(under: str) -> list[str]:
  found = (
    manifest.parent.relative_to(TESTDATA).as_posix()
    for manifest in TESTDATA.rglob("manifest.json")
  )
  return sorted(name for name in found if name.startswith(under))


def directory(name: str) -> str:
  """The folder of a golden: a model_dir, with a `checkpoint` state file in it."""
  path = TESTDATA / name
  if not (path / "manifest.json").is_file():
    raise ValueError(f"no golden checkpoint called {name}; there are {_names('')}")
  return str(path)


def path(name: str) -> str:
  """The prefix of a golden's bundle, as one passes it to `restore`.

  >>> os.path.basename(path("tf1.15/adam_dense"))
  'model.ckpt-7'
  """
  return os.path.join(directory(name), *manifest(name)["prefix"].split("/"))


def manifest(name: str) -> dict[str, Any]:
  """The description of a golden.

  Keys: `summary`, `written_by`, `generator`, `prefix`, `tensors` (key -> `dtype`,
  `shape`; also what `expected` leaves out), `slices` (key -> slice specs of
  partitioned tensors) and `details`.
  """
  with open(os.path.join(directory(name), "manifest.json"), encoding="utf-8") as f:
    return json.load(f)


def expected(name: str) -> dict[str, np.ndarray]:
  """Key -> value, as the writing program held the values when it saved.

  bfloat16 values are kept as float32, quantized ones as plain integers, strings as
  fixed-width bytes. The object graph and iterator states have no entry.

  >>> int(expected("tf1.15/adam_dense")["global_step"])
  7
  """
  return _load(name, "expected.npz")


def data(name: str) -> dict[str, np.ndarray]:
  """The model's recorded inputs and outputs; see the golden's generator."""
  return _load(name, "data.npz")


def copy(name: str, to: str | os.PathLike[str]) -> str:
  """Copies the state file, bundle and vocabulary into the new folder `to`.

  Args:
    name: the golden's name.
    to: where to put it; must not exist yet.

  Returns:
    The prefix of the copied bundle. `to` is a model_dir to train on in.
  """
  shutil.copytree(
    directory(name), to, ignore=shutil.ignore_patterns("*.npz", "manifest.json")
  )
  return os.path.join(to, *manifest(name)["prefix"].split("/"))


def _load(name: str, file: str) -> dict[str, np.ndarray]:
  with np.load(os.path.join(directory(name), file), allow_pickle=False) as arrays:
    return {key: arrays[key] for key in arrays.files}
