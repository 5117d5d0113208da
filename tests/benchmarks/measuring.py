"""Shared by the benchmarks of the command line: checkpoints, and whole processes.

Processes take turns, so that other load on the machine affects them alike.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from estimator_ckpt.bundle import checksum, dtypes, strings
from estimator_ckpt.bundle.commit import BundleWriter
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph

FLOAT32 = 1
# A child's peak memory includes that of its parent, so the parent has to be small.
_LAUNCHER = """
import json, os, sys, time
start = time.perf_counter()
pid = os.posix_spawnp(
  sys.argv[1],
  sys.argv[1:],
  os.environ,
  file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
)
_, status, usage = os.wait4(pid, 0)
seconds = time.perf_counter() - start
print(json.dumps([seconds, usage.ru_maxrss, os.waitstatus_to_exitcode(status)]))
"""
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def write_checkpoint(
  prefix: str, variables: int, size: int, *, dual: bool = False
) -> None:
  """Writes a checkpoint of distinct values, as a training job would have saved it.

  Args:
    prefix: where.
    variables: number of variables, besides the step.
    size: bytes of all variables together.
    dual: whether to add an object graph and object keys.
  """
  count = max(1, size // 4 // variables)
  index = Index()
  with BundleWriter(prefix, 1) as bundle:
    with bundle.add_stream() as file:
      step = (1234).to_bytes(8, "little")
      file.write(step)
      crc = checksum.mask(checksum.crc32c(step))
      index.put("global_step", BundleEntry(dtypes.INT64, (), 0, 0, 8, crc))
      offset = 8
      for number in range(variables):
        data = os.urandom(4 * count)
        file.write(data)
        crc = checksum.mask(checksum.crc32c(data))
        entry = BundleEntry(FLOAT32, (count,), 0, offset, len(data), crc)
        index.put(f"model/block_{number % 100}/layer_{number}/kernel", entry)
        offset += len(data)
      if dual:
        graph = ObjectGraph()
        for name, paths in layout.object_paths(index.keys()).items():
          index.alias(graph.add_variable(paths, name), name)
        data, crc = strings.encode([graph.serialize()])
        file.write(data)
        entry = BundleEntry(dtypes.STRING, (), 0, offset, len(data), crc)
        index.put(layout.OBJECT_GRAPH_KEY, entry)
    bundle.commit(index)


def measure(
  commands: Mapping[str, Sequence[str]], rounds: int = 10
) -> dict[str, dict[str, Any]]:
  """Runs whole processes in turns.

  Args:
    commands: the command lines, by name. "{turn}" in them becomes the run's number.
    rounds: number of measured runs of each; one more run each warms up.

  Returns:
    For each, `seconds` (the median), `fastest`, and `peak_megabytes`, the most
    resident memory.
  """
  seconds: dict[str, list[float]] = {name: [] for name in commands}
  peaks = dict.fromkeys(commands, 0.0)
  # The first runs write compiled modules there, as an installation has them.
  with tempfile.TemporaryDirectory() as cache:
    for turn in range(rounds + 1):
      for name, command in commands.items():
        own = [argument.replace("{turn}", str(turn)) for argument in command]
        taken, peak = _run(own, cache)
        if turn:
          seconds[name].append(taken)
          peaks[name] = max(peaks[name], peak)
  return {
    name: {
      "seconds": statistics.median(times),
      "fastest": min(times),
      "peak_megabytes": peaks[name],
    }
    for name, times in seconds.items()
  }


def _run(command: Sequence[str], cache: str) -> tuple[float, float]:
  """Wall-clock seconds and peak megabytes of a process."""
  environ = {
    **os.environ,
    "PYTHONPATH": ROOT,
    "PYTHONPYCACHEPREFIX": cache,
    "TF_CPP_MIN_LOG_LEVEL": "3",
  }
  environ.pop("PYTHONDONTWRITEBYTECODE", None)
  result = subprocess.run(
    [sys.executable, "-S", "-c", _LAUNCHER, *command],
    env=environ,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    check=True,
  )
  seconds, peak, code = json.loads(result.stdout)
  if code:
    raise RuntimeError(f"{' '.join(command)}: {result.stderr.decode()}")
  return seconds, peak / (1024 if sys.platform != "darwin" else 2**20)


def program(*arguments: str) -> list[str]:
  """The command line of `estimator-ckpt`."""
  return [sys.executable, "-m", "estimator_ckpt", *arguments]


def write_json(path: str, result: Any) -> None:
  """Writes the measurements."""
  with open(path, "w", encoding="utf-8") as file:
    json.dump(result, file, indent=2)
    file.write("\n")
