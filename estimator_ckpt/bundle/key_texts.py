"""The keys of an index as text: which text stands for a key, and in which order.

A key is bytes, nearly always UTF-8. Bytes that are not become lone surrogates, one each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable


def normal(key: str) -> str:
  r"""The text that a key is read as, which another may stand for, too.

  Args:
    key: any text.

  >>> normal("dense/\udcc3\udca9")
  'dense/é'
  """
  return key if key.isascii() else _encode(key).decode("utf-8", "surrogateescape")


def are_normal(keys: Collection[str]) -> bool:
  """Whether many keys have no lone surrogates, so that each is `normal`."""
  try:
    return all(map(str.isascii, keys)) or bool("".join(keys).encode())
  except UnicodeEncodeError:
    return False


def in_order(keys: Iterable[str]) -> list[str]:
  """Keys in the order of a table, which is that of their bytes.

  Args:
    keys: the keys, `normal`.
  """
  found = sorted(keys)
  # Text sorts as UTF-8 does, but for the bytes that lone surrogates stand for.
  if not are_normal(found):
    found.sort(key=_encode)
  return found


def _encode(key: str) -> bytes:
  return key.encode("utf-8", "surrogateescape")
