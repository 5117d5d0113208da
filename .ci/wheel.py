"""Builds the wheel, installs it in every way that README tells, and uses it.

usage: wheel.py [--beside-all] [SCRATCH_DIRECTORY]

The commands are README's own, run in a copy of what git has and would add, with Python
3.11 and the newest pip, and with Python 3.9 and the oldest pip that README allows:

- without TensorFlow, README's commands and functions for files run; so they do on the
  newest Python that this machine has, where no Estimator is to be had, and where the
  library has to say that;
- with the extra, README's first blocks train and read. On Python 3.9 TensorFlow comes
  later, by the advice that the library gives without it.

On Python 3.7 the wheel is installed with that Python's own pip: without TensorFlow, and
beside TensorFlow 1.15.5, which stays what it is and trains README's first block.
--beside-all does only this, beside each other TensorFlow of `_BESIDE`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

# The programs that this one loads, and runs, lie in the checkout: no byte code beside them.
sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_README = (_ROOT / "README.md").read_text(encoding="utf-8")
_TRAINING = ("3.9", "3.11")
_VERSIONS = ("3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
# A TensorFlow that was there first, and its Python, which a clone need not build on.
_BESIDE = (
  ("3.7", "1.15.5"),
  ("3.7", "2.1.4"),
  ("3.8", "2.4.4"),
  ("3.9", "2.6.5"),
  ("3.9", "2.8.4"),
  ("3.10", "2.11.1"),
  ("3.10", "2.12.1"),
)
_OWN = "own"  # the pip that a Python brings
_ADVICE = "pip install 'estimator-ckpt[tensorflow]'"

_USE = f"""
import sys
import estimator_ckpt
from estimator_ckpt import CheckpointError, CheckpointFormat
loaded = [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]
assert not loaded, loaded
try:
  estimator_ckpt.tf2_checkpointing
except ImportError as e:
  possible = sys.version_info < (3, 12)
  assert ({_ADVICE!r} in str(e)) == possible, e
  assert possible or "Python 3.7 to 3.11" in str(e), e
else:
  raise AssertionError("tf2_checkpointing is there, and TensorFlow is not")
for name in estimator_ckpt.__all__:
  assert isinstance(name, str)
