"""An object store that refuses: one error, no wrong value, and the next run cleans up."""

from __future__ import annotations

import pathlib

import pytest

pytest.importorskip("fsspec")

from estimator_ckpt import errors
from estimator_ckpt.bundle import files
from estimator_ckpt.checkpoint.state_file import CheckpointState, write_state
from estimator_ckpt.checkpoint.verify import verify
from estimator_ckpt.files.convert import convert
from tests import golden, stored
from tests.object_store import SCHEME, ObjectStore

_MODEL_DIR = f"{SCHEME}://bucket/model_dir"
_OUT = f"{SCHEME}://bucket/out"
_GOLDEN = "tf1.15/multi_shard"
_STEPS = (10, 20)
# What clients raise: fsspec's own, and what a back end has besides.
_REFUSALS = {
  "403": lambda: PermissionError("Forbidden"),
  "500": lambda: RuntimeError("500 Internal Server Error"),
}


@pytest.fixture(autouse=True)
def model_dir(monkeypatch):
  ObjectStore.empty("bucket")
  source = pathlib.Path(golden.path(_GOLDEN))
  for step in _STEPS:
    for path in source.parent.glob(f"{source.name}.*"):
      name = path.name.replace(source.name, f"model.ckpt-{step}")
      files.write_atomic(f"{_MODEL_DIR}/{name}", path.read_bytes())
  prefixes = tuple(f"{_MODEL_DIR}/model.ckpt-{step}" for step in _STEPS)
  write_state(_MODEL_DIR, CheckpointState(prefixes[-1], prefixes))
  ObjectStore.requests.clear()


def _convert_within():
  convert(_MODEL_DIR, _OUT, "dual")


def _convert_with_a_copy():
  convert(_MODEL_DIR, _OUT, "dual", data="copy")


_CONVERSIONS = {"within": _convert_within, "with a copy": _convert_with_a_copy}


def _values(directory):
  return {
    path: stored.stored(path[: -len(".index")])
    for path in files.glob_prefix(f"{directory}/")
    if path.endswith(".index")
  }


def _failing_at(number, make_error):
  """Refuses one request; those after it are answered."""
  seen = iter(range(number + 1))

  def fault(request):
    if next(seen, None) == number:
      raise make_error()

  return staticmethod(fault)


def _count(run):
  run()
  count = len(ObjectStore.requests)
  for path in [p for p in ObjectStore.objects if p.startswith("bucket/out/")]:
    del ObjectStore.objects[path]
  return count


@pytest.mark.parametrize("what", _REFUSALS)
@pytest.mark.parametrize("how", _CONVERSIONS)
def test_a_conversion_that_is_refused_one_request(how, what, monkeypatch):
  run = _CONVERSIONS[how]
  before = dict(ObjectStore.objects)
  count = _count(run)
  run()
  wanted = dict(ObjectStore.objects)
  right = _values(_MODEL_DIR)
  failed = 0
  for number in range(count):
    ObjectStore.objects.clear()
    ObjectStore.objects.update(before)
    with monkeypatch.context() as patch:
      patch.setattr(ObjectStore, "fault", _failing_at(number, _REFUSALS[what]))
      try:
        run()
      except errors.CheckpointError:
        failed += 1
        finished = False
      else:
        finished = True
    # The source is as it was, and what can be read of the result is right.
    assert before.items() <= ObjectStore.objects.items(), number
    for path, tensors in _values(_OUT).items():
      assert right[path.replace(_OUT, _MODEL_DIR)].items() <= tensors.items(), number
    if not finished:
      run()
    found = verify(_OUT)
    assert found.ok and len(found.checkpoints) == len(_STEPS), number
    if finished:
      # It did what it was asked for, and could not remove a file that is no use.
      assert {finding.code for finding in found.findings} <= {"leftover"}, number
      assert wanted.keys() <= ObjectStore.objects.keys(), number
    else:
      assert found.findings == () and wanted.keys() == ObjectStore.objects.keys(), (
        number
      )
  assert failed > count // 2


def _has_checksum(request):
  is_state = request.path.endswith("/checkpoint")
  return request.kind == "GET" and request.end > request.begin and not is_state


@pytest.mark.parametrize("how", ["with a copy", "verify"])
def test_a_body_that_is_cut_is_no_value(how, monkeypatch):
  run = _convert_with_a_copy if how == "with a copy" else lambda: verify(_MODEL_DIR)
  run()
  # A state file has no checksum, and half of it may say something. Clients of stores
  # compare the length of what they got.
  gets = [request for request in ObjectStore.requests if _has_checksum(request)]
  assert gets
  for number in range(len(gets)):
    for path in [p for p in ObjectStore.objects if p.startswith("bucket/out/")]:
      del ObjectStore.objects[path]
    seen = []

    def cut(request, seen=seen, number=number):
      seen += [request] if _has_checksum(request) else []
      return _has_checksum(request) and len(seen) == number + 1

    with monkeypatch.context() as patch:
      patch.setattr(ObjectStore, "cut", staticmethod(cut))
      try:
        report = run()
      except errors.CheckpointError:
        continue
    assert report is not None and not report.ok, gets[number]
