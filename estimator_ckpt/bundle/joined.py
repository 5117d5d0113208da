"""One entry over the bytes of several slices.

Slices of rows whose bytes follow each other in one data file are the whole tensor's
bytes:

    offset 96               offset 120              offset 136
    | slice 0,3:-           | slice 3,2:-           | slice 5,2:-          |
    | the whole tensor                                                     |

so an index can have them as slices under one key and as one tensor under another.
TensorFlow 1.15 to 2.21 cannot put slices of float16 and some other types together, and
reads such a tensor as a whole this way.
"""

from __future__ import annotations

from estimator_ckpt.bundle import checksum, dtypes, slices
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry

# Those that TensorFlow puts together from slices of other sizes, and cuts slices of:
# float32, float64, int8 to int64, uint8, bool, complex, bfloat16, and quantized ones.
_STITCHED = frozenset((1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 18))


def tensorflow_stitches(dtype: int) -> bool:
  """Whether TensorFlow puts a type's slices together; checked on 1.15 to 2.21.

  Args:
    dtype: TensorFlow's number of the type.

  >>> tensorflow_stitches(1), tensorflow_stitches(19)  # float32, float16
  (True, False)
  """
  return dtype in _STITCHED


def joined_entry(index: Index, key: str) -> BundleEntry | None:
  """The entry of a partitioned tensor as a whole, over the bytes of its slices.

  Args:
    index: the index of the bundle.
    key: the partitioned tensor's key.

  Returns:
    The entry, or None where the slices are not rows that follow each other.

  Raises:
    CheckpointKeyError: no such tensor.
    CorruptCheckpointError: an entry is damaged.
  """
  whole = index.entry(key)
  if not whole.slices or dtypes.item_size(whole.dtype) is None:
    return None
  parts = [
    (slices.bounds(tensor_slice, whole.shape), entry)
    for tensor_slice, entry in index.slice_entries(key)
  ]
  parts.sort(key=lambda part: part[0][0])
  first = parts[0][1]
  row = 0
  offset = first.offset
  crc = 0
  for bounds, entry in parts:
    full_rows = all(pair == (0, n) for pair, n in zip(bounds[1:], whole.shape[1:]))
    follows = (entry.shard_id, entry.offset) == (first.shard_id, offset)
    if not full_rows or not follows or bounds[0][0] != row:
      return None
    row = bounds[0][1]
    offset += entry.size
    crc = checksum.combine(crc, checksum.unmask(entry.crc32c), entry.size)
  if row != whole.shape[0]:
    return None
  return first._replace(
    dtype=whole.dtype,
    shape=whole.shape,
    size=offset - first.offset,
    crc32c=checksum.mask(crc),
  )
