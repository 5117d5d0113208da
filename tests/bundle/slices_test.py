from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import slices
from estimator_ckpt.bundle.messages import TensorSlice
from estimator_ckpt.errors import CorruptCheckpointError

_int64s = st.integers(0, 2**63 - 1) | st.integers(0, 200)
_extents = st.just((0, -1)) | st.tuples(_int64s, _int64s)
_slices = st.lists(_extents, max_size=5).map(lambda e: TensorSlice(tuple(e)))


def _slice(*extents):
  return TensorSlice(extents)


def test_a_key_has_the_bytes_that_tensorflow_writes():
  key = slices.slice_key("net/part", _slice((0, 4), (0, 3)))
  assert key == b"\x00net/part\x00\x01\x01\x02\x80\x84\x80\x83"
  assert slices.slice_key("e", _slice((64, 64), (0, -1))).hex() == (
    "00" + "650001" + "0102" + "c040c040" + "807f"
  )


@given(st.text(max_size=10), _slices)
def test_keys_round_trip(name, tensor_slice):
  key = slices.slice_key(name, tensor_slice)
  assert slices.is_slice_key(key)
  assert slices.parse_slice_key(key) == (name, tensor_slice)
  found, position = slices.parse_slice_name(key)
  assert found == name
  assert key[:position] == slices.slice_key_prefix(name)


def test_names_with_zero_bytes_and_bytes_that_are_no_text_round_trip():
  name = b"a\x00\xff\x01b".decode("utf-8", "surrogateescape")
  key = slices.slice_key(name, _slice((0, 1)))
  assert slices.parse_slice_key(key) == (name, _slice((0, 1)))


@pytest.mark.parametrize(
  "key, problem",
  [
    (b"dense/kernel", "no slice's key"),
    (b"", "no slice's key"),
    (b"\x00abc", "without an end"),
    (b"\x00abc\x00\x01", "truncated ordered number"),
    (b"\x00abc\x00\x01\x01\x02\x80\x84", "2 dimensions in 2 bytes"),
    (b"\x00abc\x00\x01\x08" + b"\xff" * 8 + b"\x80\x80", "dimensions in 2 bytes"),
    (b"\x00abc\x00\x01\x01\x01\x80\x84\x80", "1 bytes too many"),
    (b"\x00abc\x00\x01\x01\x01\x7f\x84", "extent \\(-1, 4\\)"),
    (b"\x00abc\x00\x01\x01\x01\x81\x7f", "extent \\(1, -1\\)"),
    (b"\x00abc\x00\x01\x01\x01\x80\x7e", "extent \\(0, -2\\)"),
  ],
)
def test_damaged_keys_are_refused(key, problem):
  with pytest.raises(CorruptCheckpointError, match=problem):
    slices.parse_slice_key(key)


@given(st.binary(max_size=30))
def test_any_bytes_are_a_key_or_a_checkpoint_error(data):
  try:
    name, tensor_slice = slices.parse_slice_key(b"\x00" + data)
  except CorruptCheckpointError:
    return
  assert slices.slice_key(name, tensor_slice) == b"\x00" + data


def test_bounds_of_full_and_cut_dimensions():
  assert slices.bounds(_slice((2, 3), (0, -1)), (5, 7)) == ((2, 5), (0, 7))
  assert slices.bounds(_slice(), ()) == ()


@pytest.mark.parametrize(
  "tensor_slice, problem",
  [
    (_slice((0, 5)), "has 1 dimensions, its tensor \\[5, 7\\] has 2"),
    (_slice((3, 3), (0, -1)), "3,3:- lies outside its tensor"),
    (_slice((0, 2**62), (0, -1)), "outside"),
  ],
)
def test_slices_outside_their_tensor_are_refused(tensor_slice, problem):
  with pytest.raises(CorruptCheckpointError, match=problem):
    slices.bounds(tensor_slice, (5, 7))


@st.composite
def _tilings(draw):
  """A shape and the slices of a grid over it, in any order."""
  axes = []
  for _ in range(draw(st.integers(1, 3))):
    cuts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    starts = [sum(cuts[:i]) for i in range(len(cuts))]
    axes.append((sum(cuts), list(zip(starts, cuts))))
  shape = tuple(size for size, _ in axes)
  boxes = [
    _slice(*extents) for extents in itertools.product(*(cuts for _, cuts in axes))
  ]
  return shape, draw(st.permutations(boxes))


@given(_tilings(), st.data())
def test_a_grid_tiles_and_with_a_part_missing_or_twice_does_not(tiling, data):
  shape, tensor_slices = tiling
  slices.check_tiling(tensor_slices, shape)
  chosen = data.draw(st.sampled_from(tensor_slices))
  with pytest.raises(CorruptCheckpointError, match="overlap"):
    slices.check_tiling([*tensor_slices, chosen], shape)
  without = [s for s in tensor_slices if s != chosen]
  with pytest.raises(CorruptCheckpointError, match="elements of a tensor"):
    slices.check_tiling(without, shape)


@given(
  st.lists(st.integers(1, 4), min_size=1, max_size=2),
  st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=2),
    max_size=4,
  ),
)
def test_tiling_is_told_as_by_counting_cells(shape, boxes):
  tensor_slices = [_slice(*box[: len(shape)]) for box in boxes]
  cells = [
    cell
    for s in tensor_slices
    for cell in itertools.product(*(range(a, a + n) for a, n in s.extents))
  ]
  inside = all(
    a + n <= size for s in tensor_slices for (a, n), size in zip(s.extents, shape)
  )
  wanted = sorted(itertools.product(*map(range, shape)))
  try:
    slices.check_tiling(tensor_slices, shape)
    tiles = True
  except CorruptCheckpointError:
    tiles = False
  assert tiles == (inside and sorted(cells) == wanted)


def test_slices_without_elements_do_not_matter():
  slices.check_tiling([_slice((0, 0)), _slice((0, 3)), _slice((3, 0))], (3,))
  slices.check_tiling([_slice((0, 0), (0, -1))], (0, 3))
  slices.check_tiling([], (0,))


def test_a_scalar_has_one_slice():
  slices.check_tiling([_slice()], ())
  with pytest.raises(CorruptCheckpointError, match="2 slices of a scalar"):
    slices.check_tiling([_slice(), _slice()], ())
  with pytest.raises(CorruptCheckpointError, match="hold 0 of the 1 elements"):
    slices.check_tiling([], ())


def test_many_slices_are_checked_in_good_time():
  count = 50_000
  rows = [_slice((n, 1), (0, -1)) for n in range(count)]
  slices.check_tiling(rows, (count, 3))
  columns = [_slice((0, -1), (n, 1)) for n in range(count)]
  slices.check_tiling(columns, (3, count))
