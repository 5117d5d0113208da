"""What differs between two checkpoints, of any formats.

Tensors are the same if they share a key, or else a name: what the object graph calls a
variable is its name in a name-based checkpoint.
"""

from __future__ import annotations

import collections
import enum
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Callable, Tuple

from estimator_ckpt import value_classes
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.bundle.stored_entries import check_sizes
from estimator_ckpt.checkpoint import formats, layout, tensor_names
from estimator_ckpt.checkpoint.listing import saved_tensors
from estimator_ckpt.checkpoint.name_map import NameMap, NameMapLike
from estimator_ckpt.checkpoint.paired_keys import PairedKeys
from estimator_ckpt.checkpoint.saved_tensor import SavedTensor
from estimator_ckpt.errors import CorruptCheckpointError, OptionError
from estimator_ckpt.files import weights_file
from estimator_ckpt.files.weights_file import NO_CHECKSUM, WeightsFile, WeightsFormat
from estimator_ckpt.html_table import html_table
from estimator_ckpt.text_table import Column

if TYPE_CHECKING:
  import numpy as np

  from estimator_ckpt.checkpoint.reader import CheckpointReader

Progress = Callable[[int, int], None]

_CHUNK_SIZE = 1 << 20


class DifferenceKind(enum.Enum):
  """How a tensor differs."""

  ONLY_IN_A = "only in a"
  ONLY_IN_B = "only in b"
  DTYPE = "dtype"
  SHAPE = "shape"
  KEY = "key"
  VALUES = "values"


@value_classes.dataclass(frozen=True)
class Difference:
  """One tensor that differs.

  Attributes:
    kind: how.
    name: the tensor's name.
    a: the tensor in the first checkpoint, if it is there.
    b: the tensor in the second, if it is there.
    changed: for values, how many elements differ; None where they cannot be read.
    largest: for values, the largest difference of two finite numbers, if known.
  """

  kind: DifferenceKind
  name: str
  a: SavedTensor | None
  b: SavedTensor | None
  changed: int | None = None
  largest: float | None = None


@value_classes.dataclass(frozen=True)
class Comparison:
  """How two checkpoints differ.

  Attributes:
    a: the first checkpoint's prefix.
    b: the second's.
    format_a: the first one's format.
    format_b: the second's.
    differences: what differs, by name.
    matched: how many tensors are in both.
    values_compared: whether the contents were compared.
    bytes_read: how many bytes were read for the comparison, in both together.
    by_checksum: how many tensors are equal by the checksums in the indexes alone. Their
      bytes were not read. `verify` compares bytes with checksums.
    problems: why tensors whose checksums differ could not be read, in words.
  """

  a: str
  b: str
  format_a: formats.CheckpointFormat | WeightsFormat
  format_b: formats.CheckpointFormat | WeightsFormat
  differences: tuple[Difference, ...]
  matched: int
  values_compared: bool
  bytes_read: int = 0
  by_checksum: int = 0
  problems: tuple[str, ...] = ()

  @property
  def equal(self) -> bool:
    """Whether nothing differs."""
    return not self.differences

  def _repr_html_(self) -> str:
    count = f"{len(self.differences):,} difference"
    count += "" if len(self.differences) == 1 else "s"
    heading = f"{self.a} and {self.b}: {'equal' if self.equal else count}, "
    heading += f"{self.matched:,} tensors in both"
    if not self.values_compared:
      heading += ", values not compared"
    columns = [Column("difference"), Column("name"), Column("a"), Column("b")]
    columns += [Column("changed", True), Column("by up to", True)]
    rows = []
    for each in self.differences:
      sides = [
        f"{side.dtype} {list(side.shape)}" if side is not None else ""
        for side in (each.a, each.b)
      ]
      changed = "" if each.changed is None else f"{each.changed:,}"
      largest = "" if each.largest is None else f"{each.largest:.4g}"
      rows.append([each.kind.value, each.name, *sides, changed, largest])
    return html_table(heading, columns, rows)


