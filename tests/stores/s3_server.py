"""A server that plays S3 on the loopback interface, and counts what it is asked."""

from __future__ import annotations

import contextlib
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

from moto.moto_server.werkzeug_app import (
  DomainDispatcherApplication,
  create_backend_app,
)
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.stores.store_request import BUCKET, Request


class S3Server:
  """The server.

  Attributes:
    url: where it listens.
    requests: what it was sent, oldest first.
  """

  def __init__(self) -> None:
    """Starts to listen on a free port of 127.0.0.1."""
    self.requests: list[Request] = []
    self._application = DomainDispatcherApplication(create_backend_app)
    self._server = make_server(
      "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Silent
    )
    self.url = f"http://127.0.0.1:{self._server.server_port}"
    self._thread = threading.Thread(target=self._server.serve_forever)
    self._thread.start()

  def _answer(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = b"".join(self._application(environ, start_response))
    method = environ["REQUEST_METHOD"]
    if method == "GET" and "list-type" in environ["QUERY_STRING"]:
      method = "LIST"
    elif "HTTP_X_AMZ_COPY_SOURCE" in environ:
      method = "COPY"
    self.requests.append(
      Request(
        method,
        environ["PATH_INFO"].strip("/"),
        len(body) if method == "GET" else 0,
        int(environ.get("CONTENT_LENGTH") or 0),
      )
    )
    return [body]

  @property
  def buckets(self) -> set[str]:
    """The names of the buckets."""
    import fsspec

    return set(fsspec.filesystem("s3").ls("", detail=False, refresh=True))

  def close(self) -> None:
    """Stops, and frees the port."""
    self._server.shutdown()
    self._thread.join()
    self._server.server_close()


class _Silent(WSGIRequestHandler):
  def log(self, type: str, message: str, *args: Any) -> None:
    pass


@contextlib.contextmanager
def started() -> Iterator[S3Server]:
  """A server with an empty bucket that s3:// leads to in this process."""
  import fsspec

  server = S3Server()
  before = dict(fsspec.config.conf)
  fsspec.config.conf["s3"] = {
    "key": "testing",
    "secret": "testing",
    "endpoint_url": server.url,
    "client_kwargs": {"region_name": "eu-west-1"},
  }
  try:
    # What moto has belongs to the process, not to the server.
    reset = urllib.request.Request(f"{server.url}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()
    fsspec.filesystem("s3").mkdir(BUCKET)
    server.requests.clear()
    yield server
  finally:
    fsspec.config.conf.clear()
    fsspec.config.conf.update(before)
    server.close()
