"""Rows of keys say what their keys say."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import key_rows
from estimator_ckpt.bundle.key_rows import KeyRows
from estimator_ckpt.bundle.table import UnusualTable

_KEYS = st.binary(max_size=20) | st.text("ab\0\xff", max_size=40).map(str.encode)
_TEXTS = st.text("ab\x01\xe9\U0001f600\udcff", max_size=40)


@given(st.lists(_KEYS), st.lists(_TEXTS))
def test_rows_have_their_keys(keys, texts):
  every = [*keys, *[text.encode("utf-8", "surrogateescape") for text in texts]]
  if every:
    rows = KeyRows.of(keys, texts)
    assert rows.keys() == [rows.key(i) for i in range(len(every))] == every
    assert rows.sizes.tolist() == list(map(len, every))


@given(st.sets(_KEYS, min_size=1).map(sorted))
def test_keys_share_what_is_the_same(keys):
  pairs = zip([b"", *keys], keys)
  shared = [len(os.path.commonprefix(pair)) for pair in pairs]
  assert KeyRows.of(keys, []).shared_sizes().tolist() == shared


@given(st.lists(_KEYS, min_size=1))
def test_the_order_is_that_of_bytes(keys):
  rows = KeyRows.of(keys, [])
  if all(a < b for a, b in zip(keys, keys[1:])):
    rows.shared_sizes()
  else:
    with pytest.raises(UnusualTable):
      rows.shared_sizes()


@given(st.lists(_KEYS, min_size=1), st.lists(_KEYS, min_size=1))
def test_the_same_keys(some, others):
  assert KeyRows.of(some, []).is_same(KeyRows.of(others, [])) == (some == others)


def test_what_has_no_rows():
  for keys, texts in (([b"k" * 1025], []), ([], ["a\0b"])):
    with pytest.raises(UnusualTable):
      KeyRows.of(keys, texts)


def test_windows_at_the_end():
  starts = np.array([0, 3, 5])
  rows = key_rows.windows(b"abcdef", starts, 4)
  assert [row.tobytes()[: 6 - start] for row, start in zip(rows, starts)] == [
    b"abcd",
    b"def",
    b"f",
  ]