print("estimator_ckpt", estimator_ckpt.__version__, "on Python", sys.version.split()[0])
"""


def _load(path: str) -> ModuleType:
  """A program of the repository, as a module."""
  name = pathlib.Path(path).stem
  spec = importlib.util.spec_from_file_location(name, _ROOT / path)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module
  spec.loader.exec_module(module)
  return module


_pages = _load("tests/pages.py")


def run(*command: object, **kwargs) -> str:
  """Runs a command that has to succeed.

  Args:
    *command: the program and its arguments.
    **kwargs: for subprocess.run.

  Returns:
    Its standard output.
  """
  words = [str(word) for word in command]
  print("+", " ".join(w if len(w) < 200 else "..." for w in words), flush=True)
  done = subprocess.run(words, capture_output=True, text=True, check=False, **kwargs)
  if done.returncode:
    output = f"{done.stdout}\n{done.stderr}"
    sys.exit(f"{output}\nwheel: failed (exit {done.returncode}): {' '.join(words)}")
  return done.stdout


def copy_sources(to: pathlib.Path) -> None:
  """Copies what git has, or would have after an `add`."""
  listed = run("git", "ls-files", "-z", "-co", "--exclude-standard", cwd=_ROOT)
  for name in filter(None, listed.split("\0")):
    if (_ROOT / name).exists():
      target = to / name
      target.parent.mkdir(parents=True, exist_ok=True)
      shutil.copyfile(_ROOT / name, target)


def files(directory: pathlib.Path) -> set[str]:
  """All files below a directory, relative to it."""
  return {
    path.relative_to(directory).as_posix()
    for path in directory.rglob("*")
    if path.is_file()
  }


def check_contents(wheel: pathlib.Path) -> None:
  """Exits when a file is missing from the wheel, or does not belong there."""
  with zipfile.ZipFile(wheel) as archive:
    names = set(archive.namelist())
    metadata = next(n for n in names if n.endswith(".dist-info/METADATA"))
    headers = archive.read(metadata).decode().partition("\n\n")[0]
  modules = {
    path.relative_to(_ROOT).as_posix()
    for path in (_ROOT / "estimator_ckpt").rglob("*.py")
    if "examples" not in path.relative_to(_ROOT).parts
  }
  page = _ROOT / "estimator_ckpt" / "files" / "page" / "assets"
  assets = {path.relative_to(_ROOT).as_posix() for path in page.iterdir()}
  wanted = modules | assets | {"estimator_ckpt/py.typed"}
  # Besides, there is the directory of the wheel's metadata, with the licence.
  extra = {n for n in names - wanted if not n.startswith("estimator_ckpt-")}
  problems = [f"lacks {name}" for name in sorted(wanted - names)]
  problems += [f"has {name}" for name in sorted(extra)]
  if not any(name.endswith("/LICENSE") for name in names):
    problems.append("lacks LICENSE")
  for field in ("Author", "Summary", "License-Expression", "Description-Content-Type"):
    if not re.search(rf"^{field}: \S", headers, re.MULTILINE):
      problems.append(f"has no {field} for its page")
  for line in headers.splitlines():
    if line.startswith("Requires-Dist: tensorflow") and "extra ==" not in line:
      problems.append(f"forces a TensorFlow on its user: {line}")
  if problems:
    sys.exit("\n".join(f"wheel: {wheel.name} {problem}" for problem in problems))
  print(f"{wheel.name}: {len(names)} files, as they should be")


class Readme(NamedTuple):
  """What README has to type, and what it shows.

  Attributes:
    oldest_pip: the version that it allows.
    wheel: the command that builds the wheel.
    bare: the commands that install without TensorFlow.
    extra: the commands that install with it.
    line: the first of these, which trains an Estimator.
    training: the blocks of its introduction, which train an Estimator and read.
    shell: the blocks that use nothing but the command line.
    functions: the blocks that use the functions on files.
  """

  oldest_pip: str
  wheel: str
  bare: list[str]
  extra: list[str]
  line: str
  training: str
  shell: str
  functions: str


def read_readme(text: str) -> Readme:
  """Finds all of that, or exits and says what is missing."""
  found = _pages.blocks(text)
  shell = [b.code for b in found if b.language == "bash"]
  lines = [line.strip() for code in shell for line in code.splitlines()]
  pip = [line for line in lines if line.startswith("pip ")]
  python = [b for b in found if b.language == "python" and b.runs]
  first_heading = text.count("\n", 0, text.index("\n## ")) + 1
  oldest = re.search(r"\bpip (\d+) or later", text)
  readme = Readme(
    oldest.group(1) if oldest else "",
    next((line for line in pip if line.startswith("pip wheel ")), ""),
    [line for line in pip if "install" in line.split() and "[tensorflow]" not in line],
    [line for line in pip if "install" in line.split() and "[tensorflow]" in line],
    next((b.code for b in python if b.line < first_heading), ""),
    "\n".join(b.code for b in python if b.line < first_heading),
    "".join(code for code in shell if code.startswith("estimator-ckpt ")),
    "\n".join(
      b.code
      for b in python
      if not re.search(r"\btf\b|tensorflow|keras|\bmodel\b", b.code)
    ),
  )
  for name, value in zip(Readme._fields, readme):
    if not value:
      sys.exit(f"wheel: README has no {name}")
  return readme


class Environment(NamedTuple):
  """An environment that was made with nothing but pip in it."""

  directory: pathlib.Path
  sources: pathlib.Path

  def shell(self, script: str, cwd: pathlib.Path) -> str:
    """Runs lines of shell as somebody who has activated the environment."""
    path = f"{self.directory / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "2"}
    # Each environment lives for a minute; most of its modules are never imported.
    environ["PIP_NO_COMPILE"] = "1"
    environ.pop("PYTHONPATH", None)
    return run("bash", "-euo", "pipefail", "-c", script, cwd=cwd, env=environ)

  def install(self, line: str) -> None:
    """Runs a line of README in the copy of the checkout, and checks what came of it."""
    self.shell(line.replace("pip ", "pip --quiet ", 1), self.sources)
    self.shell("pip check", self.sources)

  def python(self, code: str, cwd: pathlib.Path) -> str:
    """Runs Python code there."""
    script = cwd / "block.py"
    script.write_text(code, encoding="utf-8")
    return self.shell("python block.py", cwd)


def make(
  python: str, pip: str, directory: pathlib.Path, sources: pathlib.Path
) -> Environment:
  """Makes an environment with a version of pip, "" for the newest, or its own."""
  run(python, "-I", "-m", "venv", directory)
  wanted = [f"pip=={pip}.*"] if pip else ["--upgrade", "pip"]
  own = (directory / "bin" / "python", "-I", "-m", "pip", "--disable-pip-version-check")
  if pip != _OWN:
    run(*own, "install", "--quiet", *wanted)
  print(run(*own, "--version").partition(" from")[0])
  return Environment(directory, sources)


def work_directory(parent: pathlib.Path, model_dir: pathlib.Path) -> pathlib.Path:
  """A new directory with a model_dir in it."""
  made = pathlib.Path(tempfile.mkdtemp(dir=parent))
  shutil.copytree(model_dir, made / "model_dir")
  return made


def use_files(environment: Environment, readme: Readme, cwd: pathlib.Path) -> None:
  """Uses what is there without TensorFlow."""
  print(environment.python(_USE, cwd), end="")
  for program in ("estimator-ckpt", "python -m estimator_ckpt"):
    shown = environment.shell(f"{program} --help", cwd)
    if "convert" not in shown:
      sys.exit(f"wheel: {program} --help does not tell of convert:\n{shown}")
  environment.shell(readme.shell, cwd)
  environment.python(f"import estimator_ckpt as eckpt\n{readme.functions}", cwd)


def train(
  environment: Environment, readme: Readme, scratch: pathlib.Path
) -> pathlib.Path:
  """Runs README's first blocks; returns the model_dir that they leave."""
  cwd = pathlib.Path(tempfile.mkdtemp(dir=scratch))
  versions = "print(tf.__version__, np.__version__)\n"
  print(
    f"TensorFlow, NumPy: {environment.python(readme.training + versions, cwd)}", end=""
  )
  return cwd / "model_dir"


