"""What the generators of golden checkpoints share: dry run, files, checks.

A golden is a folder of its own under `testdata/<version>/`:

  checkpoint         state file, relative paths (absent from a SavedModel)
  PREFIX.index, ...  the bundle, as TensorFlow wrote it
  expected.npz       key -> array: what the session held when it was saved
  data.npz           inputs and outputs of the model, where a test needs them
  manifest.json      who wrote it, the prefix, every key with dtype and shape

Runs on Python 3.7 (TensorFlow 1.15) and newer, so it uses nothing later.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
import zipfile

import numpy as np

TESTDATA = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Keys TensorFlow writes that have no value worth stating as an array.
OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"

# Dtypes a plain .npz cannot hold, and the plain dtype their values are kept in.
PLAIN_DTYPES = {
  "bfloat16": "float32",
  "qint8": "int8",
  "quint8": "uint8",
  "qint16": "int16",
  "quint16": "uint16",
  "qint32": "int32",
}


class Written:
  """What one writer function hands back about the checkpoint it wrote.

  Args:
    prefix: the bundle's prefix relative to the golden's folder.
    tensors: key -> (dtype name, shape), as TensorFlow's own reader lists them.
    expected: key -> array, taken from the running model, not from the files.
    data: further arrays for tests (inputs, outputs), by name.
    slices: key -> list of slice specs ("7 4 0,3:0,4") of partitioned tensors.
    details: anything else a test wants to know; must be JSON.
    keep: names of further files in the folder that belong to the golden.
  """

  def __init__(
    self,
    prefix,
    tensors,
    expected,
    data=None,
    slices=None,
    details=None,
    keep=(),
  ):
    self.prefix = prefix
    self.tensors = tensors
    self.expected = {k: plain(v) for k, v in expected.items()}
    self.data = {k: plain(v) for k, v in (data or {}).items()}
    self.slices = slices or {}
    self.details = details or {}
    self.keep = tuple(keep)


def plain(value):
  """`value` as an array of a dtype that numpy itself can save without pickling.

  bfloat16 widens to float32 without loss, quantized integers become the integers
  they are, strings become fixed-width bytes.
  """
  array = np.asarray(value)
  if array.dtype.names:  # TensorFlow's quantized dtypes are one-field records.
    array = array.view(array.dtype[0])
  if array.dtype.kind == "O":
    array = np.array([_as_bytes(v) for v in array.ravel()] or [b""], "S")[
      : array.size
    ].reshape(array.shape)
  elif array.dtype.kind == "U":
    array = np.char.encode(array, "utf-8")
  elif array.dtype.name == "bfloat16":
    array = array.astype(np.float32)
  return array


def _as_bytes(value):
  return value.encode("utf-8") if isinstance(value, str) else bytes(value)


def ramp(shape, low=-1.0, high=1.0, dtype=np.float32):
  """Distinct values from `low` to `high`, so that a swap of any two shows.

  >>> ramp((2, 2)).tolist()
  [[-1.0, -0.3333333432674408], [0.3333333432674408, 1.0]]
  """
  size = int(np.prod(shape))
  return np.linspace(low, high, size).reshape(shape).astype(dtype)


def waves(shape, step=0.7, dtype=np.float32):
  """Smooth values in -1..1 without a trend, for inputs."""
  size = int(np.prod(shape))
  return np.sin(step * np.arange(1, size + 1)).reshape(shape).astype(dtype)


def save_npz(path, arrays):
  """Writes `arrays` compressed, byte for byte the same on every run."""
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name in sorted(arrays):
      buffer = io.BytesIO()
      np.lib.format.write_array(buffer, arrays[name], allow_pickle=False)
      member = zipfile.ZipInfo(name + ".npy", date_time=(1980, 1, 1, 0, 0, 0))
      member.compress_type = zipfile.ZIP_DEFLATED
      member.external_attr = 0o644 << 16
      archive.writestr(member, buffer.getvalue())


def main(goldens, folder, generator, tensorflow_version, wanted_version):
  """Runs a generator: lists what it would write, or writes it.

  Args:
    goldens: name -> function(directory) -> Written; its docstring describes it.
    folder: the folder under testdata, such as "tf1.15".
    generator: file name of the script, recorded in the manifest.
    tensorflow_version: the version running now.
    wanted_version: the version these goldens must be written by.
  """
  parser = argparse.ArgumentParser(
    description=f"Writes golden checkpoints under testdata/{folder}.",
    epilog="Without --write nothing is written: the run says what it would do.",
  )
  parser.add_argument("names", nargs="*", help="goldens to write (default: all)")
  parser.add_argument("--write", action="store_true", help="really write")
  parser.add_argument(
    "--overwrite", action="store_true", help="replace goldens that exist"
  )
  arguments = parser.parse_args()
  unknown = sorted(set(arguments.names) - set(goldens))
  if unknown:
    parser.error(f"no golden called {unknown}; there are {sorted(goldens)}")
  print(f"TensorFlow {tensorflow_version}")
  if tensorflow_version != wanted_version:
    sys.exit(
      f"{generator} writes with TensorFlow {wanted_version} only; "
      "run it with that version"
    )
  for name in arguments.names or goldens:
    target = os.path.join(TESTDATA, folder, *name.split("/"))
    shown = f"testdata/{folder}/{name}"
    summary = goldens[name].__doc__.strip().splitlines()[0]
    exists = os.path.isdir(target)
    if exists and not arguments.overwrite:
      print(f"kept         {shown}: exists (--overwrite replaces it)")
    elif not arguments.write:
      verb = "would replace" if exists else "would write"
      print(f"{verb:12} {shown}: {summary}")
    else:
      size = _write(goldens[name], target, summary, generator, tensorflow_version)
      verb = "replaced" if exists else "wrote"
      print(f"{verb:12} {shown}: {size} bytes")


def _write(function, target, summary, generator, version):
  """Writes one golden beside its place, checks it, and moves it there."""
  with tempfile.TemporaryDirectory() as scratch:
    directory = os.path.join(scratch, "golden")
    os.mkdir(directory)
    written = function(directory)
    _check(written)
    _remove_other_files(directory, written)
    save_npz(os.path.join(directory, "expected.npz"), written.expected)
    if written.data:
      save_npz(os.path.join(directory, "data.npz"), written.data)
    manifest = {
      "summary": summary,
      "written_by": f"TensorFlow {version}",
      "generator": generator,
      "prefix": written.prefix,
      "tensors": {
        key: {"dtype": dtype, "shape": list(shape)}
        for key, (dtype, shape) in sorted(written.tensors.items())
      },
      "slices": written.slices,
      "details": written.details,
    }
    with open(os.path.join(directory, "manifest.json"), "w") as f:
      f.write(_json(manifest))
    if os.path.isdir(target):
      shutil.rmtree(target)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copytree(directory, target)
  return sum(
    os.path.getsize(os.path.join(root, f))
    for root, _, files in os.walk(target)
    for f in files
  )


def _json(manifest):
  """JSON with one line for each key of the manifest and of the maps in it."""
  parts = []
  for key, value in manifest.items():
    if isinstance(value, dict) and value:
      lines = (
        f"  {json.dumps(k)}: {json.dumps(value[k], sort_keys=True)}"
        for k in sorted(value)
      )
      text = "{\n" + ",\n".join(lines) + "\n }"
    else:
      text = json.dumps(value)
    parts.append(f" {json.dumps(key)}: {text}")
  return "{\n" + ",\n".join(parts) + "\n}\n"


def _check(written):
  """Every key the bundle lists has an expected array of its dtype and shape."""
  stated = {
    key
    for key, (dtype, _) in written.tensors.items()
    if dtype != "variant" and key != OBJECT_GRAPH_KEY
  }
  if stated != set(written.expected):
    missing = sorted(stated - set(written.expected))
    extra = sorted(set(written.expected) - stated)
    raise AssertionError(f"keys without an array: {missing}; without a key: {extra}")
  for key in stated:
    dtype, shape = written.tensors[key]
    array = written.expected[key]
    dtype = PLAIN_DTYPES.get(dtype, dtype)
    same = array.dtype.kind == "S" if dtype == "string" else array.dtype.name == dtype
    if not same or array.shape != tuple(shape):
      raise AssertionError(
        f"{key}: bundle has {dtype} {shape}, "
        f"expected array is {array.dtype} {array.shape}"
      )


def _remove_other_files(directory, written):
  """Drops graphs and event files: a golden is the bundle and its state file."""
  keep = {"checkpoint"} | set(written.keep)
  for root, _, files in os.walk(directory):
    for name in files:
      path = os.path.relpath(os.path.join(root, name), directory)
      of_bundle = path.startswith(
        (written.prefix + ".index", written.prefix + ".data-")
      )
      if path not in keep and not of_bundle:
        os.remove(os.path.join(root, name))
  for root, folders, files in os.walk(directory, topdown=False):
    if not folders and not files:
      os.rmdir(root)
