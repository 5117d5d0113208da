"""A warm start's plan as text, JSON and Markdown."""

from __future__ import annotations

import json

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.warm_start import WarmStart, warm_start_report
from estimator_ckpt.warm_start.matches import Target
from estimator_ckpt.warm_start.planner import make_plan
from estimator_ckpt.warm_start.source_tensors import SourceTensors


def made(names, targets, **options):
  index = Index()
  for i, name in enumerate(names):
    index.put(name, BundleEntry(1, (2, 3), 0, 100 * i, 24, i))
  graph = [Target(name, 1, (2, 3)) for name in targets]
  return make_plan(
    SourceTensors("ckpt", index, None), graph, WarmStart("c", **options).options
  )


def test_the_table():
  plan = made(["old/w", "b", "c"], ["w", "b", "d"], assignment_map="old/:/")
  assert str(plan) == (
    "Warm start from ckpt: starts 2 of 3 variables; 1 tensor of the checkpoint not used."
    "\n\n"
    "variable  from   dtype and shape  matched by\n"
    "b         b      float32 [2, 3]   same name\n"
    "w         old/w  float32 [2, 3]   map 'old/': '/'\n\n"
    "Not started, 1: not in the checkpoint\n"
    "  d  float32 [2, 3]\n\n"
    "Not used of the checkpoint, 1: nothing in the graph takes it\n"
    "  c  float32 [2, 3]\n\n"
    "A map that would start more: assignment_map={'old/': '/', 'c': 'd'}"
  )


def test_the_summary_shows_the_first_few_of_each_kind():
  names = [f"layer_{i}/w" for i in range(9)]
  text = warm_start_report.summary(made(names, [*names, "x", "y"]))
  assert text.count("\n  layer_") == 5
  assert "  and 4 more" in text
  assert "Not started (2):\n  2, such as x: not in the checkpoint" in text


def test_json_has_everything():
  plan = made(["w", "c"], ["w", "d"])
  value = json.loads(json.dumps(warm_start_report.as_json(plan)))
  assert value == {
    "checkpoint": "ckpt",
    "started": [
      {
        "variable": "w",
        "from": "w",
        "keys": ["w"],
        "dtype": "float32",
        "shape": [2, 3],
        "matched_by": "same name",
      }
    ],
    "left_in_graph": [
      {
        "name": "d",
        "dtype": "float32",
        "shape": [2, 3],
        "reason": "not in the checkpoint",
      }
    ],
    "left_in_checkpoint": [
      {
        "name": "c",
        "dtype": "float32",
        "shape": [2, 3],
        "reason": "nothing in the graph takes it",
      }
    ],
    "problems": [],
    "notes": [],
  }


def test_markdown_is_a_table_whatever_the_names_are():
  text = warm_start_report.markdown(made(["a|b", "c"], ["a|b"]))
  lines = text.splitlines()
  assert "| `a\\|b` | `a\\|b` | float32 [2, 3] | same name |" in lines
  assert "| `c` | float32 [2, 3] | nothing in the graph takes it |" in lines


def test_markdown_ends_where_tensorboard_would():
  names = [f"w{i}" for i in range(1003)]
  lines = warm_start_report.markdown(made(names, names)).splitlines()
  assert "| 3 more in warm_start.json |  |  |  |" in lines
