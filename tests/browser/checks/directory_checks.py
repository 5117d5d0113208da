"""A model_dir as a page: its time line, its table, and norms."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

from estimator_ckpt.checkpoint import best_file
from estimator_ckpt.checkpoint.best_file import BestCheckpoint, BestCheckpoints
from estimator_ckpt.checkpoint.state_file import CheckpointState, write_state
from tests.browser import chromium
from tests.bundle_builder import BundleBuilder

_STEPS = (100, 200, 300, 400)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
  """Four checkpoints, one of them damaged; a copy of the best lies beside them."""
  directory = tmp_path_factory.mktemp("run") / "model_dir"
  prefixes = []
  for number, step in enumerate(_STEPS):
    builder = BundleBuilder()
    builder.numbers("net/w", np.arange(6.0) * (number + 1) ** 2)
    builder.numbers("net/b", np.ones(3))
    builder.numbers("global_step", step, "int64")
    prefixes.append(builder.write(directory / f"model.ckpt-{step}"))
  gone = f"{directory}/model.ckpt-50"
  write_state(str(directory), CheckpointState(prefixes[2], (gone, *prefixes)))
  with open(f"{prefixes[3]}.index", "r+b") as file:
    file.truncate(30)
  (directory / "model.ckpt-500.data-00000-of-00001").write_bytes(b"")
  os.mkdir(directory / "best")
  best_file.write_best(
    f"{directory}/best",
    BestCheckpoints(
      "loss", "min", 1, (BestCheckpoint("model.ckpt-200", 200, {"loss": 0.25}),)
    ),
  )
  return directory


@pytest.fixture(scope="session")
def page_path(make_page, model_dir):
  return make_page(model_dir, "--values")


def rows(page, label: str) -> list[str]:
  found = page.get_by_role("treegrid", name=label).locator(".rows .row")
  texts = [re.sub(r"\s+", " ", text) for text in found.all_inner_texts()]
  # The scope and the last part of a name are separate boxes.
  return [text.replace("/ ", "/") for text in texts]


def test_the_table_has_every_checkpoint(open_page, page_path):
  page = open_page(page_path)
  assert page.get_by_role("heading", level=1).inner_text() == "model_dir"
  found = rows(page, "Checkpoints")
  assert [row.split()[0] for row in found] == [f"model.ckpt-{s}" for s in _STEPS]
  by_name = {row.split()[0]: row for row in found}
  assert "listed, best" in by_name["model.ckpt-200"]
  assert "0.25" in by_name["model.ckpt-200"]
  assert "latest" in by_name["model.ckpt-300"]
  assert "damaged" in by_name["model.ckpt-400"]
  notes = page.locator(".notes").inner_text()
  assert "listed and not there" in notes and "model.ckpt-50" in notes
  assert "left over, or being written: model.ckpt-500" in notes


def test_the_time_line_has_every_checkpoint(open_page, page_path):
  page = open_page(page_path)
  line = page.get_by_role("img", name="Time line of 4 checkpoints")
  titles = line.locator("circle title").all_text_contents()
  assert len(titles) == 4
  assert any("model.ckpt-200, step 200, tf1" in t and "best" in t for t in titles)
  assert line.locator(".ring").count() == 1
  assert line.locator(".star").count() == 1
  assert line.locator(".point.bad").count() == 1


def test_the_latest_checkpoint_is_shown_whole(open_page, page_path):
  page = open_page(page_path)
  heading = page.get_by_role("heading", name="Latest: model.ckpt-300")
  assert heading.count() == 1
  assert len(rows(page, "Tensors")) == 3


def test_norms_go_from_checkpoint_to_checkpoint(open_page, page_path):
  page = open_page(page_path)
  tensors = page.get_by_role("treegrid", name="Tensors")
  tensors.locator(".row", has_text="net/w").click()
  chart = page.get_by_role("img", name="Norm of net/w")
  norms = [np.linalg.norm(np.arange(6.0) * n) for n in (1, 4, 9)]
  said = chart.get_attribute("aria-label")
  assert [float(x) for x in re.findall(r"step \d+ ([\d.]+)", said)] == pytest.approx(
    norms, rel=1e-3
  )
  page.get_by_role("columnheader", name="Last / first").get_by_role("button").click()
  assert rows(page, "Norms")[0].startswith("net/w")
  page.get_by_label("Find a tensor").fill("b")
  chromium.settle(page)
  assert [row.split()[0] for row in rows(page, "Norms")] == ["global_step", "net/b"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 360])
def test_it_is_accessible(open_page, page_path, violations, width, scheme):
  page = open_page(page_path, width, scheme)
  assert violations(page) == []
  assert page.evaluate("document.scrollingElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_paper_nothing_scrolls_and_the_ground_is_white(open_page, page_path, scheme):
  page = open_page(page_path, scheme=scheme)
  page.emulate_media(media="print")
  page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
  cut = page.locator(".box").evaluate_all(
    "boxes => boxes.filter(b => b.scrollHeight > b.clientHeight + 1).length"
  )
  assert cut == 0
  ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
  assert ground == "rgb(255, 255, 255)"


def test_without_values_there_are_no_norms(open_page, make_page, model_dir):
  page = open_page(make_page(model_dir))
  assert page.get_by_role("treegrid", name="Norms").count() == 0
  assert len(rows(page, "Checkpoints")) == 4
