"""The example: one command that starts a cluster, and shows who wrote which file."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.examples import cluster

_PATH = os.path.abspath(cluster.__file__)


def _run(*flags: str) -> subprocess.CompletedProcess:
  environ = {name: v for name, v in os.environ.items() if name != "TF_CONFIG"}
  environ["PYTHONPATH"] = os.pathsep.join(sys.path)
  return subprocess.run(
    [sys.executable, _PATH, *flags],
    env=environ,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    timeout=240,
    check=False,
  )


def test_it_trains_and_says_who_wrote_what(tmp_path):
  done = _run(
    f"--model_dir={tmp_path}",
    "--train_steps=60",
    "--num_workers=1",
    "--checkpoint_format=dual",
    "--save_checkpoints_steps=30",
    "--timeout_secs=200",
  )
  assert done.returncode == 0, done.stdout
  for name in ("chief/0", "worker/0", "ps/0", "ps/1", "evaluator/0"):
    assert re.search(f"^ *{name} \\| ", done.stdout, re.MULTILINE), done.stdout
  table = done.stdout[done.stdout.index("written by") :].splitlines()[1:]
  path = tf.train.latest_checkpoint(str(tmp_path))
  name = os.path.basename(path)
  found = {line.split()[0]: line.split()[-1] for line in table if line}
  assert found == {
    f"{name}.data-00000-of-00002": "ps/0",
    f"{name}.data-00001-of-00002": "ps/1",
    f"{name}.index": "chief/0",
    f"{name}.meta": "chief/0",
    "checkpoint": "chief/0",
  }
  assert all(len(line) <= 80 for line in table)
  assert eckpt.verify(path).ok


# The chief runs the given code; the other tasks sleep for a long time.
_TASK = """
import json, os, time
task = json.loads(os.environ["TF_CONFIG"])["task"]
print("pid", os.getpid(), flush=True)
if task["type"] == "chief":
  {}
time.sleep(600)
"""


@pytest.mark.parametrize(
  "chief, code, said",
  [
    ("time.sleep(3); os._exit(3)", 3, "chief/0 ended with 3; so the others are ended"),
    ("pass", 1, "did not finish within 5 s"),
  ],
)
def test_nothing_is_left_of_a_cluster_that_fails(capfd, chief, code, said):
  configs = cluster.tf_configs(num_ps=1, num_workers=1)
  assert (
    cluster.run_cluster(configs, [sys.executable, "-c", _TASK.format(chief)], 5) == code
  )
  out, err = capfd.readouterr()
  assert said in err
  pids = [int(pid) for pid in re.findall(r"pid (\d+)", out)]
  assert len(pids) == len(configs) == 4
  assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
