"""What a server that plays an object store was asked."""

from __future__ import annotations

from typing import NamedTuple

BUCKET = "bucket"  # that the servers begin with


class Request(NamedTuple):
  """A request that a server was sent.

  Attributes:
    method: of HTTP; `LIST` for one that lists, `COPY` for one that copies, `HEAD` for one
      that asks what the store knows of an object.
    path: the bucket and the object.
    read: bytes of objects in the answer.
    written: bytes of the request's body.
  """

  method: str
  path: str
  read: int
  written: int
