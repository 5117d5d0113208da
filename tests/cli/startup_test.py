"""What a command loads: on a small checkpoint, imports are most of its time.

Beside these, a command may load modules of this package. `tests/benchmarks` measures.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import golden

_ADAM = golden.path("tf1.15/adam_dense")

# What Python itself and its modules bring, in every version from 3.9 to 3.13. `argparse`
# and what it needs take half a command's time, `contextlib` and `enum` next to nothing
# beside it. What takes longer is not here: dataclasses, typing, json, shutil, pathlib,
# tempfile, socket, threading, inspect, numpy.
_ALLOWED = frozenset(
  "__future__ argparse bisect collections contextlib copy copyreg enum errno fcntl"
  " functools gc genericpath gettext google google_crc32c heapq importlib importlib.util io itertools"
  " keyword marshal math operator os posix posixpath re reprlib sre_compile sre_constants"
  " sre_parse stat struct textwrap time types warnings weakref zipimport".split()
)


def _loaded(*arguments: str) -> set[str]:
  program = (
    "import sys; before = {*sys.modules}\n"
    "from estimator_ckpt.cli import main\n"
    f"code = main.run({list(arguments)!r})\n"
    "print(code, *sorted({*sys.modules} - before))"
  )
  # -S: nothing that is installed has code of its own in every start of Python.
  command = [sys.executable, "-S", "-c", "import sys; sys.path[:] = %r; exec(%r)"]
  command[3] = command[3] % (sys.path, program)
  done = subprocess.run(command, stdout=subprocess.PIPE, check=True, encoding="utf-8")
  code, *names = done.stdout.splitlines()[-1].split()
  assert code == "0"
  return set(names)


def _others(names: set[str]) -> set[str]:
  """The modules that are neither this package's nor allowed."""
  tops = {name.partition(".")[0] for name in names if not name.startswith("_")}
  return tops - _ALLOWED - {"estimator_ckpt", "backports"}


@pytest.mark.skipif(
  sys.version_info < (3, 9), reason="its google_crc32c loads pkg_resources"
)
@pytest.mark.parametrize(
  "arguments",
  [
    ("inspect", _ADAM),
    ("convert", _ADAM, "DIRECTORY/model.ckpt-1", "--to=dual"),
    ("--help",),
  ],
  ids=lambda arguments: arguments[0],
)
def test_a_command_loads_nothing_that_takes_long(arguments, tmp_path):
  arguments = [each.replace("DIRECTORY", str(tmp_path)) for each in arguments]
  assert _others(_loaded(*arguments)) == set()


def test_what_few_checkpoints_need_is_not_loaded():
  names = _loaded("inspect", _ADAM)
  for module in (
    "bundle.v1_checkpoint",
    "bundle.snappy",
    "bundle.table_writer",
    "checkpoint.reader",
    "keras",
    "files.write",
  ):
    assert f"estimator_ckpt.{module}" not in names


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="it lists threads")
def test_numpy_starts_no_thread_for_each_core():
  program = (
    "import os, sys\n"
    "from estimator_ckpt.cli import main\n"
    f"sys.argv[1:] = ['inspect', {_ADAM!r}, '--values']\n"
    "main.run()\n"
    "print('numpy' in sys.modules, len(os.listdir('/proc/self/task')))"
  )
  environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  environ.pop("OPENBLAS_NUM_THREADS", None)
  command = [sys.executable, "-c", program]
  done = subprocess.run(
    command, stdout=subprocess.PIPE, env=environ, check=True, encoding="utf-8"
  )
  assert done.stdout.splitlines()[-1] == "True 1"
