from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import coding, snappy
from estimator_ckpt.errors import CorruptCheckpointError


# The compressed forms are those of the reference implementation.
@pytest.mark.parametrize(
  "compressed, plain",
  [
    ("00", b""),
    ("010061", b"a"),
    (
      (
        "51f05057696b697065646961206973206120667265652c207765622d62617365642c20636f6c6c"
        "61626f7261746976652c206d756c74696c696e6775616c20656e6379636c6f70656469612070726f"
        "6a6563742e"
      ),
      (
        b"Wikipedia is a free, web-based, collaborative, multilingual encyclopedia"
        b" project."
      ),
    ),
    ("d804046162" + "fe0200" * 9 + "560200", b"ab" * 300),
    (
      "800af40501"
      + bytes(range(256)).hex()
      + "000102030405"
      + "fe0001" * 15
      + "e60001",
      bytes(range(256)) * 5,
    ),
    ("e80700" + "00" + "fe0100" * 15 + "9a0100", bytes(1000)),
  ],
)
def test_compressed_by_the_reference_implementation(compressed, plain):
  assert snappy.decompress(bytes.fromhex(compressed)) == plain


def _literal(data):
  length = len(data) - 1
  if length < 60:
    return bytes((length << 2,)) + data
  width = (length.bit_length() + 7) // 8
  return bytes(((59 + width) << 2,)) + length.to_bytes(width, "little") + data


def _copy(offset, length, kind):
  if kind == 1:
    return bytes((1 | (length - 4) << 2 | offset >> 8 << 5, offset & 255))
  return bytes((kind | (length - 1) << 2,)) + offset.to_bytes(2 * kind - 2, "little")


@st.composite
def _compressed(draw):
  """Compressed bytes made of arbitrary elements, and what they stand for."""
  plain = bytearray()
  elements = []
  for _ in range(draw(st.integers(0, 8))):
    kind = draw(st.integers(0, 3)) if plain else 0
    if kind == 0:
      data = draw(st.binary(min_size=1, max_size=90))
      elements.append(_literal(data))
      plain += data
      continue
    offset = draw(st.integers(1, min(len(plain), 2047 if kind == 1 else 65535)))
    length = draw(st.integers(4, 11) if kind == 1 else st.integers(1, 64))
    elements.append(_copy(offset, length, kind))
    for _ in range(length):
      plain.append(plain[-offset])
  return coding.encode_varint(len(plain)) + b"".join(elements), bytes(plain)


@given(_compressed())
def test_every_kind_of_element(case):
  compressed, plain = case
  assert snappy.decompress(compressed) == plain


@given(_compressed(), st.data())
def test_truncated_data_is_refused(case, data):
  compressed, plain = case
  cut = data.draw(st.integers(0, len(compressed) - 1))
  with pytest.raises(CorruptCheckpointError):
    snappy.decompress(compressed[:cut])


@given(st.binary(max_size=60))
def test_any_bytes_are_data_or_a_checkpoint_error(data):
  try:
    plain = snappy.decompress(data)
  except CorruptCheckpointError:
    return
  assert len(plain) <= 22 * len(data)


@pytest.mark.parametrize(
  "compressed, problem",
  [
    # Two bytes that declare 4 GB.
    ("ffffffff0f0061", "cannot hold the 4294967295"),
    ("020061", "1 bytes, 2 were declared"),
    ("01046162", "more bytes than declared"),
    ("0500610501", "more bytes than declared"),
    ("0600610502", "from before the start"),
    ("0600610500", "from before the start"),
    ("0600610e01", "truncated copy"),
    ("0600610f010000", "truncated copy"),
    ("0af4", "truncated literal"),
    ("0afcffffffff61", "truncated literal"),
  ],
)
def test_damaged_data_is_refused(compressed, problem):
  with pytest.raises(CorruptCheckpointError, match=problem):
    snappy.decompress(bytes.fromhex(compressed))
