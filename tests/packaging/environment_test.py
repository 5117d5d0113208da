"""environment.py finds a suitable Python, or says in one sentence that none suits."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

_DIRECTORY = pathlib.Path(__file__).parent.parent.parent / "third_party" / "python"
_HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def environment(program, monkeypatch):
  monkeypatch.delenv("ESTIMATOR_CKPT_ENVIRONMENTS", raising=False)
  monkeypatch.delenv("PYENV_ROOT", raising=False)
  return program("third_party/python/environment.py")


@pytest.fixture
def pythons(tmp_path):
  """`pythons(directory, name, answer)` makes a program that prints `answer`."""

  def make(directory, name, version, ensurepip=True):
    path = tmp_path / directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = f'["{path}", "{version}", {str(ensurepip).lower()}]'
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return str(path)

  return make


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, str(_DIRECTORY / "environment.py"), *arguments],
    capture_output=True,
    text=True,
    env={"PATH": "/usr/bin:/bin", **environ},
    check=False,
  )


def test_python_on_the_path_is_found(environment, pythons, tmp_path, monkeypatch):
  path = pythons("bin", "python3.99", "3.99")
  monkeypatch.setenv("PATH", str(tmp_path / "bin"))
  assert environment.find_python(("3.99",)).path == path


def test_python3_is_taken_when_it_is_of_the_version(
  environment, pythons, tmp_path, monkeypatch
):
  path = pythons("bin", "python3", "3.99")
  monkeypatch.setenv("PATH", str(tmp_path / "bin"))
  assert environment.find_python(("3.99",)).path == path


def test_one_that_answers_with_another_version_is_passed_over(
  environment, pythons, tmp_path, monkeypatch
):
  pythons("one", "python3.99", "3.98")
  path = pythons("two", "python3.99", "3.99")
  monkeypatch.setenv("PATH", f"{tmp_path / 'one'}:{tmp_path / 'two'}")
  assert environment.find_python(("3.99",)).path == path


def test_newest_of_pyenv_is_found(environment, pythons, tmp_path, monkeypatch):
  pythons("pyenv/versions/3.99.9/bin", "python3.99", "3.99")
  path = pythons("pyenv/versions/3.99.10/bin", "python3.99", "3.99")
  monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
  assert environment.find_python(("3.99",)).path == path


def test_preferred_version_comes_first(environment, pythons, tmp_path, monkeypatch):
  pythons("bin", "python3.98", "3.98")
  path = pythons("bin", "python3.99", "3.99")
  monkeypatch.setenv("PATH", str(tmp_path / "bin"))
  assert environment.find_python(("3.99", "3.98")).path == path


def test_one_with_pip_comes_before_one_without(
  environment, pythons, tmp_path, monkeypatch
):
  bare = pythons("bin", "python3.99", "3.99", ensurepip=False)
  path = pythons("bin", "python3.98", "3.98")
  monkeypatch.setenv("PATH", str(tmp_path / "bin"))
  assert environment.find_python(("3.99", "3.98")).path == path
  assert environment.find_python(("3.99",)).path == bare


def test_named_python_comes_before_all(environment, pythons, tmp_path, monkeypatch):
  pythons("bin", "python3.99", "3.99")
  path = pythons("elsewhere", "python", "3.98")
  monkeypatch.setenv("PATH", str(tmp_path / "bin"))
  monkeypatch.setenv("ESTIMATOR_CKPT_PYTHON398", path)
  assert environment.find_python(("3.99", "3.98")).path == path


def test_named_python_of_another_version_is_refused():
  done = run(
    "tf115", ESTIMATOR_CKPT_PYTHON37=sys.executable, ESTIMATOR_CKPT_CACHE="/no"
  )
  assert done.returncode == 3
  assert done.stderr == (
    f"tf115: ESTIMATOR_CKPT_PYTHON37 is set to {sys.executable}, "
    f"which is Python {_HERE}\n"
  )


def test_named_python_that_does_not_run_is_refused():
  done = run("tf115", ESTIMATOR_CKPT_PYTHON37="/no/python", ESTIMATOR_CKPT_CACHE="/no")
  assert done.returncode == 3
  assert done.stderr == (
    "tf115: ESTIMATOR_CKPT_PYTHON37 is set to /no/python, which does not run\n"
  )


def test_no_python_is_one_sentence(environment):
  with pytest.raises(environment.NoPythonError) as raised:
    environment.find_python(("3.99", "3.98"))
  assert str(raised.value) == (
    "no Python 3.99 or 3.98 on the PATH or in pyenv's versions directory "
    "(one that is elsewhere can be named: ESTIMATOR_CKPT_PYTHON399=/path/to/python)"
  )


def test_environment_in_the_cache_is_given_without_making_it(tmp_path, environment):
  lock = (_DIRECTORY / "tf115_lock.txt").read_bytes()
  digest = environment.hashlib.sha256(lock).hexdigest()[:16]
  made = tmp_path / f"tf115-{digest}"
  (made / "bin").mkdir(parents=True)
  (made / "bin" / "python").touch()
  half = run("tf115", ESTIMATOR_CKPT_CACHE=str(tmp_path), ESTIMATOR_CKPT_PYTHON37="/no")
  assert half.returncode == 3  # made anew after an interruption, or an error
  (made / "complete").touch()
  whole = run(
    "tf115", ESTIMATOR_CKPT_CACHE=str(tmp_path), ESTIMATOR_CKPT_PYTHON37="/no"
  )
  assert whole.stdout == f"{made}/bin/python\n"


def test_answer_from_outside_the_sandbox_is_given_on(tmp_path):
  answer = tmp_path / "tf115" / "answer.txt"
  answer.parent.mkdir()
  answer.write_text("0\n/some/python\n")
  done = run("tf115", ESTIMATOR_CKPT_ENVIRONMENTS=str(tmp_path))
  assert (done.returncode, done.stdout) == (0, "/some/python\n")
  answer.write_text("3\ntf115: no Python 3.7 here\n")
  done = run("tf115", ESTIMATOR_CKPT_ENVIRONMENTS=str(tmp_path))
  assert (done.returncode, done.stderr) == (3, "tf115: no Python 3.7 here\n")


def test_answer_can_go_to_a_file(tmp_path):
  answer = tmp_path / "answer.txt"
  done = run(
    "tf115",
    f"--answer={answer}",
    ESTIMATOR_CKPT_CACHE="/no",
    ESTIMATOR_CKPT_PYTHON37="/no/python",
  )
  assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
  assert answer.read_text() == (
    "3\ntf115: ESTIMATOR_CKPT_PYTHON37 is set to /no/python, which does not run\n"
  )


def test_no_network_is_one_sentence_with_the_next_step(environment):
  says = "WARNING: Retrying: Temporary failure in name resolution; ERROR: none found"
  with pytest.raises(environment.InstallError) as raised:
    environment._run(["sh", "-c", f"echo '{says}'; exit 1"], "installing")
  assert str(raised.value) == (
    "the package index cannot be reached (Temporary failure in name resolution); with a "
    "network, or with an index or proxy in pip's configuration, run the same command "
    "again"
  )


def test_another_failure_is_shown_as_it_is(environment):
  with pytest.raises(environment.InstallError) as raised:
    environment._run(["sh", "-c", "echo hashes differ; exit 7"], "installing it")
  assert str(raised.value) == "installing it failed (exit 7):\nhashes differ"


def test_progress_elsewhere_than_on_a_terminal_is_a_line_now_and_then(
  environment, capsys, monkeypatch
):
  progress = environment._Progress("tf", 2)
  monkeypatch.setattr(progress, "_SECONDS", 0.0)
  for line in (
    "Collecting six==1.17.0 (from -r lock.txt)",
    "  Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)",
    "Collecting tensorflow==2.15.1 (from -r lock.txt)",
    "  Downloading tensorflow-2.15.1-cp311.whl (207.1 MB)",
    "Installing collected packages: six, tensorflow",
  ):
    progress.follow(line)
  progress.end()
  assert capsys.readouterr().err.splitlines() == [
    "tf: 1 of about 2 packages, six==1.17.0",
    "tf: 2 of about 2 packages, tensorflow==2.15.1",
    "tf: 2 of about 2 packages, tensorflow: 207.1 MB",
    "tf: installing them",
  ]


def test_tensorflow_2_12_is_not_offered_a_python_that_its_estimator_cannot_run_on(
  environment,
):
  """That Estimator calls `inspect.getargspec`, which Python 3.11 no longer has."""
  assert environment.ENVIRONMENTS["tf212"].pythons == ("3.10", "3.9")


def test_test_that_forgot_to_ask_outside_is_told(tmp_path):
  done = run("tf115", ESTIMATOR_CKPT_ENVIRONMENTS=str(tmp_path))
  assert done.returncode == 1
  assert "target in BUILD lacks the environment tf115" in done.stderr


@pytest.mark.parametrize("lock", sorted(p.name for p in _DIRECTORY.glob("*_lock.txt")))
def test_lock_file_has_hashes_and_nothing_of_the_machine(lock):
  text = (_DIRECTORY / lock).read_text()
  logical = text.replace("\\\n", " ").splitlines()
  entries = [line for line in logical if not line.startswith("#")]
  assert entries
  for entry in entries:
    assert re.match(r"[a-z0-9.\-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry), entry
  assert "://" not in text
  assert not re.search(r"index-url|find-links|trusted-host|(^|\s)/\w", text)


def test_every_environment_has_a_lock_file(environment):
  for made in environment.ENVIRONMENTS.values():
    assert (_DIRECTORY / made.lock).exists()


def test_packages_built_from_source_have_their_tools_locked(environment):
  for made in environment.ENVIRONMENTS.values():
    if made.source_only:
      lock = (_DIRECTORY / made.lock).read_text()
      tools = environment._entries(lock, ("setuptools", "wheel"))
      names = re.findall(r"^\S+(?===)", tools, re.MULTILINE)
      assert sorted(set(names)) == ["setuptools", "wheel"]
      assert "--hash" in tools
