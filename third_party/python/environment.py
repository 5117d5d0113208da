"""Makes a Python environment that has exactly the packages of a lock file.

usage: environment.py NAME [--answer FILE]
       environment.py --list

Prints the path of the environment's interpreter. Says before it makes one how much it
fetches, and shows how far it is. Environments are kept in
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
import time
from collections.abc import Iterator

NO_PYTHON = 3  # the exit code

_HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Environment:
  """What to install, and where it can run.

  Attributes:
    lock: name of the lock file.
    pythons: the versions of Python that will do, the preferred one first.
    download: megabytes to download, as measured on x86_64.
    disk: megabytes on disk, likewise.
    source_only: packages that have no wheel, and are built from their source.
  """

  lock: str
  pythons: tuple[str, ...]
  download: int
  disk: int
  source_only: tuple[str, ...] = ()


ENVIRONMENTS = {
  # The tests' and the binaries' own.
  "tf215": Environment("requirements_lock.txt", ("3.11", "3.10", "3.9"), 310, 1370),
  # Formatter, linter and type checker.
  "lint": Environment("lint_lock.txt", ("3.11", "3.12", "3.10", "3.9"), 50, 220),
  "docs": Environment("docs_lock.txt", ("3.11", "3.10", "3.9"), 2, 40),  # docs/build.py
  # tests/browser; the browser itself is the machine's.
  "browser": Environment("browser_lock.txt", ("3.11", "3.12", "3.10", "3.9"), 75, 300),
  # tests/stores: clients of object stores, and a server that plays one.
  "stores": Environment("stores_lock.txt", ("3.11", "3.12", "3.13"), 85, 465),
  # tests/beam: the runner of pipelines.
  "beam": Environment("beam_lock.txt", ("3.11", "3.12", "3.13", "3.10"), 110, 500),
  # Other consumers and producers of checkpoints, for tests/interop.
  "tf115": Environment("tf115_lock.txt", ("3.7",), 140, 600, source_only=("gast",)),
  "tf204": Environment(
    "tf204_lock.txt", ("3.8", "3.7"), 190, 750, source_only=("termcolor", "wrapt")
  ),
  "tf208": Environment("tf208_lock.txt", ("3.9", "3.10", "3.8", "3.7"), 240, 1030),
  "tf211": Environment("tf211_lock.txt", ("3.10", "3.9", "3.8", "3.7"), 270, 1140),
  # Not 3.11: the Estimator of TensorFlow 2.12 calls inspect.getargspec, which went.
  "tf212": Environment("tf212_lock.txt", ("3.10", "3.9"), 340, 1330),
  "tf221": Environment("tf221_lock.txt", ("3.11", "3.12", "3.13", "3.10"), 300, 1550),
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


class _Progress:
  """One line on standard error that says how far pip is.

  On a terminal the line is written over and over, and gone at the end. Elsewhere, in
  Bazel's output or a log, there is a new line now and then.
  """

  _SECONDS = 15.0  # between two lines that are not written over

  def __init__(self, name: str, total: int):
    self._name = name
    self._total = total
    self._seen = 0
    self._tty = sys.stderr.isatty()
    self._shown = time.monotonic()

  def follow(self, line: str) -> None:
    """Takes note of a line that pip prints."""
    words = line.split()
    if line.startswith("Collecting "):
      self._seen = min(self._seen + 1, self._total)
      self._show(f"{self._seen} of about {self._total} packages, {words[1]}")
    elif words[:1] == ["Downloading"] and words[-1].rstrip(")") in ("MB", "GB"):
      size = " ".join(words[-2:]).strip("()")
      self._show(
        f"{self._seen} of about {self._total} packages, {words[1].split('-')[0]}: {size}"
      )
    elif line.startswith("Installing collected packages"):
      self._show("installing them", always=True)

  def _show(self, text: str, always: bool = False) -> None:
    now = time.monotonic()
    if self._tty:
      text = f"{self._name}: {text}"[:78]
      print(f"\r{text:78}", end="", file=sys.stderr, flush=True)
    elif always or now - self._shown >= self._SECONDS:
      self._shown = now
      print(f"{self._name}: {text}", file=sys.stderr, flush=True)

  def end(self) -> None:
    """Takes the line from the terminal."""
    if self._tty:
      print(f"\r{'':78}\r", end="", file=sys.stderr, flush=True)


# What pip says when there is no way to the package index.
_UNREACHABLE = re.compile(
  r"Temporary failure in name resolution|Name or service not known"
  r"|Network is unreachable|No route to host|Connection refused|timed out"
  r"|Cannot connect to proxy|ProxyError"
)


def _run(command: list[str], what: str, progress: _Progress | None = None) -> None:
  """Runs a command; its output is shown only when it fails."""
  # The caller's Python settings must not leak into another Python's pip.
  unwanted = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
  environ = {k: v for k, v in os.environ.items() if k not in unwanted}
  environ.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_REQUIRE_VIRTUALENV="0")
  environ.update(PIP_NO_INPUT="1", PIP_PROGRESS_BAR="off")
  lines = []
  with subprocess.Popen(
    command,
    env=environ,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    errors="replace",
  ) as process:
    assert process.stdout is not None
    for line in process.stdout:
      lines.append(line)
      if progress:
        progress.follow(line)
  if process.returncode:
    output = "".join(lines).strip()
    unreachable = _UNREACHABLE.search(output)
    if unreachable:
      raise InstallError(
        f"the package index cannot be reached ({unreachable.group()}); with a network, "
        "or with an index or proxy in pip's configuration, run the same command again"
      )
    raise InstallError(f"{what} failed (exit {process.returncode}):\n{output[-4000:]}")


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


def _count(lock_text: str) -> int:
  """How many packages a lock file has; of several versions of one, one is installed."""
  return len(set(re.findall(r"^([\w.\-]+)==", lock_text, re.MULTILINE)))


def make(name: str, directory: pathlib.Path) -> str:
  """Makes an environment, in place of whatever is in `directory`.

  Args:
    name: one of `ENVIRONMENTS`.
    directory: where.

  Returns:
    The path of its interpreter.

  Raises:
    NoPythonError: no Python fits.
    InstallError: a step failed; what is in `directory` is of no use.
  """
  environment = ENVIRONMENTS[name]
  python = find_python(environment.pythons)
  lock = _HERE / environment.lock
  count = _count(lock.read_text())
  print(
    f"{name}: fetching {count} Python packages once, {environment.download} MB to "
    f"download and {environment.disk:,} MB on disk, into {directory}",
    file=sys.stderr,
    flush=True,
  )
  interpreter = str(directory / "bin" / "python")
  without = [] if python.has_ensurepip else ["--without-pip"]
  _run(
    [python.path, "-I", "-m", "venv", "--clear", *without, str(directory)],
    f"making an environment with {python.path}",
  )
  pip = _pip(python, interpreter)
  install = [*pip, "install", "--require-hashes", "--no-deps"]
  install.append("--only-binary=:all:")
  if environment.source_only:
    # pip would build these with whatever setuptools is the newest: take the locked one.
    with tempfile.TemporaryDirectory() as scratch:
      tools = pathlib.Path(scratch, "tools.txt")
      tools.write_text(_entries(lock.read_text(), ("setuptools", "wheel")))
      _run([*install, "-r", str(tools)], "installing setuptools")
    install.append("--no-build-isolation")
    install.append("--no-binary=" + ",".join(environment.source_only))
  progress = _Progress(name, count)
  try:
    _run([*install, "-r", str(lock)], f"installing {lock.name}", progress)
  finally:
    progress.end()
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
      make(name, directory)
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


def _find(name: str) -> tuple[int, str]:
  """The exit code of this program, and what it has to say."""
  answers = os.environ.get("ESTIMATOR_CKPT_ENVIRONMENTS")
  try:
    return 0, _answered(name, answers) if answers else cached(name)
  except NoPythonError as e:
    return NO_PYTHON, f"{name}: {e}"
  except InstallError as e:
    return 1, f"{name}: {e}"


def main() -> int:
  """The program."""
  summary, _, rest = (__doc__ or "").partition("\n\n")
  parser = argparse.ArgumentParser(
    description=summary,
    epilog=rest.partition("\n\n")[2],
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("name", nargs="?", choices=sorted(ENVIRONMENTS))
  parser.add_argument(
    "--answer",
    type=pathlib.Path,
    help="write the exit code and the path, or why there is none, to this file instead",
  )
  parser.add_argument("--list", action="store_true", help="list the names")
  args = parser.parse_args()
  if args.list:
    print("\n".join(ENVIRONMENTS))
    return 0
  if args.name is None:
    parser.error("which environment?")
  code, text = _find(args.name)
  if args.answer:
    args.answer.write_text(f"{code}\n{text}\n")
  else:
    print(text, file=sys.stderr if code else sys.stdout)
  return code


if __name__ == "__main__":
  sys.exit(main())
