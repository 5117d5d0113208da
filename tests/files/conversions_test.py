"""Many conversions at once: all of them, whatever fails, and none twice."""

import json
import os
import threading

import pytest

from estimator_ckpt import errors
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import model_dir, state_file
from estimator_ckpt.checkpoint.formats import detect_format
from estimator_ckpt.checkpoint.reader import open_checkpoint
from estimator_ckpt.cli import main
from estimator_ckpt.files import conversions, selection, several
from tests import golden


@pytest.fixture(name="tree")
def _tree(tmp_path):
  for name, place in (
    ("tf1.15/adam_dense", "runs/a/model_dir"),
    ("tf1.15/momentum_partitioned", "runs/b/c/model_dir"),
    ("tf2.15/variable_list", "runs/d"),
  ):
    os.makedirs(os.path.dirname(tmp_path / place), exist_ok=True)
    golden.copy(name, tmp_path / place)
  return tmp_path


def _results(capsys):
  said = json.loads(capsys.readouterr().out)
  return {each["source"]: each["result"] for each in said["conversions"]}, said


def _flip_bit(path):
  data = bytearray(path.read_bytes())
  data[20] ^= 1
  path.write_bytes(data)


def _values(prefix):
  with open_checkpoint(prefix) as reader:
    return {key: reader[key].tolist() for key in reader if "OBJECT_GRAPH" not in key}


def test_every_model_dir_of_a_tree_is_converted_once(tree, capsys):
  command = ["convert", f"{tree}/runs", f"{tree}/out", "--to=dual", "--recursive"]
  assert main.run([*command, "--json"]) == 0
  results, said = _results(capsys)
  assert list(results.values()) == ["converted"] * 3
  assert said["counts"] == {"converted": 3}
  for place in ("a/model_dir", "b/c/model_dir", "d"):
    before = model_dir.ModelDir.read(f"{tree}/runs/{place}")
    after = model_dir.ModelDir.read(f"{tree}/out/{place}")
    assert len(before.checkpoints) == len(after.checkpoints) > 0
    for prefix in after.checkpoints:
      assert detect_format(prefix).value == "dual"
      old = _values(prefix.replace("/out/", "/runs/"))
      assert old.items() <= _values(prefix).items()
  times = {p: os.stat(p).st_mtime_ns for p in map(str, (tree / "out").rglob("*"))}
  assert main.run(command) == 0
  out = capsys.readouterr().out
  assert out.splitlines()[-1] == "3 done before."
  assert times == {
    p: os.stat(p).st_mtime_ns for p in map(str, (tree / "out").rglob("*"))
  }


@pytest.mark.parametrize("to", ["tf1", "tf2", "dual"])
@pytest.mark.parametrize("version", ["tf1.15", "tf2.15"])
def test_what_was_done_is_recognised_whatever_a_checkpoint_holds(
  version, to, testdata, tmp_path
):
  """Partitioned half floats, whose parts are joined, tables, shards, files of V1."""
  selected = selection.select(str(testdata / version), recursive=True)
  first = conversions.convert_several(selected, tmp_path, to)
  again = conversions.convert_several(selected, tmp_path, to)
  for outcome, second in zip(first, again):
    # What cannot be converted has the same reason again.
    assert bool(outcome.error) == bool(second.error), second.error
    assert second.error or second.result.report is None
  done = sum(outcome.error is None for outcome in first)
  assert done >= (20 if version == "tf1.15" else 5)


def test_one_that_fails_does_not_stop_the_others(tree, capsys, monkeypatch):
  index = next((tree / "runs" / "d").glob("*.index"))
  _flip_bit(index)
  command = ["convert", f"{tree}/runs/**", f"{tree}/out", "--to=tf2"]
  assert main.run(command) == 2
  out = capsys.readouterr().out
  assert "2 converted; 1 failed." in out
  assert str(index) in out and "damaged" in out
  assert not (tree / "out" / "d").exists()
  # Mended, it is converted, and the others are skipped.
  _flip_bit(index)
  assert main.run([*command, "--json"]) == 0
  results, _ = _results(capsys)
  assert sorted(results.values()) == ["converted", "done before", "done before"]


