from __future__ import annotations

import os

import pytest

from estimator_ckpt.bundle import wire
from estimator_ckpt.checkpoint.meta_file import tensorflow_version
from tests import golden


def _meta_graph(version, operations=0):
  info = bytearray()
  wire.write_bytes(info, 2, b"\0" * operations)
  wire.write_bytes(info, 5, version.encode("utf-8", "surrogateescape"))
  out = bytearray()
  wire.write_bytes(out, 1, info)
  wire.write_bytes(out, 2, b"the graph")
  return bytes(out)


@pytest.mark.parametrize("operations", [0, 300_000])
def test_the_graph_beside_a_checkpoint_says(tmp_path, operations):
  (tmp_path / "m.meta").write_bytes(_meta_graph("1.15.5", operations))
  assert tensorflow_version(f"{tmp_path}/m") == "1.15.5"


@pytest.mark.parametrize("name", [n for n in golden.names() if "saved" in n])
def test_a_saved_model_says(name):
  version = golden.manifest(name)["written_by"].split()[1]
  assert tensorflow_version(golden.path(name)) == version


def test_without_a_file_that_says_it_is_unknown():
  assert tensorflow_version(golden.path("tf1.15/adam_dense")) is None


def test_a_file_that_is_damaged_or_something_else_leaves_it_unknown(tmp_path):
  whole = _meta_graph("1.15.5")
  for data in [whole[:cut] for cut in range(len(whole) - 10)] + [os.urandom(99), b"x"]:
    (tmp_path / "m.meta").write_bytes(data)
    assert tensorflow_version(f"{tmp_path}/m") in (None, "1.15.5")
  (tmp_path / "m.meta").write_bytes(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
  assert tensorflow_version(f"{tmp_path}/m") is None
