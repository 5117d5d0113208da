from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import coding
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry

# Where text and bytes sort differently: a byte alone, and characters of 2, 3 and 4.
_PIECES = [b"a", b"/", b"\x80", b"\xff", *map(str.encode, "ä€\ue000\U0001f600")]
_KEYS = st.lists(
  st.lists(st.sampled_from(_PIECES), min_size=1, max_size=4).map(b"".join)
)


def _text(key):
  return key.decode("utf-8", "surrogateescape")


@given(_KEYS)
def test_keys_are_in_the_order_of_their_bytes(keys):
  assert coding.in_byte_order(map(_text, keys)) == list(map(_text, sorted(keys)))


@given(_KEYS)
def test_an_index_keeps_keys_that_are_no_text(keys):
  index = Index()
  for offset, key in enumerate(dict.fromkeys(keys)):
    index.put(_text(key), BundleEntry(dtype=1, shape=(), offset=offset, size=4))
  read = Index.parse(index.serialize(), "index")
  assert read.keys() == index.keys() == list(map(_text, sorted(set(keys))))
  assert read.locations() == index.locations()


def test_a_key_is_the_same_however_its_bytes_are_spelled():
  index = Index()
  index.put("\udcc3\udca4", BundleEntry(dtype=1, shape=(), size=4))
  index.put("ä", BundleEntry(dtype=1, shape=(), size=8))
  assert index.keys() == ["ä"]
  assert "\udcc3\udca4" in index
  assert index.entry("\udcc3\udca4").size == index.entry("ä").size == 8
  index.alias("\udcc3\udca4", "ä")
  index.rekey({"\udcc3\udcb6": "\udcc3\udca4"})
  assert index.keys() == ["ö"]
  index.remove("\udcc3\udcb6")
  assert len(index) == 0
