"""Makes a Python environment that has exactly the packages of a lock file.

usage: environment.py NAME [--directory DIR]
       environment.py --list

Prints the path of the environment's interpreter. Environments are kept in
ESTIMATOR_CKPT_CACHE, by default `${XDG_CACHE_HOME:-~/.cache}/estimator_ckpt`, under
the name and the hash of the lock file, so a second call costs next to nothing and a
changed lock file makes a new one. They may be deleted at any time.

Exit codes: 0, the path is on standard output; 3, this machine has no Python that
fits, and standard error has one sentence that says so; 1, anything else.

A Python is looked for on the PATH, in pyenv's versions directory, and first of all in
ESTIMATOR_CKPT_PYTHON37, ESTIMATOR_CKPT_PYTHON310 and so on, which hold the path of an
interpreter of that version. ESTIMATOR_CKPT_ENVIRONMENTS is for Bazel's tests: a
directory where `NAME/answer.txt` holds what this program said outside the sandbox.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NoReturn

NO_PYTHON = 3  # the exit code

_HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Environment:
  """What to install, and where it can run.

  Attributes:
    lock: name of the lock file.
    pythons: the versions of Python that will do, the preferred one first.
    source_only: packages that have no wheel, and are built from their source.
  """

  lock: str
  pythons: tuple[str, ...]
  source_only: tuple[str, ...] = ()


ENVIRONMENTS = {
  # The tests' and the binaries' own.
  "tf215": Environment("requirements_lock.txt", ("3.11", "3.10", "3.9")),
  # Formatter, linter and type checker.
  "lint": Environment("lint_lock.txt", ("3.11", "3.12", "3.10", "3.9")),
  # Other consumers and producers of checkpoints, for tests/interop.
  "tf115": Environment("tf115_lock.txt", ("3.7",), source_only=("gast",)),
  "tf212": Environment("tf212_lock.txt", ("3.10", "3.11", "3.9")),
  "tf221": Environment("tf221_lock.txt", ("3.11", "3.12", "3.13", "3.10")),
}


class NoPythonError(Exception):
  """No Python of a wanted version is to be found."""


class InstallError(Exception):
  """Making the environment failed."""


@dataclasses.dataclass(frozen=True)
class Python:
  """An interpreter that runs, and what it can do."""

  path: str
  version: str
  has_ensurepip: bool


_PROBE = """
import sys
try:
  import ensurepip
except ImportError:
  ensurepip = None
