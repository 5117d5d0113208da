"""Writes the files of testdata/promised with this release of estimator_ckpt.

  python testdata/generate_promised.py            # says what it would do
  python testdata/generate_promised.py --write    # writes the files of this release

They are what later releases have to read: checkpoints of every format, `warm_start.json`
and what `--json` prints. A folder that is there is never written again. Needs TensorFlow
2.15.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "writers"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import golden_writer
import promised_job

import estimator_ckpt as eckpt
from estimator_ckpt.cli import main as cli

HERE = os.path.dirname(os.path.abspath(__file__))

# Each command as it is typed in the folder; what it writes is not kept.
COMMANDS = {
  "inspect": ["inspect", "dual", "--values"],
  "convert": ["convert", "tf1", "{new}/converted", "--to=dual"],
  "rename": ["rename", "tf1", "{new}/renamed", "--name_map=net/:other/"],
  "strip": ["strip", "dual", "{new}/stripped", "--optimizer_state"],
  "merge": ["merge", "tf1/model.ckpt-7", "tf1/model.ckpt-7", "{new}/merged"],
  "diff": ["diff", "tf1/model.ckpt-0", "tf1/model.ckpt-7", "--values"],
  "verify": ["verify", "{new}"],  # What merge wrote; it has no state file.
  "plan-warm-start": ["plan-warm-start", "tf1", "--to=dual", "--global_step"],
  "make-map": ["make-map", "tf1", "dual"],
}


def run(command: list[str], new: str) -> object:
  """What a command prints with --json.

  Args:
    command: one of `COMMANDS`; it is run in the current directory.
    new: a directory for what it writes.

  Returns:
    The value.
  """
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    cli.run([word.format(new=new) for word in command] + ["--json"])
  return json.loads(printed.getvalue())


def write(folder: str) -> None:
  """Writes the files of this release into a new folder."""
  os.makedirs(folder)
  os.chdir(folder)
  values = {}
  for name, options in promised_job.JOBS.items():
    values = promised_job.train(name, steps=7, **options)
  golden_writer.save_npz("values.npz", values)
  # Graphs and event files are TensorFlow's own.
  for directory, _, names in os.walk("."):
    for name in names:
      if name.endswith(".meta") or ".tfevents." in name or name == "graph.pbtxt":
        os.remove(os.path.join(directory, name))
  with tempfile.TemporaryDirectory() as new:
    promised_job.train(f"{new}/started", steps=0, **promised_job.warm_start("dual"))
    with open(f"{new}/started/warm_start.json", encoding="utf-8") as file:
      _write_json("warm_start.json", json.load(file))
    os.mkdir("json")
    for name, command in COMMANDS.items():
      _write_json(f"json/{name}.json", run(command, new), hidden=new)


def _write_json(path: str, value: object, hidden: str = "") -> None:
  text = json.dumps(value, indent=1)
  if hidden:  # The name of a temporary directory.
    text = text.replace(hidden, "new")
  with open(path, "w", encoding="utf-8") as file:
    file.write(text + "\n")


if __name__ == "__main__":
  release = eckpt.__version__.rpartition(".")[0]
  target = os.path.join(HERE, "promised", release)
  if os.path.exists(target):
    sys.exit(f"{target} is there, and is never written again")
  if sys.argv[1:] != ["--write"]:
    sys.exit(f"would write {target}; --write does")
  write(target)
  print(target)
