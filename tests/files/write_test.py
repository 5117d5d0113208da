from __future__ import annotations

import os
import weakref

import pytest

from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.errors import OptionError
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.rewrite_plan import RewritePlan
from estimator_ckpt.files.write import (
  CheckpointReport,
  Counter,
  SourceCheckpoint,
  check_target,
  target_prefix,
  write,
)
from tests import golden, stored


@pytest.mark.parametrize("target", ["", "out/", "out/m.index", "m.data-00000-of-00001"])
def test_what_is_no_prefix(target):
  with pytest.raises(OptionError):
    check_target(target, [])


def test_the_source_by_any_other_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "link").symlink_to(tmp_path)
  for target in ("m", "./m", "link/m", f"{tmp_path}/m", f"{tmp_path}/link/../m"):
    if target.endswith("link/../m"):
      # `..` after a link is the parent of the link's target.
      check_target(target, ["m"])
    else:
      with pytest.raises(OptionError, match="the destination is the source"):
        check_target(target, ["m"])
  check_target("n", ["m"])
  check_target("memory://x/m", ["m"])
  with pytest.raises(OptionError):
    check_target("memory://x/m", ["memory://x/m"])


def test_the_prefix_in_a_directory(tmp_path):
  assert target_prefix(str(tmp_path), "a/model.ckpt-1") == f"{tmp_path}/model.ckpt-1"
  assert target_prefix("new/", "a/model.ckpt-1") == "new/model.ckpt-1"
  assert target_prefix("new", "a/model.ckpt-1") == "new"


def test_new_scalars(tmp_path):
  source = SourceCheckpoint.read(stored.write(tmp_path / "x", {"w": stored.vector(1)}))
  plan = RewritePlan(CheckpointFormat.TF1, {"w": "w"}, scalars={"a": -5, "b": 2**40})
  report = write(source, str(tmp_path / "y"), plan)
  after = stored.stored(tmp_path / "y")
  assert after == {
    "w": stored.vector(1),
    "a": stored.scalar(-5),
    "b": stored.scalar(2**40),
  }
  assert report.placed == ("link", "write")
  assert report.data_bytes == 20


def test_what_only_a_plan_is_made_of_is_let_go():
  source = SourceCheckpoint.read(golden.path("tf2.15/guide_scaffold"))
  graph = weakref.ref(source.graph)
  source.release()
  assert graph() is None
  source.index.remove(golden.OBJECT_GRAPH_KEY)
  assert source.format is CheckpointFormat.TF2


def test_the_counter_adds_up():
  seen = []
  counter = Counter(10, lambda done, total: seen.append((done, total)))
  for count in (3, 0, 7):
    counter.advance(count)
  assert seen == [(3, 10), (10, 10)]
  Counter(1, None).advance(1)


def test_a_report_shows_some_of_many(tmp_path):
  key = "var_list/w0/.ATTRIBUTES/VARIABLE_VALUE"
  plan = RewritePlan(
    CheckpointFormat.DUAL,
    {"k": "k"},
    names={f"a{n}": f"b{n}" for n in range(12)},
    left_out={"w0": "why", key: "why"},
    notes=("something",),
  )
  formats = (CheckpointFormat.TF1,)
  report = CheckpointReport(("s",), "t", formats, plan, 1234, ("link",), ("left",))
  lines = str(report).splitlines()
  assert lines[0] == "s (tf1) -> t (dual)"
  assert lines[1] == "  1 keys, 1,234 bytes of data; data files: 1 by link"
  assert lines[2:4] == ["  renamed (12):", "    a0 -> b0"]
  assert lines[13] == "    and 2 more"
  # A name and its key below `var_list/` share one line.
  assert lines[14:16] == ["  left out (1):", "    w0 (why)"]
  assert lines[16:] == [
    "  note: something",
    "  cleaned up after an interrupted run (1):",
    "    left",
  ]
  assert report.as_dict()["left_out"] == {"w0": "why", key: "why"}


@pytest.mark.parametrize("linked", [".index", ".data-00000-of-00001"])
def test_a_source_of_links_to_the_destinations_files_is_the_destination(
  tmp_path, linked
):
  store = stored.write(tmp_path / "store" / "m", {"a": stored.vector(1)})
  (tmp_path / "links").mkdir()
  for suffix in (".index", ".data-00000-of-00001"):
    if suffix == linked:
      os.symlink(f"../store/m{suffix}", tmp_path / "links" / f"m{suffix}")
    else:
      os.link(store + suffix, tmp_path / "links" / f"m{suffix}")
  with pytest.raises(OptionError, match="the destination is the source"):
    convert(tmp_path / "links" / "m", store, "tf2", overwrite=True)
  # In the other direction, links are replaced, and their targets are kept.
  convert(store, tmp_path / "links" / "m", "tf2", overwrite=True)
  assert stored.stored(store) == {"a": stored.vector(1)}