import json, venv
print(json.dumps([sys.executable, "%d.%d" % sys.version_info[:2], bool(ensurepip)]))
"""


def _probe(path: str) -> Python | None:
  """The interpreter at `path`, or None when it does not run.

  A pyenv shim runs only for the versions that are switched on, and answers with the
  path of the interpreter behind it.
  """
  try:
    done = subprocess.run(
      [path, "-I", "-c", _PROBE],
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      timeout=60,
      check=True,
    )
    executable, version, has_ensurepip = json.loads(done.stdout.decode())
  except (OSError, subprocess.SubprocessError, ValueError):
    return None
  return Python(executable or path, version, has_ensurepip)


def _homes() -> list[pathlib.Path]:
  """The user's home directory, which a test's HOME need not be."""
  homes = [pathlib.Path(os.path.expanduser("~"))]
  with contextlib.suppress(KeyError):
    homes.append(pathlib.Path(pwd.getpwuid(os.getuid()).pw_dir))
  return homes


def _candidates(version: str) -> Iterator[str]:
  """Paths where an interpreter of `version` may be."""
  path = os.environ.get("PATH", "").split(os.pathsep) + ["/usr/local/bin", "/usr/bin"]
  for name in ("python" + version, "python3"):
    for directory in dict.fromkeys(filter(None, path)):
      candidate = os.path.join(directory, name)
      if os.access(candidate, os.X_OK):
        yield candidate
  roots = [home / ".pyenv" for home in _homes()]
  if os.environ.get("PYENV_ROOT"):
    roots.insert(0, pathlib.Path(os.environ["PYENV_ROOT"]))
  for root in dict.fromkeys(roots):
    with contextlib.suppress(OSError):
      found = (root / "versions").glob(version + ".*/bin/python" + version)
      yield from sorted((str(path) for path in found), key=_natural, reverse=True)


def _natural(text: str) -> list[tuple[int, str]]:
  """A sort key by which 3.11.10 comes after 3.11.9."""
  return [(int(part or 0), rest) for part, rest in re.findall(r"(\d*)(\D*)", text)]


def _variable(version: str) -> str:
  return "ESTIMATOR_CKPT_PYTHON" + version.replace(".", "")


def find_python(versions: tuple[str, ...]) -> Python:
  """Finds an interpreter to make an environment with.

  Args:
    versions: the versions that will do, the preferred one first.

  Returns:
    One that runs. One that was named in the environment comes before all others;
    then one that brings pip comes before one that does not.

  Raises:
    NoPythonError: there is none.
  """
  for version in versions:
    named = os.environ.get(_variable(version))
    if named:
      python = _probe(named)
      if python is None or python.version != version:
        is_what = "does not run" if python is None else "is Python " + python.version
        raise NoPythonError(f"{_variable(version)} is set to {named}, which {is_what}")
      return python
  bare = None
  for version in versions:
    for candidate in _candidates(version):
      python = _probe(candidate)
      if python is None or python.version != version:
        continue
      if python.has_ensurepip:
        return python
      bare = bare or python
  if bare is not None:
    return bare
  raise NoPythonError(
    f"no Python {' or '.join(versions)} on the PATH or in pyenv's versions directory "
    f"(one that is elsewhere can be named: {_variable(versions[0])}=/path/to/python)"
  )


def _run(command: list[str], what: str) -> None:
  """Runs a command; its output is shown only when it fails."""
  # The caller's Python settings must not leak into another Python's pip.
  unwanted = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
  environ = {k: v for k, v in os.environ.items() if k not in unwanted}
  environ.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_REQUIRE_VIRTUALENV="0")
  done = subprocess.run(
    command,
    env=environ,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    check=False,
  )
  if done.returncode:
    output = done.stdout.decode(errors="replace").strip()
    raise InstallError(f"{what} failed (exit {done.returncode}):\n{output[-4000:]}")


def _pip(python: Python, interpreter: str) -> list[str]:
  """The command that is pip for the environment of `interpreter`."""
  if python.has_ensurepip:
    return [interpreter, "-I", "-m", "pip"]
  # Debian keeps ensurepip in a package of its own. Any pip from 22.3 on can stand in.
  for helper in (python.path, sys.executable, shutil.which("python3")):
    if helper:
      command = [helper, "-I", "-m", "pip", "--python", interpreter]
      done = subprocess.run(
        [*command, "--version"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
      )
      if done.returncode == 0:
        return command
  raise NoPythonError(
    f"{python.path} cannot make an environment with pip in it; on Debian and Ubuntu: "
    f"apt-get install python{python.version}-venv"
  )


def _entries(lock_text: str, names: tuple[str, ...]) -> str:
  """The lines of a lock file that concern the packages in `names`."""
  entries = re.findall(r"^[\w.\-]+==(?:.*\\\n)*.*\n?", lock_text, re.MULTILINE)
  return "".join(e for e in entries if e.split("==")[0] in names)


def make(environment: Environment, directory: pathlib.Path) -> str:
  """Makes an environment, in place of whatever is in `directory`.

  Args:
    environment: what to make.
    directory: where.

  Returns:
    The path of its interpreter.

  Raises:
    NoPythonError: no Python fits.
    InstallError: a step failed; what is in `directory` is of no use.
  """
  python = find_python(environment.pythons)
  lock = _HERE / environment.lock
  interpreter = str(directory / "bin" / "python")
  without = [] if python.has_ensurepip else ["--without-pip"]
  _run(
    [python.path, "-I", "-m", "venv", "--clear", *without, str(directory)],
    f"making an environment with {python.path}",
  )
  pip = _pip(python, interpreter)
  install = [*pip, "install", "--quiet", "--require-hashes", "--no-deps"]
  install.append("--only-binary=:all:")
  if environment.source_only:
    # pip would build these with whatever setuptools is the newest: take the locked one.
    with tempfile.TemporaryDirectory() as scratch:
      tools = pathlib.Path(scratch, "tools.txt")
      tools.write_text(_entries(lock.read_text(), ("setuptools", "wheel")))
      _run([*install, "-r", str(tools)], "installing setuptools")
    install.append("--no-build-isolation")
    install.append("--no-binary=" + ",".join(environment.source_only))
  _run([*install, "-r", str(lock)], f"installing {lock.name}")
  _run([*pip, "check"], f"the check of what {lock.name} installed")
  return interpreter


def _cache() -> pathlib.Path:
  cache = os.environ.get("ESTIMATOR_CKPT_CACHE")
  if cache:
    return pathlib.Path(cache).absolute()
  xdg = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
  return pathlib.Path(xdg, "estimator_ckpt").absolute()


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
  """Keeps other processes from making the same environment meanwhile."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def cached(name: str) -> str:
  """The interpreter of an environment in the cache, which is made when missing.

  Args:
    name: one of `ENVIRONMENTS`.

  Returns:
    The path of its interpreter.

  Raises:
    NoPythonError: no Python fits.
    InstallError: making it failed.
  """
  environment = ENVIRONMENTS[name]
  digest = hashlib.sha256((_HERE / environment.lock).read_bytes()).hexdigest()
  directory = _cache() / f"{name}-{digest[:16]}"
  interpreter = directory / "bin" / "python"
  complete = directory / "complete"  # written last
  if complete.exists() and interpreter.exists():
    return str(interpreter)
  find_python(environment.pythons)  # before anything is written
  with _locked(directory.with_name(directory.name + ".lock")):
    if not (complete.exists() and interpreter.exists()):
      print(f"making the environment {name} in {directory}", file=sys.stderr)
      make(environment, directory)
      complete.touch()
  return str(interpreter)


