"""This release reads what earlier releases wrote, with the same meaning."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys

import numpy as np
import pytest

import estimator_ckpt as eckpt
from tests import golden

_PROMISED = golden.TESTDATA / "promised"
_RELEASES = sorted(path.name for path in _PROMISED.iterdir())
_FORMATS = {
  "tf1": "tf1",
  "tf2": "tf2",
  "dual": "dual",
  "separate": "tf1",
  "separate/tf2": "tf2",
}


def _load_generator():
  path = golden.TESTDATA / "generate_promised.py"
  spec = importlib.util.spec_from_file_location("generate_promised", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


generate = _load_generator()
job = sys.modules["promised_job"]


@pytest.fixture(params=_RELEASES)
def folder(request, tmp_path, monkeypatch):
  """A copy of a release's files, as the current directory."""
  copied = shutil.copytree(_PROMISED / request.param, tmp_path / "release")
  monkeypatch.chdir(copied)
  return copied


@pytest.fixture
def values(folder):
  with np.load(folder / "values.npz") as arrays:
    return dict(arrays)


def test_there_is_what_the_first_release_wrote():
  assert "0.1" in _RELEASES


@pytest.mark.parametrize("name", _FORMATS)
def test_a_checkpoint_is_read_by_name(name, folder, values):
  assert eckpt.detect_format(name).value == _FORMATS[name]
  assert not eckpt.verify(name).findings
  with eckpt.open_checkpoint(name) as reader:
    assert set(values) <= set(reader.names)
    for variable, value in values.items():
      np.testing.assert_array_equal(reader[reader.names[variable]], value, variable)


@pytest.mark.parametrize("now", job.JOBS)
@pytest.mark.parametrize("then", job.JOBS)
def test_a_job_resumes_and_goes_on(then, now, folder, values):
  resumed = job.train(then, steps=0, **job.JOBS[now])
  assert set(resumed) == set(values)
  for variable, value in values.items():
    np.testing.assert_array_equal(resumed[variable], value, variable)
  assert job.train(then, steps=1, **job.JOBS[now])["global_step"] == 8


def test_a_job_starts_from_it(folder, values):
  started = job.train("new", steps=0, **job.warm_start("tf2"))
  for variable in ("net/embedding", "net/out/kernel"):
    np.testing.assert_array_equal(started[variable], values[variable])


def missing(then: object, now: object, where: str = "") -> list[str]:
  """Parts of a value that another value lacks, or has with another type."""
  if isinstance(then, dict) and isinstance(now, dict):
    return [
      line
      for key, value in then.items()
      for line in (
        missing(value, now[key], f"{where}.{key}") if key in now else [f"{where}.{key}"]
      )
    ]
  if isinstance(then, list) and isinstance(now, list):
    if len(now) < len(then):
      return [f"{where}: {len(now)} items, of {len(then)}"]
    pairs = enumerate(zip(then, now))
    return [m for n, (a, b) in pairs for m in missing(a, b, f"{where}[{n}]")]
  is_same = then is None or isinstance(now, type(then))
  return [] if is_same else [f"{where}: {now!r}, which was {then!r}"]


def test_what_is_missing_is_found():
  then = {"a": [{"b": 1}], "c": "x", "d": None}
  assert missing(then, {"a": [{"b": 2, "e": 3}], "c": "y", "d": 1, "f": 2}) == []
  now = {"a": [{}], "c": 1, "d": None}
  assert missing(then, now) == [".a[0].b", ".c: 1, which was 'x'"]
  assert missing(then, {"a": [], "c": "", "d": None}) == [".a: 0 items, of 1"]


def test_commands_print_the_fields_that_they_printed(folder, tmp_path):
  new = tmp_path / "new"
  new.mkdir()
  files = sorted((folder / "json").iterdir())
  assert {path.stem for path in files} == set(generate.COMMANDS)
  for name, command in generate.COMMANDS.items():
    then = json.loads((folder / "json" / f"{name}.json").read_text())
    assert missing(then, generate.run(command, os.fspath(new))) == [], name


def test_warm_start_json_has_the_fields_that_it_had(folder):
  job.train("started", steps=0, **job.warm_start("dual"))
  then = json.loads((folder / "warm_start.json").read_text())
  now = json.loads((folder / "started" / "warm_start.json").read_text())
  assert missing(then, now) == []