def train_beside(
  environment: Environment, readme: Readme, wheel: pathlib.Path, version: str
) -> None:
  """Installs the wheel beside a TensorFlow, which then trains README's first block."""
  environment.shell(f"pip --quiet install tensorflow=={version}", environment.sources)
  environment.install(f"pip install '{wheel}[tensorflow]'")
  with tempfile.TemporaryDirectory(dir=environment.directory) as directory:
    cwd = pathlib.Path(directory)
    versions = "print(tf.__version__, np.__version__)\n"
    shown = environment.python(readme.line + versions, cwd).split()
    print(f"TensorFlow, NumPy: {' '.join(shown)}")
    if shown[0] != version:
      sys.exit(f"wheel: TensorFlow {version} was replaced by {shown[0]}")
    environment.shell("estimator-ckpt verify model_dir", cwd)
    if "dual" not in environment.shell("estimator-ckpt ls model_dir", cwd):
      sys.exit(f"wheel: TensorFlow {version} wrote no dual checkpoint")


def find_pythons() -> dict[str, str]:
  """The Pythons of this machine that can make an environment, by version."""
  environment = _load("third_party/python/environment.py")
  pythons = {}
  for version in _VERSIONS:
    try:
      found = environment.find_python((version,))
    except environment.NoPythonError:
      continue
    if found.has_ensurepip:
      pythons[version] = found.path
  return pythons


def check(scratch: pathlib.Path, beside_all: bool) -> None:
  """Does all of it in a directory."""
  readme = read_readme(_README)
  pythons = find_pythons()
  training = [version for version in _TRAINING if version in pythons]
  if not training:
    sys.exit(f"wheel: this machine has no Python {' or '.join(_TRAINING)} with venv")
  for version in sorted(set(_TRAINING) - set(training)):
    print(f"wheel: not tried with Python {version}, which this machine lacks")
  sources = scratch / "sources"
  copy_sources(sources)
  before = files(sources)

  start = time.monotonic()

  @contextlib.contextmanager
  def environment(version: str, pip: str, kind: str) -> Iterator[Environment]:
    made = scratch / f"python{version}-pip{pip or '-newest'}-{kind}"
    print(f"\n== {made.name} after {time.monotonic() - start:.0f} s", flush=True)
    yield make(pythons[version], pip, made, sources)
    shutil.rmtree(made)

  if beside_all:
    with environment(training[-1], "", "build") as made:
      made.shell(readme.wheel, sources)
    (wheel,) = (sources / "dist").glob("*.whl")
    for version, tensorflow in _BESIDE[1:]:
      if version not in pythons:
        print(f"wheel: TensorFlow {tensorflow} not tried: no Python {version} here")
        continue
      with environment(version, _OWN, f"tensorflow{tensorflow}") as made:
        train_beside(made, readme, wheel, tensorflow)
    print(f"\nwheel: all well after {time.monotonic() - start:.0f} s")
    return

  # An environment with TensorFlow takes minutes, so each pip has one.
  combinations = [(training[-1], ""), (training[0], readme.oldest_pip)]
  with environment(*combinations[0], "training") as made:
    made.shell(readme.wheel, sources)
    (wheel,) = (sources / "dist").glob("*.whl")
    check_contents(wheel)
    for line in readme.extra:
      made.install(line)
    model_dir = train(made, readme, scratch)
  advised = combinations[-1]
  newest = max(pythons, key=lambda version: int(version.split(".")[1]))
  if newest not in training:
    combinations.append((newest, ""))
  for version, pip in combinations:
    with environment(version, pip, "files") as made:
      for line in readme.bare:
        made.install(line)
      use_files(made, readme, work_directory(scratch, model_dir))
      if (version, pip) == advised:
        made.install(_ADVICE)
        train(made, readme, scratch)
  old, tensorflow = _BESIDE[0]
  if old in pythons:
    with environment(old, _OWN, "files") as made:
      made.install(f"pip install '{wheel}'")
      use_files(made, readme, work_directory(scratch, model_dir))
    with environment(old, _OWN, f"tensorflow{tensorflow}") as made:
      train_beside(made, readme, wheel, tensorflow)
  else:
    print(f"wheel: not tried with Python {old}, which this machine lacks")
  left = {n for n in files(sources) - before if not n.startswith("dist/")}
  if left:
    sys.exit(f"wheel: installing leaves files in the checkout: {sorted(left)[:5]}")
  print(f"\nwheel: all well after {time.monotonic() - start:.0f} s")


def main() -> None:
  """The program."""
  with tempfile.TemporaryDirectory(prefix="wheel_") as temporary:
    arguments = sys.argv[1:]
    beside_all = "--beside-all" in arguments
    if beside_all:
      arguments.remove("--beside-all")
    check(pathlib.Path([*arguments, temporary][0]).absolute(), beside_all)


if __name__ == "__main__":
  main()
