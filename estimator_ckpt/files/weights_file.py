"""Files of weights that Keras writes, `.weights.h5` and `.keras`, for inspect and diff.

Both are HDF5; a `.keras` is a ZIP file with one in it. A tensor's name is its path there,
`layers/dense/vars/0`: Keras numbers the variables of a layer, in their order. Keras 3
stores the layers' own names besides (read from what Keras 2.15 and 3.15 write).

The package h5py reads them. It is imported when it is needed.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator

from estimator_ckpt import errors
from estimator_ckpt.bundle import dtypes, files
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint.roles import Role, RoleKind
from estimator_ckpt.checkpoint.saved_tensor import SavedTensor

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

  import numpy as np

  from estimator_ckpt.checkpoint.reader import CheckpointReader

# Of tensors whose checksum no index has.
NO_CHECKSUM = -1

_WEIGHTS = "model.weights.h5"
_OPTIMIZER = "optimizer/"


class WeightsFormat(enum.Enum):
  """The kinds of files of weights."""

  WEIGHTS = "weights.h5"
  KERAS = "keras"


def is_weights_file(path: str | os.PathLike[str]) -> bool:
  """Whether a path is that of a file of weights, and not of a checkpoint.

  Args:
    path: any path.

  Example:
    >>> is_weights_file("m.weights.h5"), is_weights_file("model_dir/model.ckpt-3")
    (True, False)
  """
  return os.fspath(path).endswith((".h5", ".hdf5", ".keras"))


def resolve(path: str | os.PathLike[str]) -> str:
  """The path that messages use: a file of weights itself, or a checkpoint's prefix.

  Args:
    path: a file of weights, or what `estimator_ckpt.checkpoint.prefix.resolve` takes.

  Raises:
    CheckpointNotFoundError: there is neither.
  """
  return os.fspath(path) if is_weights_file(path) else prefix_lib.resolve(path)


def open_tensors(path: str) -> CheckpointReader | WeightsFile:
  """Opens a file of weights or a checkpoint, to read tensors by their keys.

  Args:
    path: what `resolve` gave.

  Raises:
    CheckpointError: it cannot be read.
  """
  if is_weights_file(path):
    return WeightsFile(path)
  from estimator_ckpt.checkpoint.reader import open_checkpoint

  return open_checkpoint(path)


class WeightsFile:
  """A file of weights that Keras wrote.

  Args:
    path: the file's path.

  Attributes:
    path: the file's path.
    format: `WEIGHTS` or `KERAS`.
    size: its bytes.
    tensors: what it holds, by name.

  Raises:
    CheckpointNotFoundError: there is no such file.
    CorruptCheckpointError: it is something else.
    MissingDependencyError: h5py is not installed.
  """

  def __init__(self, path: str | os.PathLike[str]):
    self.path = os.fspath(path)
    is_keras = self.path.endswith(".keras")
    self.format = WeightsFormat.KERAS if is_keras else WeightsFormat.WEIGHTS
    if not files.exists(self.path) or files.is_dir(self.path):
      raise errors.CheckpointNotFoundError(
        f"{self.path}: there is no such file of weights"
      )
    import zipfile

    h5py = _import_h5py(self.path)
    self.size = files.size(self.path)
    try:
      self._file = h5py.File(self._open(), "r")
    except (OSError, zipfile.BadZipFile, KeyError) as error:
      raise errors.CorruptCheckpointError(
        f"{self.path}: no {self.format.value} file of Keras, or a damaged one: {error}"
      ) from error
    self._datasets: dict[str, Any] = {}
    self._file.visititems(self._add)
    tensors = [self._tensor(name) for name in self._datasets]
    self.tensors = tuple(sorted(tensors, key=lambda tensor: tensor.name))

  def __enter__(self) -> WeightsFile:
    return self

  def __exit__(self, *unused: object) -> None:
    self._file.close()

  def __getitem__(self, key: str) -> np.ndarray:
    """Reads a tensor.

    Args:
      key: the tensor's name.

    Raises:
      CorruptCheckpointError: its bytes are damaged.
    """
    import numpy as np

    dataset = self._datasets[key]
    try:
      array = np.asarray(dataset[()])
    except OSError as error:
      raise errors.CorruptCheckpointError(f"{self.path}: {key!r}: {error}") from error
    if _dtype(dataset) != "bfloat16":
      return array
    bfloat16 = dtypes.to_numpy(dtypes.number("bfloat16"))
    is_raw = array.dtype.kind == "V" or array.dtype == np.uint16
    return array.view(bfloat16) if is_raw else array.astype(bfloat16)

  def roles(self) -> Iterator[Role]:
    """Yields what each of `tensors` is for, as far as its place tells."""
    step = self.step_name()
    for tensor in self.tensors:
      if tensor.name == step:
        yield Role(RoleKind.GLOBAL_STEP)
      elif tensor.name.startswith(_OPTIMIZER):
        yield Role(RoleKind.SLOT if tensor.shape else RoleKind.NON_SLOT)
      elif tensor.name.startswith("metrics/"):
        yield Role(RoleKind.OTHER)
      else:
        yield Role(RoleKind.VARIABLE)

  def step_name(self) -> str | None:
    """The name of the optimizer's number of steps, or None."""
    name = f"{_OPTIMIZER}vars/0"
    dataset = self._datasets.get(name)
    is_count = dataset is not None and not dataset.shape and dataset.dtype.kind in "iu"
    return name if is_count else None

  def _open(self) -> Any:
    """What h5py reads: a path, or a file."""
    import io
    import shutil
    import tempfile
    import zipfile

    if self.format is WeightsFormat.WEIGHTS:
      if files.is_local(self.path):
        return files.local_path(self.path)
      return io.BytesIO(files.read(self.path))
    local = files.is_local(self.path)
    packed = files.local_path(self.path) if local else io.BytesIO(files.read(self.path))
    # HDF5 reads here and there, which a packed file is slow at.
    unpacked = tempfile.TemporaryFile()
    with zipfile.ZipFile(packed) as archive, archive.open(_WEIGHTS) as source:
      shutil.copyfileobj(source, unpacked)
    unpacked.seek(0)
    return unpacked

  def _add(self, name: str, item: Any) -> None:
    if hasattr(item, "dtype") and hasattr(item, "shape"):
      self._datasets[name] = item

  def _tensor(self, name: str) -> SavedTensor:
    dataset = self._datasets[name]
    try:
      number = dtypes.number(_dtype(dataset))
    except errors.CheckpointError:
      number = dtypes.STRING
    # The h5py 2 beside an old TensorFlow has no `nbytes`.
    size = int(dataset.size) * dataset.dtype.itemsize
    entry = BundleEntry(number, tuple(dataset.shape), size=size, crc32c=NO_CHECKSUM)
    own = dataset.parent.attrs.get("name")
    paths: tuple[str, ...] = ()
    if isinstance(own, str) and name.count("/vars/") == 1:
      scope, number_of = name.split("/vars/")
      paths = (f"{scope.rpartition('/')[0]}/{own}/vars/{number_of}".lstrip("/"),)
    return SavedTensor(name, (name,), entry, (), paths)


def _dtype(dataset: Any) -> str:
  said = dataset.attrs.get("dtype")
  return said if isinstance(said, str) else str(dataset.dtype.name)


def _import_h5py(path: str) -> Any:
  import importlib

  try:
    return importlib.import_module("h5py")
  except ImportError as error:
    raise errors.MissingDependencyError(
      f"{path}: files of weights need the package h5py: pip install h5py"
    ) from error
