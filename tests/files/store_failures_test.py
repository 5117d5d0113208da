"""An object store that refuses: one error, no wrong value, and the next run cleans up."""

from __future__ import annotations

import pytest

pytest.importorskip("fsspec")

import fsspec

from estimator_ckpt import errors
from estimator_ckpt.bundle import files
from estimator_ckpt.checkpoint.verify import verify
from estimator_ckpt.files.convert import convert
from tests import stored
from tests.object_store import MODEL_DIR, SCHEME, ObjectStore, make_model_dir

_OUT = f"{SCHEME}://bucket/out"
_STEPS = (10, 20)
# What clients raise: fsspec's own, and what a back end has besides.
_FAILURES = {
  "403": ("fault", lambda: PermissionError("Forbidden")),
  "500": ("fault", lambda: RuntimeError("500 Internal Server Error")),
  # The store does what it is asked for, and its answer does not come in time.
  "lost": ("lost", fsspec.exceptions.FSTimeoutError),
}


@pytest.fixture(autouse=True)
def model_dir():
  make_model_dir(*_STEPS)


def _convert_within():
  convert(MODEL_DIR, _OUT, "dual")


def _convert_with_a_copy():
  convert(MODEL_DIR, _OUT, "dual", data="copy")


_CONVERSIONS = {"within": _convert_within, "with a copy": _convert_with_a_copy}


def _values(directory):
  return {
    path: stored.stored(path[: -len(".index")])
    for path in files.glob_prefix(f"{directory}/")
    if path.endswith(".index")
  }


def _failing_at(number, make_error):
  """Lets one request fail; those after it are answered."""
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


@pytest.mark.parametrize("what", _FAILURES)
@pytest.mark.parametrize("how", _CONVERSIONS)
def test_a_conversion_one_request_of_which_fails(how, what, monkeypatch):
  run = _CONVERSIONS[how]
  hook, make_error = _FAILURES[what]
  before = dict(ObjectStore.objects)
  count = _count(run)
  run()
  wanted = dict(ObjectStore.objects)
  right = _values(MODEL_DIR)
  failed = 0
  for number in range(count):
    ObjectStore.objects.clear()
    ObjectStore.objects.update(before)
    with monkeypatch.context() as patch:
      patch.setattr(ObjectStore, hook, _failing_at(number, make_error))
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
      assert right[path.replace(_OUT, MODEL_DIR)].items() <= tensors.items(), number
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
  # Half of the requests change nothing, and their answers are not lost.
  assert failed > (count // 2 if hook == "fault" else 5)


def _has_checksum(request):
  is_state = request.path.endswith("/checkpoint")
  return request.kind == "GET" and request.end > request.begin and not is_state


@pytest.mark.parametrize("how", ["with a copy", "verify"])
def test_a_body_that_is_cut_is_no_value(how, monkeypatch):
  run = _convert_with_a_copy if how == "with a copy" else lambda: verify(MODEL_DIR)
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
