"""Builds the wheel, checks what is in it, and uses it where TensorFlow is not.

usage: wheel.py SCRATCH_DIRECTORY

The wheel is built from a copy of what git has and would add, since a build leaves
files behind. It is then installed into an empty environment of every Python from 3.9
to 3.13 that this machine has, the oldest and the newest of them.
"""

from __future__ import annotations

import importlib.util
import pathlib
import shutil
import subprocess
import sys
import zipfile

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")

_USE = """
import sys
import estimator_ckpt
from estimator_ckpt import CheckpointError, CheckpointFormat
loaded = [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]
assert not loaded, loaded
try:
  estimator_ckpt.tf2_checkpointing
except ImportError as e:
  assert "estimator-ckpt[tensorflow]" in str(e), e
else:
  raise AssertionError("tf2_checkpointing is there, and TensorFlow is not")
for name in estimator_ckpt.__all__:
  assert isinstance(name, str)
print("estimator_ckpt", estimator_ckpt.__version__, "on Python", sys.version.split()[0])
"""


def _environment_module():
  path = _ROOT / "third_party" / "python" / "environment.py"
  spec = importlib.util.spec_from_file_location("environment", path)
  module = importlib.util.module_from_spec(spec)
  sys.modules["environment"] = module
  spec.loader.exec_module(module)
  return module


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
  done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, **kwargs)
  if done.returncode:
    sys.exit(f"{done.stdout}\nwheel: failed (exit {done.returncode}): {words[:4]}")
  return done.stdout


def copy_sources(to: pathlib.Path) -> None:
  """Copies what git has, or would have after an `add`."""
  listed = run("git", "ls-files", "-z", "-co", "--exclude-standard", cwd=_ROOT)
  for name in filter(None, listed.split("\0")):
    if (_ROOT / name).exists():
      target = to / name
      target.parent.mkdir(parents=True, exist_ok=True)
      shutil.copyfile(_ROOT / name, target)


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
  wanted = modules | {"estimator_ckpt/py.typed"}
  # Besides, there is the directory of the wheel's metadata, with the licence.
  extra = {n for n in names - wanted if not n.startswith("estimator_ckpt-")}
  problems = [f"lacks {name}" for name in sorted(wanted - names)]
  problems += [f"has {name}" for name in sorted(extra)]
  if not any(name.endswith("/LICENSE") for name in names):
    problems.append("lacks LICENSE")
  for line in headers.splitlines():
    if line.startswith("Requires-Dist: tensorflow") and "extra ==" not in line:
      problems.append(f"forces a TensorFlow on its user: {line}")
  if problems:
    sys.exit("\n".join(f"wheel: {wheel.name} {problem}" for problem in problems))
  print(f"{wheel.name}: {len(names)} files, as they should be")


def use(wheel: pathlib.Path, python: str, directory: pathlib.Path) -> None:
  """Installs the wheel into an empty environment and starts what it brings."""
  run(python, "-I", "-m", "venv", directory)
  binaries = directory / "bin"
  pip = (binaries / "python", "-I", "-m", "pip")
  run(*pip, "install", "--quiet", "--disable-pip-version-check", wheel)
  run(*pip, "check")
  print(run(binaries / "python", "-I", "-c", _USE, cwd=directory), end="")
  shown = run(binaries / "estimator-ckpt", "--help", cwd=directory)
  shown_too = run(binaries / "python", "-I", "-m", "estimator_ckpt", "--help")
  if "convert" not in shown or "convert" not in shown_too:
    sys.exit(f"wheel: estimator-ckpt --help does not tell of convert:\n{shown}")


def main() -> None:
  """The program."""
  scratch = pathlib.Path(sys.argv[1])
  environment = _environment_module()
  pythons = {}
  for version in _VERSIONS:
    try:
      found = environment.find_python((version,))
    except environment.NoPythonError:
      continue
    if found.has_ensurepip:
      pythons[version] = found.path
  if not pythons:
    sys.exit("wheel: this machine has no Python that can make an environment")
  sources = scratch / "sources"
  copy_sources(sources)
  builder = scratch / "builder"
  run(list(pythons.values())[-1], "-I", "-m", "venv", builder)
  pip = (builder / "bin" / "python", "-I", "-m", "pip")
  built = scratch / "wheels"
  run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", built, sources)
  (wheel,) = built.glob("*.whl")
  check_contents(wheel)
  for version in dict.fromkeys((min(pythons, key=_minor), max(pythons, key=_minor))):
    use(wheel, pythons[version], scratch / f"python{version}")


def _minor(version: str) -> int:
  return int(version.split(".")[1])


if __name__ == "__main__":
  main()