def _answered(name: str, answers: str) -> str:
  """What this program said outside of Bazel's sandbox."""
  answer = pathlib.Path(answers, name, "answer.txt")
  try:
    kind, text = answer.read_text().rstrip("\n").split("\n", 1)
  except OSError as e:
    raise InstallError(
      f"this test's target in BUILD lacks the environment {name} ({e})"
    ) from e
  if kind != "0":
    raise NoPythonError(text.partition(": ")[2])  # `main` says the name again
  return text


def _fail(message: object, code: int) -> NoReturn:
  print(message, file=sys.stderr)
  sys.exit(code)


def main() -> None:
  """The program."""
  summary, _, rest = (__doc__ or "").partition("\n\n")
  parser = argparse.ArgumentParser(
    description=summary,
    epilog=rest.partition("\n\n")[2],
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("name", nargs="?", choices=sorted(ENVIRONMENTS))
  parser.add_argument("--directory", type=pathlib.Path, help="make it there, anew")
  parser.add_argument("--list", action="store_true", help="list the names")
  args = parser.parse_args()
  if args.list:
    print("\n".join(ENVIRONMENTS))
    return
  if args.name is None:
    parser.error("which environment?")
  answers = os.environ.get("ESTIMATOR_CKPT_ENVIRONMENTS")
  try:
    if args.directory:
      print(make(ENVIRONMENTS[args.name], args.directory.absolute()))
    elif answers:
      print(_answered(args.name, answers))
    else:
      print(cached(args.name))
  except NoPythonError as e:
    _fail(f"{args.name}: {e}", NO_PYTHON)
  except InstallError as e:
    _fail(f"{args.name}: {e}", 1)


if __name__ == "__main__":
  main()
