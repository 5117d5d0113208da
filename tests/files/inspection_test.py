from __future__ import annotations

import json

import pytest

import estimator_ckpt as eckpt
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.roles import RoleKind
from estimator_ckpt.cli import main
from estimator_ckpt.errors import CheckpointNotFoundError
from estimator_ckpt.files.inspection import inspect
from tests import golden


@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("name", golden.names())
def test_it_has_what_the_command_prints(name, values, capsys):
  path = golden.path(name)
  flags = ["--values"] if values else []
  assert main.run(["inspect", path, "--json", *flags]) == 0
  printed = json.loads(capsys.readouterr().out)
  found = inspect(path, values=values)
  del printed["best"]  # the directory around the checkpoint
  assert found.as_dict() == printed
  assert (found.path, found.step) == (printed["path"], printed["step"])


def test_it_is_a_function_of_the_facade():
  found = eckpt.inspect(golden.path("tf1.15/adam_dense"))
  assert found.format is CheckpointFormat.TF1
  slots = [tensor for tensor in found.tensors if tensor.kind is RoleKind.SLOT]
  assert {tensor.optimizer for tensor in slots} == {"Adam"}
  assert found.size == sum(tensor.size for tensor in found.tensors)


def test_it_is_frozen():
  found = inspect(golden.path("tf1.15/adam_dense"))
  for value, attribute in ((found, "step"), (found.tensors[0], "name")):
    with pytest.raises(AttributeError):
      setattr(value, attribute, None)


def test_printed_it_is_a_table():
  lines = str(inspect(golden.path("tf1.15/adam_dense"), values=True)).splitlines()
  assert ": tf1, step 7, " in lines[0]
  assert lines[2].split() == "name dtype shape bytes kind min max mean NaN".split()
  assert any(line.startswith("global_step") for line in lines)


def test_progress_is_told():
  said = []
  found = inspect(
    golden.path("tf1.15/adam_dense"), values=True, progress=lambda *of: said.append(of)
  )
  assert said[-1] == (found.size, found.size)
  assert [done for done, _ in said] == sorted(done for done, _ in said)


def test_unreadable_values_are_problems(tmp_path):
  prefix = golden.copy("tf1.15/adam_dense", tmp_path / "m")
  (tmp_path / "m" / "model.ckpt-7.data-00000-of-00001").write_bytes(b"\0" * 996)
  found = inspect(prefix, values=True)
  assert found.problems
  assert all(tensor.values is None for tensor in found.tensors)
  assert str(found).splitlines()[-1].startswith("problem: ")
  assert "Problems" in found._repr_html_()


def test_no_checkpoint(tmp_path):
  with pytest.raises(CheckpointNotFoundError):
    inspect(tmp_path)