def test_a_table_fits_80_columns(tree, capsys, monkeypatch):
  monkeypatch.setattr("estimator_ckpt.cli.terminal.width", lambda stream=None: 80)
  long = tree / "runs" / ("x" * 100)
  golden.copy("tf1.15/adam_dense", long)
  assert main.run(["convert", f"{tree}/runs/**", f"{tree}/out", "--to=dual"]) == 0
  assert all(len(line) <= 80 for line in capsys.readouterr().out.splitlines())


def test_what_is_there_and_is_not_the_conversion_is_no_success(tree, capsys):
  command = [
    "convert",
    f"{tree}/runs/*/model_dir",
    f"{tree}/out",
    "--to=dual",
    "--json",
  ]
  assert main.run(command) == 0
  capsys.readouterr()
  # Another format or layout, or other values, are not what was asked for.
  for other in (["--to=tf1"], ["--to=dual", "--layout=flat"]):
    assert main.run([*command[:3], *other, "--json"]) == 2
    results, said = _results(capsys)
    assert list(results.values()) == ["failed"]
  assert "--overwrite" in said["conversions"][0]["error"]
  assert main.run([*command, "--overwrite"]) == 0
  assert list(_results(capsys)[0].values()) == ["converted"]
  prefix = model_dir.ModelDir.read(f"{tree}/out/a/model_dir").checkpoints[-1]
  index = Index.read(prefix)
  key = index.keys()[-1]
  index.put(key, index.entry(key)._replace(crc32c=1))
  index.write(prefix)
  assert main.run(command) == 2


def test_a_conversion_without_a_state_file_is_not_done(tree, capsys):
  command = ["convert", f"{tree}/runs/a/*", f"{tree}/out", "--to=dual", "--json"]
  assert main.run(command) == 0
  os.remove(tree / "out" / "model_dir" / state_file.STATE_FILE)
  capsys.readouterr()
  assert main.run(command) == 2


def test_a_dry_run_writes_nothing(tree, capsys):
  command = ["convert", f"{tree}/runs/**", f"{tree}/out", "--to=dual", "--dry_run"]
  assert main.run(command) == 0
  assert "3 would be converted." in capsys.readouterr().out
  assert not (tree / "out").exists()


def test_what_is_in_the_destination_is_not_converted_again(tree, capsys):
  command = ["convert", f"{tree}/runs", f"{tree}/runs/out", "--to=dual", "--recursive"]
  assert main.run(command) == 0
  assert main.run(command) == 0
  assert capsys.readouterr().out.splitlines()[-1] == "3 done before."
  assert not (tree / "runs" / "out" / "out").exists()
  command = ["convert", f"{tree}/runs", f"{tree}/runs", "--to=dual", "--recursive"]
  assert main.run(command) == 2
  assert "is in the destination" in capsys.readouterr().err


def test_nothing_that_matches_is_an_error(tree, capsys):
  assert main.run(["convert", f"{tree}/x*", f"{tree}/out", "--to=dual"]) == 2
  assert "no model_dir and no checkpoint matches the pattern" in capsys.readouterr().err


def test_several_are_worked_on_at_once_and_progress_is_of_all():
  barrier = threading.Barrier(several.AT_ONCE, timeout=30)
  told = []

  def work(item, progress):
    progress(0, 10)
    barrier.wait()
    progress(10, 10)
    if item == 2:
      raise errors.CheckpointNotFoundError("gone")
    return item * item

  items = list(range(2 * several.AT_ONCE))
  outcomes = several.work_on(items, work, lambda *numbers: told.append(numbers))
  assert [outcome.item for outcome in outcomes] == items
  assert [o.result for o in outcomes] == [None if i == 2 else i * i for i in items]
  assert [str(o.error) for o in outcomes if o.error is not None] == ["gone"]
  assert told[-1] == (80, 80)
  assert told == sorted(told)


def test_what_is_no_error_of_a_checkpoint_is_raised():
  def work(item, progress):
    raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError):
    several.work_on([1, 2, 3], work)


def test_the_function_takes_options_of_convert(tree):
  selected = conversions.Selected(f"{tree}/runs/a/model_dir", "a")
  (outcome,) = conversions.convert_several(
    [selected], f"{tree}/out", "tf2", layout="flat"
  )
  assert outcome.error is None
  (report,) = outcome.result.report.checkpoints
  assert "var_list/global_step/.ATTRIBUTES/VARIABLE_VALUE" in report.plan.keys