def diff(
  a: str | os.PathLike[str],
  b: str | os.PathLike[str],
  *,
  name_map: NameMapLike = None,
  values: bool = False,
  atol: float = 0.0,
  rtol: float = 0.0,
  progress: Progress | None = None,
) -> Comparison:
  """Compares two checkpoints.

  Keys are compared only between checkpoints of one format. The object graph and the
  counter of saves count only if neither checkpoint is name-based.

  Args:
    a: a prefix, or anything else that `estimator_ckpt.checkpoint.prefix.resolve` takes. Or a
      file of weights that Keras wrote, `.weights.h5` or `.keras`, which needs the package
      h5py.
    b: the other.
    name_map: rules that turn names of `a` into those of `b`; see
      `estimator_ckpt.checkpoint.name_map`.
    values: whether to compare contents. Tensors with equal checksums in the indexes are
      equal; their data files have to be there, and long enough. The others are read, to
      say how much they differ.
    atol: an absolute tolerance. Numbers that differ by no more are equal.
    rtol: a relative tolerance. Times the magnitude of the number in `b`, it is added to
      `atol`.
    progress: is called with the bytes of tensors that were compared, and all.

  Returns:
    What differs.

  Raises:
    OptionError: a tolerance is negative.
    CheckpointNotFoundError: there is no checkpoint, or a data file is missing.
    CorruptCheckpointError: an index or an object graph is damaged; with `values`, a
      data file is too short.
    MissingDependencyError: for a file of weights, h5py is not installed.

  Example:
    if not diff("before/model.ckpt-3", "after/model.ckpt-3", values=True).equal:
      ...
  """
  if not (atol >= 0 and rtol >= 0):
    raise OptionError(f"atol={atol} and rtol={rtol} have to be 0 or more")
  one, other = _Side(a, NameMap.parse(name_map)), _Side(b)
  pairs, differences = _match(one, other)
  same_format = one.format == other.format
  for pair in pairs:
    has_own_keys = one.name(pair[0]) == pair[0].name
    kind = _difference(*pair, same_format and has_own_keys)
    if kind is not None:
      differences.append(Difference(kind, pair[0].name, *pair))
  bytes_read = by_checksum = 0
  problems: list[str] = []
  if values:
    for side in (one, other):
      side.check_sizes()
    comparer = _ValueComparer(one.prefix, other.prefix, atol, rtol, progress)
    comparable = [
      p for p in pairs if _difference(*p, same_format) is not DifferenceKind.SHAPE
    ]
    differences += comparer.compare(comparable)
    bytes_read, problems = comparer.bytes_read, comparer.problems
    by_checksum = comparer.by_checksum
  differences.sort(key=lambda difference: (difference.name, difference.kind.value))
  return Comparison(
    one.prefix,
    other.prefix,
    one.format,
    other.format,
    tuple(differences),
    len(pairs),
    values,
    bytes_read,
    by_checksum,
    tuple(problems),
  )


class _Side:
  """One of the two checkpoints."""

  def __init__(self, path: str | os.PathLike[str], name_map: NameMap | None = None):
    self.prefix = weights_file.resolve(path)
    self.format: formats.CheckpointFormat | WeightsFormat
    self._index: Index | None = None
    if weights_file.is_weights_file(path):
      with weights_file.WeightsFile(path) as weights:
        self.format, self.tensors = weights.format, list(weights.tensors)
    else:
      self._index = Index.read(self.prefix)
      graph = formats.read_object_graph(self.prefix, self._index)
      pairs = PairedKeys.of(self._index)
      self.format = formats.format_with(self._index, graph, pairs)
      self.tensors = list(_with_own_counter(saved_tensors(self._index, graph, pairs)))
    # For each name here, the name on the other side.
    self.names = {tensor.name: tensor.name for tensor in self.tensors}
    if name_map:
      self.names = name_map.apply(self.names)

  @property
  def has_objects(self) -> bool:
    """Whether there is an object graph, and a counter of saves."""
    return self.format in (formats.CheckpointFormat.TF2, formats.CheckpointFormat.DUAL)

  def check_sizes(self) -> None:
    """Raises an error for a data file that is too short."""
    if self._index is not None:
      check_sizes(self._index, Shards.of(self.prefix, self._index))

  def name(self, tensor: SavedTensor) -> str:
    """The name that the other side has for a tensor."""
    return self.names[tensor.name]


