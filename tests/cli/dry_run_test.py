"""--dry_run says what would be written, and writes nothing."""

from __future__ import annotations

import json
import os
import pathlib
import shutil

import pytest

from estimator_ckpt.cli import main
from tests import golden

_ADAM = golden.path("tf1.15/adam_dense")


@pytest.fixture
def model_dir(tmp_path):
  """A model_dir on the file system of the destinations."""
  return golden.copy("tf1.15/adam_dense", tmp_path / "model_dir").rpartition("/")[0]


@pytest.fixture
def source(model_dir):
  return f"{model_dir}/{os.path.basename(_ADAM)}"


def _files(directory: pathlib.Path) -> dict[str, os.stat_result]:
  return {
    str(path.relative_to(directory)): path.stat()
    for path in directory.rglob("*")
    if path.is_file()
  }


def _state(directory: pathlib.Path) -> dict[str, tuple[int, int, int]]:
  """The state that a write would change; reading changes only the access time."""
  return {
    path: (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    for path, stat in _files(directory).items()
  }


def _run(capsys, *argv: str) -> dict:
  assert main.run([*argv, "--json"]) == 0
  return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
  "argv",
  [
    ("convert", "--to=dual"),
    ("convert", "--to=tf2", "--data=copy"),
    ("rename", "--name_map=net/:model/"),
    ("strip", "--optimizer_state"),
    ("strip", "--optimizer_state", "--compact"),
    ("strip", "--variables=net/dense_1/.*", "--compact"),
    ("convert", "--to=tf2", "--optimizer=adam", "--keras=2-legacy"),
  ],
  ids=lambda argv: " ".join(argv),
)
@pytest.mark.parametrize("whole", [False, True], ids=["checkpoint", "directory"])
def test_it_counts_the_bytes_that_the_run_links_copies_and_writes(
  argv, whole, model_dir, source, tmp_path, capsys
):
  command, *flags = argv
  line = [command, model_dir if whole else source, str(tmp_path / "out" / "m"), *flags]
  before, known = _state(tmp_path), _files(tmp_path).values()
  would = _run(capsys, *line, "--dry_run")
  assert _state(tmp_path) == before
  assert not (tmp_path / "out").exists()

  done = _run(capsys, *line)
  known = {stat.st_ino for stat in known}
  new = {p: s for p, s in _files(tmp_path / "out").items() if s.st_nlink == 1}
  linked = {p: s for p, s in _files(tmp_path / "out").items() if s.st_ino in known}
  assert would["would"]["link"] == sum(s.st_size for s in linked.values())
  written = {p: s for p, s in new.items() if not p.endswith("/checkpoint")}
  assert would["would"]["copy"] + would["would"]["write"] == sum(
    s.st_size for s in written.values()
  )
  # In everything else, the dry run planned what the real run did.
  for planned, checkpoint in zip(would["checkpoints"], done["checkpoints"]):
    planned.pop("would")
    assert planned == checkpoint


@pytest.mark.parametrize("name", ["adam_partitioned", "many_dtypes", "sharded"])
def test_a_checkpoint_of_the_format_v1_would_be_written_anew(name, tmp_path, capsys):
  old = golden.path(f"tf1.15/v1/{name}")
  line = ["convert", old, str(tmp_path / "out" / "m"), "--to=dual"]
  would = _run(capsys, *line, "--dry_run")
  assert not (tmp_path / "out").exists()
  _run(capsys, *line)
  written = sum(stat.st_size for stat in _files(tmp_path / "out").values())
  assert would["would"]["write"] == written
  assert would["would"]["link"] == would["would"]["copy"] == 0


def test_merging_is_rehearsed_too(source, tmp_path, capsys):
  other = golden.copy("tf1.15/tables", tmp_path / "other")
  line = ["merge", source, other, str(tmp_path / "out" / "m")]
  would = _run(capsys, *line, "--dry_run")
  assert not (tmp_path / "out").exists()
  done = _run(capsys, *line)
  new = _files(tmp_path / "out")
  linked = sum(s.st_size for s in new.values() if s.st_nlink > 1)
  assert (would["would"]["link"], would["would"]["copy"]) == (linked, 0)
  assert would["would"]["write"] == sum(
    s.st_size for s in new.values() if s.st_nlink == 1
  )
  assert would["checkpoints"][0]["data_bytes"] == done["checkpoints"][0]["data_bytes"]


def test_the_text_says_that_nothing_was_written(source, tmp_path, capsys):
  argv = ["convert", source, "-o", str(tmp_path / "m"), "--to=dual", "--dry-run"]
  assert main.run(argv) == 0
  last = capsys.readouterr().out.splitlines()[-1]
  assert last.startswith(
    "Nothing was written. In all this would link 484 bytes, copy 0"
  )


def test_what_could_not_be_done_is_refused_as_in_the_run(source, tmp_path, capsys):
  assert main.run(["convert", source, str(tmp_path / "m"), "--to=dual"]) == 0
  before = _state(tmp_path)
  line = ["convert", source, str(tmp_path / "m"), "--to=tf2", "--dry_run"]
  assert main.run(line) == 2
  assert "there is a checkpoint already" in capsys.readouterr().err
  assert main.run([*line, "--overwrite"]) == 0
  assert main.run(["rename", source, "x", "--name_map=nat/:a/", "--dry_run"]) == 2
  assert _state(tmp_path) == before


@pytest.mark.skipif(
  not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev,
  reason="needs two file systems",
)
def test_between_file_systems_bytes_are_copied_and_a_link_is_refused(source, capsys):
  target = f"/dev/shm/eckpt-dry-run-{os.getpid()}/m"
  line = ["convert", source, target, "--to=dual"]
  try:
    would = _run(capsys, *line, "--dry_run")
    assert (would["would"]["link"], would["would"]["copy"]) == (0, 484)
    assert main.run([*line, "--dry_run", "--data=link"]) == 2
    assert "cannot link" in capsys.readouterr().err
    assert not os.path.exists(os.path.dirname(target))
    done = _run(capsys, *line)
    expected = would["checkpoints"][0]["data_files"]
    assert done["checkpoints"][0]["data_files"] in (
      expected,
      ["reflink", *expected[1:]],
    )
  finally:
    shutil.rmtree(os.path.dirname(target), ignore_errors=True)


def test_a_copy_by_the_object_store_is_told_from_one_through_this_machine(
  source, capsys
):
  pytest.importorskip("fsspec")
  store = f"memory://dry_run_test_{os.getpid()}"
  upload = _run(capsys, "convert", source, f"{store}/a/m", "--to=dual", "--dry_run")
  assert (upload["would"]["copy"], upload["would"]["server copy"]) == (484, 0)
  assert main.run(["convert", source, f"{store}/a/m", "--to=dual", "-q"]) == 0
  line = ["rename", f"{store}/a/m", f"{store}/b/m", "--name_map=net/:model/"]
  would = _run(capsys, *line, "--dry_run")
  done = _run(capsys, *line)
  placed = would["checkpoints"][0]["data_files"]
  assert placed == done["checkpoints"][0]["data_files"]
  assert "server copy" in placed
  assert would["would"]["copy"] == 0
