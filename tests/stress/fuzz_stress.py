"""Fuzzes everything that reads a file of a checkpoint, guided by coverage.

Needs atheris, which no environment of this project has: run `pip install atheris`
beside the requirements of estimator_ckpt, in Python 3.11 to 3.13. Each target runs in a
process of its own. A failing input is written to --artifacts; after the fix it goes
into testdata/hostile/TARGET, which every test run reads.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

_ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
_MEGABYTES = 1024


def _fuzz(target: str, arguments: list[str]) -> None:
  """Runs a target in this process; does not return."""
  import atheris

  with atheris.instrument_imports(include=["estimator_ckpt"]):
    from tests.nothing_lost import hostile
  atheris.Setup([sys.argv[0], *arguments], lambda data: hostile.feed(target, data))
  atheris.Fuzz()


def _run(target: str, seconds: int, artifacts: pathlib.Path) -> tuple[object, ...]:
  """Starts a target's process; returns a row of figures."""
  from tests.nothing_lost import hostile

  with tempfile.TemporaryDirectory() as corpus:
    for number, data in enumerate(hostile.seeds(target)):
      pathlib.Path(corpus, str(number)).write_bytes(data)
    found = artifacts / target
    found.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
      [
        sys.executable,
        __file__,
        "--run",
        target,
        corpus,
        f"-max_total_time={seconds}",
        f"-artifact_prefix={found}/",
        f"-timeout={hostile.MAX_SECONDS}",
        f"-rss_limit_mb={_MEGABYTES}",
        "-print_final_stats=1",
        "-max_len=8192",
      ],
      env={**os.environ, "PYTHONPATH": str(_ROOT)},
      capture_output=True,
      text=True,
      check=False,
    )
    (found / "log").write_text(done.stdout + done.stderr)

    def stat(pattern: str) -> str:
      matches = re.findall(pattern, done.stdout + done.stderr)
      return matches[-1] if matches else "?"

    crashes = [
      p for p in found.iterdir() if p.name.startswith(("crash", "timeout", "oom"))
    ]
    return (
      target,
      stat(r"Done \d+ runs in (\d+) second") + " s",
      stat(r"number_of_executed_units: (\d+)"),
      stat(r" ft: (\d+)"),
      len(os.listdir(corpus)),
      stat(r"peak_rss_mb:\s+(\d+)") + " MB",
      len(crashes),
    )


def main() -> None:
  """Runs the program."""
  if sys.argv[1:2] == ["--run"]:
    _fuzz(sys.argv[2], sys.argv[3:])
    return
  from tests.nothing_lost import hostile
  from tests.stress import figures

  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--seconds", type=int, default=600, help="of each target")
  parser.add_argument("--targets", nargs="*", default=list(hostile.TARGETS))
  parser.add_argument("--artifacts", type=pathlib.Path, help="default: a new directory")
  arguments = parser.parse_args()
  artifacts = arguments.artifacts or pathlib.Path(tempfile.mkdtemp(prefix="fuzz_"))
  print(f"what makes a target fail goes to {artifacts}", flush=True)
  rows = []
  for target in arguments.targets:
    rows.append(_run(target, arguments.seconds, artifacts))
    print(*rows[-1], flush=True)
  figures.show(
    ("target", "time", "executions", "features", "corpus", "memory", "failures"), rows
  )


if __name__ == "__main__":
  main()
