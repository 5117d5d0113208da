"""A server that plays Google Cloud Storage on the loopback interface.

It has what gcsfs and TensorFlow's `gs://` use of the JSON API, counts what it is asked,
and refuses what it is told to. gcsfs is given its address. TensorFlow has the addresses
of Google built in, so it is given the server as a proxy, with a certificate.

As a program it serves until its standard input ends:

    $(python3 third_party/python/environment.py stores) -m tests.stores.gcs_server
"""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import os
import pathlib
import ssl
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.stores.store_request import BUCKET, Request

# How long clients of the tests wait at least, as TensorFlow counts it, and a slow answer.
PATIENCE_SECONDS = 1
_SLOW_SECONDS = 1.5
# Who TensorFlow believes to talk to.
HOSTS = ("www.googleapis.com", "storage.googleapis.com")


class GcsServer:
  """The server.

  Attributes:
    url: where it listens.
    objects: bytes by bucket and object.
    buckets: their names.
    requests: what it was sent, oldest first.
    faults: what goes wrong with requests, by their numbers, counted from 0: a status of
      HTTP, with which one is refused; `cut`, for an answer that ends in its middle; `slow`,
      for one that takes longer than a client waits. What is cut or slow was done.
  """

  def __init__(self, certificate: str | None = None) -> None:
    """Starts to listen on a free port of 127.0.0.1.

    Args:
      certificate: path of a file with a key and a certificate for `HOSTS`, which the
        server needs to be a proxy.
    """
    self.objects: dict[str, bytes] = {}
    self.buckets = {BUCKET}
    self.requests: list[Request] = []
    self.faults: dict[int, int | str] = {}
    self.uploads: dict[str, str] = {}
    self.uploaded: set[str] = set()
    self.generation = 1
    self.lock = threading.Lock()
    self.context = None
    if certificate is not None:
      self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
      self.context.load_cert_chain(certificate)
    handler = type("Handler", (_Handler,), {"store": self})
    self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    self._server.daemon_threads = True
    self.url = f"http://127.0.0.1:{self._server.server_port}"
    self._thread = threading.Thread(target=self._server.serve_forever)
    self._thread.start()

  def close(self) -> None:
    """Stops, and frees the port."""
    self._server.shutdown()
    self._thread.join()
    self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
  """One connection."""

  store: GcsServer
  protocol_version = "HTTP/1.1"
  # An answer goes out in two parts, and the second would wait for the first to arrive.
  disable_nagle_algorithm = True

  def log_message(self, *unused: Any) -> None:
    pass

  def handle(self) -> None:
    """Serves the connection until the client closes it, at whatever moment."""
    with contextlib.suppress(ConnectionError):
      super().handle()

  def do_CONNECT(self) -> None:
    """Goes on as the host that the client asks for."""
    assert self.store.context is not None
    self.send_response(200)
    self.end_headers()
    self.connection = self.store.context.wrap_socket(self.connection, server_side=True)
    self.rfile = self.connection.makefile("rb")
    self.wfile = self.connection.makefile("wb", buffering=0)  # type: ignore[assignment]
    self.close_connection = False

  def do_GET(self) -> None:
    self._serve()

  do_POST = do_PUT = do_DELETE = do_GET

  def _serve(self) -> None:
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    parts = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
    body = self._body()
    if parts[0] == "control":
      return self._control(parts[1], body)
    method, path = _asked(self.command, parts, query)
    with self.store.lock:
      number = len(self.store.requests)
      fault = self.store.faults.get(number)
      if isinstance(fault, int):
        status, data = fault, None
        answer: dict[str, Any] = {"error": {"code": fault, "message": "injected"}}
      else:
        status, answer, data = self._answer(method, path, parts, query, body)
      read = len(data) if data is not None else 0
      self.store.requests.append(Request(method, path, read, len(body)))
    if fault == "slow":
      time.sleep(_SLOW_SECONDS)
    self._send(status, answer, data, is_cut=fault == "cut")

  def _body(self) -> bytes:
    if self.headers.get("Transfer-Encoding") != "chunked":
      return self.rfile.read(int(self.headers.get("Content-Length") or 0))
    chunks = []
    while size := int(self.rfile.readline(), 16):
      chunks.append(self.rfile.read(size))
      self.rfile.readline()
    self.rfile.readline()
    return b"".join(chunks)

  def _send(
    self, status: int, answer: dict[str, Any], data: bytes | None, is_cut: bool = False
  ) -> None:
    location = answer.pop("location", None)
    sent = json.dumps(answer).encode() if data is None else data
    if status == 204:
      sent = b""
    self.send_response(status)
    if location is not None:
      self.send_header("Location", location)
    self.send_header(
      "Content-Type", "application/json" if data is None else "application/octet-stream"
    )
    self.send_header("Content-Length", str(len(sent)))
    if is_cut:
      self.send_header("Connection", "close")
    self.end_headers()
    self.wfile.write(sent[: len(sent) // 2] if is_cut else sent)

  def _control(self, action: str, body: bytes) -> None:
    """What another process asks of the server itself."""
    store = self.store
    if action == "requests":
      with store.lock:
        asked = [list(request) for request in store.requests]
        store.requests.clear()
      return self._send(200, {"requests": asked}, None)
    assert action == "refuse", action
    with store.lock:
      store.faults = {int(k): v for k, v in json.loads(body).items()}
    self._send(200, {}, None)

  def _answer(
    self,
    method: str,
    path: str,
    parts: list[str],
    query: dict[str, str],
    body: bytes,
  ) -> tuple[int, dict[str, Any], bytes | None]:
    store = self.store
    missing = (404, {"error": {"code": 404, "message": f"no {path}"}}, None)
    bucket, _, name = path.partition("/")
    if method == "PUT" and "upload_id" in query:
      upload = query["upload_id"]
      if self.headers.get("Content-Range", "").startswith("bytes */") and not body:
        return (200 if upload in store.uploaded else 308), {}, None
      store.uploaded.add(upload)
      return self._put(store.uploads[upload], body)
    if bucket not in store.buckets:
      return missing
    if method == "LIST":
      return 200, self._list(bucket, query), None
    if not name and method == "HEAD":
      return 200, {"kind": "storage#bucket", "name": bucket, "location": "EU"}, None
    if method == "START":
      upload = str(len(store.uploads))
      store.uploads[upload] = path
      host = self.headers.get("Host", "")
      scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
      where = f"{scheme}://{host}/upload/storage/v1/b/{bucket}/o?upload_id={upload}"
      return 200, {"location": where}, None
    if method == "PUT":
      if self.headers.get("Content-Type", "").startswith("multipart/"):
        name, body = _parts(body)
        path = f"{bucket}/{name}"
      return self._put(path, body)
    if path not in store.objects:
      return missing
    if method == "HEAD":
      return 200, self._about(path), None
    if method == "COPY":
      at = parts.index("rewriteTo" if "rewriteTo" in parts else "copyTo")
      target = f"{parts[at + 2]}/{parts[at + 4]}"
      if parts[at + 2] not in store.buckets:
        return missing
      store.objects[target] = store.objects[path]
      about = self._about(target)
      return 200, {"done": True, "resource": about, **about}, None
    if method == "DELETE":
      del store.objects[path]
      return 204, {}, None
    assert method == "GET", (method, self.path)
    return self._get(store.objects[path])

  def _get(self, data: bytes) -> tuple[int, dict[str, Any], bytes | None]:
    wanted = self.headers.get("Range")
    if wanted is None:
      return 200, {}, data
    begin, _, end = wanted.partition("=")[2].partition("-")
    if int(begin) >= len(data):
      return 416, {"error": {"code": 416, "message": "no such range"}}, None
    return 206, {}, data[int(begin) : int(end) + 1 if end else None]

  def _put(self, path: str, data: bytes) -> tuple[int, dict[str, Any], bytes | None]:
    self.store.objects[path] = data
    self.store.generation += 1
    return 200, self._about(path), None

  def _about(self, path: str) -> dict[str, Any]:
    bucket, _, name = path.partition("/")
    return {
      "kind": "storage#object",
      "name": name,
      "bucket": bucket,
      "size": str(len(self.store.objects[path])),
      "generation": str(self.store.generation),
      "updated": "2024-01-01T00:00:00.000Z",
      "timeCreated": "2024-01-01T00:00:00.000Z",
    }

  def _list(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
    names = sorted(
      path.partition("/")[2]
      for path in self.store.objects
      if path.startswith(f"{bucket}/{prefix}")
    )
    items, prefixes = [], set()
    for name in names:
      rest = name[len(prefix) :]
      if delimiter and delimiter in rest:
        prefixes.add(prefix + rest[: rest.index(delimiter) + 1])
      else:
        items.append(self._about(f"{bucket}/{name}"))
    most = int(query.get("maxResults") or 1000)
    return {"items": items[:most], "prefixes": sorted(prefixes)[:most]}


def _asked(method: str, parts: list[str], query: dict[str, str]) -> tuple[str, str]:
  """What a request is for: a method as in `Request`, or `START` of an upload; its path.

  Objects have the paths `storage/v1/b/BUCKET/o/OBJECT` and, to read, also
  `download/storage/v1/b/BUCKET/o/OBJECT` and `BUCKET/OBJECT`.
  """
  if "b" not in parts:
    return method, "/".join(parts)
  at = parts.index("b")
  bucket, name = (parts[at + 1 :] + [""])[0], (parts[at + 3 :] + [""])[0]
  if parts[0] == "upload":
    name = query.get("name", "")
  path = f"{bucket}/{name}" if name else bucket
  if parts[0] == "upload":
    resumes = query.get("uploadType") == "resumable" and method == "POST"
    return ("START" if resumes else "PUT"), path
  if method == "POST" and len(parts) > at + 4:
    return "COPY", path
  if method == "GET" and not name and len(parts) == at + 3:
    return "LIST", path
  if method == "GET" and query.get("alt") != "media":
    return "HEAD", path
  return method, path


def _parts(body: bytes) -> tuple[str, bytes]:
  """The name and the bytes of an object that arrive in one body.

  The email package would read this, but changes the ends of lines in an object.
  """
  boundary = body.split(None, 1)[0]
  about, content = body.split(boundary)[1:3]
  name = json.loads(about.partition(b"\n\n")[2])["name"]
  return name, content.partition(b"\n\n")[2].removesuffix(b"\n")


def make_certificate(path: pathlib.Path) -> None:
  """Writes a new key, and a certificate for `HOSTS` that it signed itself."""
  key = ec.generate_private_key(ec.SECP256R1())
  name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOSTS[0])])
  now = datetime.datetime.now(datetime.timezone.utc)
  names = x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS])
  certificate = (
    x509.CertificateBuilder()
    .subject_name(name)
    .issuer_name(name)
    .public_key(key.public_key())
    .serial_number(x509.random_serial_number())
    .not_valid_before(now - datetime.timedelta(days=1))
    .not_valid_after(now + datetime.timedelta(days=1))
    .add_extension(names, critical=False)
    .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    .sign(key, hashes.SHA256())
  )
  pem = serialization.Encoding.PEM
  path.write_bytes(
    key.private_bytes(
      pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    + certificate.public_bytes(pem)
  )


@contextlib.contextmanager
def started() -> Iterator[GcsServer]:
  """A server with an empty bucket that gs:// leads to in this process, by gcsfs."""
  import fsspec

  # gcsfs would ask Google, by gRPC, of what kind the bucket is.
  os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
  server = GcsServer()
  before = dict(fsspec.config.conf)
  fsspec.config.conf["gcs"] = fsspec.config.conf["gs"] = {
    "endpoint_url": server.url,
    "token": "anon",
    "project": "testing",
    "requests_timeout": PATIENCE_SECONDS,
  }
  try:
    yield server
  finally:
    fsspec.config.conf.clear()
    fsspec.config.conf.update(before)
    server.close()


def _serve() -> None:
  with tempfile.TemporaryDirectory() as directory:
    certificate = pathlib.Path(directory) / "certificate.pem"
    make_certificate(certificate)
    server = GcsServer(str(certificate))
    try:
      print(
        json.dumps({"url": server.url, "certificate": str(certificate)}), flush=True
      )
      sys.stdin.read()
    finally:
      server.close()


if __name__ == "__main__":
  _serve()
