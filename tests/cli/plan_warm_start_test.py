"""`estimator-ckpt plan-warm-start`, over golden checkpoints."""

from __future__ import annotations

import json

import pytest

from estimator_ckpt.cli import main
from tests import golden


@pytest.fixture
def plan(capsys):
  def run(source, to, *flags):
    code = main.run(
      [
        "plan-warm-start",
        golden.directory(source),
        f"--to={golden.directory(to)}",
        *flags,
      ]
    )
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  return run


def test_what_is_started_and_what_is_left(plan):
  code, out, _ = plan("tf2.15/converted_names", "tf1.15/adam_dense")
  assert code == 0
  assert "starts 4 of 15 variables; 12 tensors of the checkpoint are not used." in out
  key = "vars/net.Sdense_1.Skernel/.ATTRIBUTES/VARIABLE_VALUE"
  [line] = [line for line in out.splitlines() if line.startswith("net/dense_1/kernel")]
  assert line.split()[1] == key
  assert "the step; global_step=True starts it" in out


def test_everything_on_request(plan):
  code, out, _ = plan(
    "tf1.15/adam_dense", "tf1.15/adam_dense", "--optimizer-state", "--global-step"
  )
  assert code == 0
  assert "starts 15 of 15 variables" in out


def test_what_does_not_fit_is_code_1_with_a_map_that_would(plan):
  code, out, _ = plan(
    "tf1.15/adam_dense", "tf2.15/converted_names", "--assignment_map=nett/:net/"
  )
  assert code == 1
  assert "the checkpoint has nothing below 'nett/' (nearest: 'net/')" in out


def test_json(plan):
  code, out, _ = plan(
    "tf1.15/batch_norm",
    "tf1.15/batch_norm",
    "--json",
    "--variables=net/logits/",
    "--moving_averages=use",
  )
  assert code == 0
  started = {item["variable"]: item for item in json.loads(out)["started"]}
  kernel = started["net/logits/kernel"]
  assert kernel["from"] == "net/logits/kernel/ExponentialMovingAverage"
  assert (kernel["dtype"], kernel["shape"]) == ("float32", [4, 2])
  assert "net/dense/kernel" not in started


@pytest.mark.parametrize(
  "flags, words",
  [
    (["--only_mapped"], "there is none"),
    (["--assignment_map=old"], "neither a rule"),
    (["--variables=("], "no regular expression"),
  ],
)
def test_flags_that_cannot_be_meant_are_code_2(plan, flags, words):
  code, _, err = plan("tf1.15/adam_dense", "tf1.15/adam_dense", *flags)
  assert code == 2
  assert words in err