_Pair = Tuple[SavedTensor, SavedTensor]


def _with_own_counter(tensors: Iterable[SavedTensor]) -> Iterator[SavedTensor]:
  """Separates the counter of saves from the step, where both share their bytes."""
  counter = tensor_names.SAVE_COUNTER_KEY
  for tensor in tensors:
    if counter not in tensor.keys or len(tensor.keys) == 1:
      yield tensor
      continue
    name = layout.SAVE_COUNTER
    yield tensor._replace(
      keys=tuple(key for key in tensor.keys if key != counter),
      paths=tuple(path for path in tensor.object_paths if path != name),
    )
    yield tensor._replace(name=name, keys=(counter,), paths=(name,))


def _match(one: _Side, other: _Side) -> tuple[list[_Pair], list[Difference]]:
  """Pairs of tensors that are the same, and differences for those without a partner."""
  by_key = {key: tensor for tensor in other.tensors for key in tensor.keys}
  names: dict[str, list[SavedTensor]] = collections.defaultdict(list)
  for tensor in other.tensors:
    names[tensor.name].append(tensor)
  pairs: list[_Pair] = []
  taken: set[int] = set()
  left: list[SavedTensor] = []
  for tensor in one.tensors:
    found = next((by_key[key] for key in tensor.keys if key in by_key), None)
    is_renamed = one.name(tensor) != tensor.name
    if is_renamed or found is None or id(found) in taken:
      left.append(tensor)
    else:
      taken.add(id(found))
      pairs.append((tensor, found))
  own = collections.Counter(map(one.name, left))
  differences = []
  for tensor in left:
    name = one.name(tensor)
    named = [t for t in names.get(name, ()) if id(t) not in taken]
    # Of several with one name, nobody can say which is which.
    if len(named) == 1 and own[name] == 1:
      taken.add(id(named[0]))
      pairs.append((tensor, named[0]))
    elif not _is_bookkeeping(tensor) or other.has_objects:
      differences.append(
        Difference(DifferenceKind.ONLY_IN_A, tensor.name, tensor, None)
      )
  for tensor in other.tensors:
    if id(tensor) not in taken and (not _is_bookkeeping(tensor) or one.has_objects):
      differences.append(
        Difference(DifferenceKind.ONLY_IN_B, tensor.name, None, tensor)
      )
  return pairs, differences


def _is_bookkeeping(tensor: SavedTensor) -> bool:
  """Whether a tensor is the object graph or the counter of saves."""
  return tensor.key in (layout.OBJECT_GRAPH_KEY, tensor_names.SAVE_COUNTER_KEY)


def _difference(
  a: SavedTensor, b: SavedTensor, same_format: bool
) -> DifferenceKind | None:
  if a.shape != b.shape:
    return DifferenceKind.SHAPE
  if a.dtype != b.dtype:
    return DifferenceKind.DTYPE
  if same_format and a.keys != b.keys:
    return DifferenceKind.KEY
  return None


