from __future__ import annotations

import json

import pytest

from estimator_ckpt.cli import main, terminal
from tests import golden
from tests.bundle_builder import BundleBuilder


@pytest.fixture
def diff(capsys):
  def run(a, b, *flags):
    code = main.run(["diff", str(a), str(b), *flags])
    return code, capsys.readouterr().out

  return run


@pytest.fixture
def pair(tmp_path):
  paths = []
  for number in (1, 2):
    builder = BundleBuilder()
    builder.numbers("same", [1.0])
    builder.numbers("changed", [[1.0, 2.0 * number]])
    builder.numbers(f"only/in_{number}", [1], "int32")
    builder.numbers("shape", [[1.0]] * number)
    paths.append(builder.write(tmp_path / f"m-{number}"))
  return paths


def test_what_differs_is_listed_and_the_code_is_1(diff, pair):
  code, out = diff(*pair)
  assert code == 1
  assert out == (
    f"A  {pair[0]}  (tf1)\n"
    f"B  {pair[1]}  (tf1)\n"
    "\n"
    "difference  name       A               B\n"
    "only in A   only/in_1  int32 [1]       -\n"
    "only in B   only/in_2  -               int32 [1]\n"
    "shape       shape      float32 [1, 1]  float32 [2, 1]\n"
    "\n"
    "3 differences. 3 tensors in both; values not compared (--values).\n"
  )


def test_values_are_a_table_of_their_own(diff, pair):
  code, out = diff(*pair, "--values")
  assert code == 1
  assert (
    "\n\nother values  shape   changed  by up to\n"
    "changed       [1, 2]        1         2\n"
    "\n"
    "4 differences. 3 tensors in both; 16 B read.\n"
  ) in out


def test_a_tolerance_asks_for_values(diff, pair):
  assert "other values" in diff(*pair, "--rtol=0.1")[1]
  assert "other values" not in diff(*pair, "--atol=2")[1]


def test_equal_checkpoints_are_said_to_be_and_the_code_is_0(diff):
  path = golden.path("tf1.15/adam_dense")
  assert diff(path, path)[0] == 0
  code, out = diff(path, path, "--values")
  assert code == 0
  assert out.endswith(
    "Equal in names, types, shapes and checksums of values. 15 tensors in both.\n"
    "The data of 15 tensors was not read; verify compares it with its checksums.\n"
  )


def test_every_line_fits_a_terminal_of_80_columns(diff, monkeypatch):
  monkeypatch.setattr(terminal, "width", lambda stream=None: 80)
  _, out = diff(
    golden.path("tf2.15/keras2_adam"),
    golden.path("tf2.15/keras2_legacy_adam"),
    "--values",
  )
  for line in out.splitlines()[2:]:
    assert len(line) <= 80, line
  assert (
    "key         dense_2/bias/Adam       optimize…variables/11  model/la…/optimizer/m"
    in out
  )


def test_json(diff, pair):
  code, out = diff(*pair, "--values", "--json")
  assert code == 1
  result = json.loads(out)
  assert (result["equal"], result["matched"], result["values_compared"]) == (
    False,
    3,
    True,
  )
  assert [(d["kind"], d["name"]) for d in result["differences"]] == [
    ("values", "changed"),
    ("only_in_a", "only/in_1"),
    ("only_in_b", "only/in_2"),
    ("shape", "shape"),
  ]
  assert result["differences"][0]["changed"] == 1
  assert result["differences"][1]["b"] is None
  assert result["differences"][1]["a"] == {
    "keys": ["only/in_1"],
    "dtype": "int32",
    "shape": [1],
    "bytes": 4,
  }
