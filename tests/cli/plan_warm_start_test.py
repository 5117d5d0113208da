"""`estimator-ckpt plan-warm-start`, over golden checkpoints."""

from __future__ import annotations

import json
import shlex

import pytest

from estimator_ckpt.cli import main, terminal
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
  assert "starts 4 of 15 variables; 12 tensors of the checkpoint not used." in out
  key = "vars/net.Sdense_1.Skernel/.ATTRIBUTES/VARIABLE_VALUE"
  [line] = [line for line in out.splitlines() if line.startswith("net/dense_1/kernel")]
  assert line.split()[1] == key
  # The text names flags of the command line, not arguments of Python.
  assert "\nNot started, 1: the step; --global_step starts it\n  global_step  " in out
  assert "Not started, 10: optimizer state; --optimizer_state starts it\n" in out


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


def test_the_map_it_offers_works_when_pasted(plan):
  code, out, _ = plan(
    "tf1.15/batch_norm", "tf1.15/adam_dense", "--assignment_map=a/:b/"
  )
  assert code == 1
  offered, _, rest = out.partition("A map that would start more:\n")[2].partition("\n")
  assert rest.startswith("It leaves new: ")
  assert "--assignment_map=net/dense/:net/dense_1/" in offered
  code, out, _ = plan("tf1.15/batch_norm", "tf1.15/adam_dense", *shlex.split(offered))
  assert code == 0
  assert "starts 2 of 15 variables" in out


@pytest.mark.parametrize("columns", [80, 100])
def test_on_a_terminal_it_fits(plan, monkeypatch, columns):
  monkeypatch.setattr(terminal, "width", lambda stream=None: columns)
  flags = ["--assignment_map=nett/:net/", "--assignment_map=net/dense_2/:net/dense_2/"]
  for source in ("tf2.15/converted_names", "tf1.15/digits_old_names"):
    code, out, _ = plan(source, "tf1.15/adam_dense", *flags)
    assert code == 1
    lines = out.partition("A map that would")[0].splitlines()
    assert max(map(len, lines)) <= columns
    assert "".join(out.split()).count("thecheckpointhasnothingbelow'nett/'") == 1
  # The common end of the object keys is cut off, to leave room for the rest.
  _, out, _ = plan("tf2.15/converted_names", "tf1.15/adam_dense")
  assert "vars/net.Sdense_1.Skernel  float32 [5, 4]" in " ".join(out.split(" "))


def test_in_a_pipe_nothing_is_cut(plan):
  _, out, _ = plan("tf1.15/digits_old_names", "tf1.15/digits_old_names")
  assert "…" not in out
  assert "old/classifier/block1/batch_norm/moving_variance" in out


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
    (["--assignment_map=old"], "assignment_map: 'old' is neither a rule"),
    (["--variables=("], "no regular expression"),
  ],
)
def test_flags_that_cannot_be_meant_are_code_2(plan, flags, words):
  code, _, err = plan("tf1.15/adam_dense", "tf1.15/adam_dense", *flags)
  assert code == 2
  assert words in err


@pytest.mark.parametrize("given", [("nowhere", "."), (".", "nowhere")])
def test_a_checkpoint_that_is_not_there_is_code_2(capsys, tmp_path, given):
  found = {".": golden.directory("tf1.15/adam_dense"), "nowhere": str(tmp_path / "no")}
  source, to = (found[name] for name in given)
  assert main.run(["plan-warm-start", source, f"--to={to}"]) == 2
  assert str(tmp_path / "no") in capsys.readouterr().err