class _ValueComparer:
  """Compares contents, and reads only what checksums cannot decide."""

  def __init__(
    self, a: str, b: str, atol: float, rtol: float, progress: Progress | None
  ):
    self.bytes_read = 0
    self.by_checksum = 0
    self.problems: list[str] = []
    self._prefixes = (a, b)
    self._atol = atol
    self._rtol = rtol
    self._progress = progress

  def compare(self, pairs: Sequence[_Pair]) -> list[Difference]:
    """The pairs whose values differ."""
    undecided = [pair for pair in pairs if not _same_checksums(*pair)]
    self.by_checksum = len(pairs) - len(undecided)
    if not undecided:
      return []
    total = sum(a.size + b.size for a, b in undecided)
    found = []
    with weights_file.open_tensors(self._prefixes[0]) as reader_a:
      with weights_file.open_tensors(self._prefixes[1]) as reader_b:
        for a, b in undecided:
          difference = self._compare(a, b, reader_a, reader_b)
          if difference is not None:
            found.append(difference)
          self.bytes_read += a.size + b.size
          if self._progress is not None:
            self._progress(self.bytes_read, total)
    return found

  def _compare(
    self,
    a: SavedTensor,
    b: SavedTensor,
    reader_a: CheckpointReader | WeightsFile,
    reader_b: CheckpointReader | WeightsFile,
  ) -> Difference | None:
    if a.dtype in ("variant", "resource"):
      # Nobody else can read them, and their checksums differ.
      return Difference(DifferenceKind.VALUES, a.name, a, b)
    try:
      arrays = reader_a[a.key], reader_b[b.key]
    except CorruptCheckpointError as error:
      self.problems.append(str(error))
      return Difference(DifferenceKind.VALUES, a.name, a, b)
    changed, largest = _count_changes(*arrays, self._atol, self._rtol)
    if not changed:
      return None
    return Difference(DifferenceKind.VALUES, a.name, a, b, changed, largest)


def _same_checksums(a: SavedTensor, b: SavedTensor) -> bool:
  """Whether the checksums say that two tensors of one shape are equal."""
  if a.dtype != b.dtype or len(a.parts) != len(b.parts):
    return False
  if NO_CHECKSUM in (a.entry.crc32c, b.entry.crc32c):
    return False
  one = {str(p.tensor_slice): (p.entry.size, p.entry.crc32c) for p in a.parts}
  other = {str(p.tensor_slice): (p.entry.size, p.entry.crc32c) for p in b.parts}
  return one == other


def _count_changes(
  a: np.ndarray, b: np.ndarray, atol: float, rtol: float
) -> tuple[int, float | None]:
  """How many elements differ, and the largest difference of two finite numbers."""
  import numpy as np

  a, b = a.reshape(-1), b.reshape(-1)
  if a.dtype.kind == "O" or b.dtype.kind == "O":
    return sum(x != y for x, y in zip(a.tolist(), b.tolist())), None
  changed = 0
  largest: float | None = None
  for start in range(0, a.size, _CHUNK_SIZE):
    x, y = _comparable(a[start : start + _CHUNK_SIZE], b[start : start + _CHUNK_SIZE])
    with np.errstate(invalid="ignore", over="ignore"):
      differs = ~((x == y) | ((x != x) & (y != y)))
      if not differs.any():
        continue
      x, y = x[differs], y[differs]
      gap = _gap(x, y)
      finite = np.isfinite(gap)
      beyond = ~(finite & (gap <= atol + rtol * np.abs(y).astype(np.float64)))
      changed += int(np.count_nonzero(beyond))
      gap = gap[beyond & finite]
    if gap.size:
      largest = max(largest or 0.0, float(gap.max()))
  return changed, largest


def _gap(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """How far apart numbers are."""
  import numpy as np

  if x.dtype.kind in "iu":
    # Modulo 2**64 the difference is exact, where doubles would round it to zero.
    high, low = np.maximum(x, y).astype(np.uint64), np.minimum(x, y).astype(np.uint64)
    return (high - low).astype(np.float64)
  return np.abs(x.astype(np.complex128 if x.dtype.kind == "c" else np.float64) - y)


def _comparable(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Two arrays in one of numpy's own types that holds the values of both."""
  import numpy as np

  x, y = (
    z if z.dtype.kind in "iufcb" else z.astype(np.float32)  # a type of ml_dtypes
    for z in (x, y)
  )
  if x.dtype == y.dtype:
    return x, y
  wide = np.result_type(x.dtype, y.dtype)
  return x.astype(wide), y.astype(wide)
