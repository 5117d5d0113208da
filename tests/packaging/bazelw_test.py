"""bazelw says in one sentence why Bazel is missing, and how much it downloads."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest

_BAZELW = pathlib.Path(__file__).parent.parent.parent / "bazelw"
_TOOLS = "bash cat dirname env grep head mktemp paste rm sed tee".split()

_APT = """#!/bin/bash
case "$*" in
  *--assume-no*)
    echo 'Need to get 244 MB of archives.'
    echo 'After this operation, 720 MB of additional disk space will be used.' ;;
  *install*) {install} ;;
esac
"""


@pytest.fixture
def bazelw(tmp_path):
  """`bazelw(user, apt)` runs bazelw as a user, with a few tools and that `apt-get`."""

  def run(user: int, install: str | None) -> subprocess.CompletedProcess:
    for tool in _TOOLS:
      (tmp_path / tool).symlink_to(shutil.which(tool))
    programs = {"id": f"#!/bin/bash\necho {user}\n", "sudo": "#!/bin/bash\nexit 1\n"}
    if install is not None:
      programs["apt-get"] = _APT.format(install=install)
    for name, script in programs.items():
      (tmp_path / name).write_text(script)
      (tmp_path / name).chmod(0o755)
    return subprocess.run(
      [tmp_path / "bash", _BAZELW, "test", "//..."],
      env={"PATH": str(tmp_path), "TMPDIR": str(tmp_path)},
      capture_output=True,
      text=True,
      check=False,
    )

  return run


def test_it_says_how_much_it_fetches_and_how_far_it_is(bazelw, tmp_path):
  fake = tmp_path / "bazel"
  done = bazelw(
    0,
    """
    printf 'dlstatus:1:%s:Retrieving\\n' 0.5 10 60 100
    printf 'pmstatus:bazel:%s:Unpacking\\n' 10 100
    echo 'Setting up bazel ...'
    printf '#!/bin/bash\\necho "bazel: $*"\\n' >"""
    f"{fake}; /bin/chmod 755 {fake}",
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout == "bazel: test //...\n"
  assert done.stderr.splitlines() == [
    (
      "bazelw: fetching bazel-bootstrap python3-venv with apt-get, once: "
      "244 MB to download, 720 MB on disk"
    ),
    "bazelw: downloading 0%",
    "bazelw: downloading 60%",
    "bazelw: downloading 100%",
    "bazelw: installing 10%",
    "bazelw: installing 100%",
  ]


def test_no_network_is_one_sentence_with_the_next_step(bazelw):
  reason = "Temporary failure resolving 'deb.debian.org'"
  done = bazelw(
    0, f'for i in 1 2 3; do echo "E: Failed to fetch {reason}"; done; exit 100'
  )
  assert done.returncode == 127
  assert done.stderr.splitlines()[-1] == (
    f"bazelw: Debian's packages cannot be reached ({reason}); with a network, or a proxy "
    "in apt's configuration, run the same command again."
  )
  assert len(done.stderr.splitlines()) == 2  # the other says how much is downloaded


def test_no_right_to_install_is_one_sentence_with_the_next_step(bazelw):
  done = bazelw(1000, "exit 100")
  assert done.returncode == 127
  assert done.stderr == (
    "bazelw: there is no Bazel here, and installing it takes root: "
    "apt-get install bazel-bootstrap python3-venv\n"
  )


def test_another_system_is_told_what_to_install(bazelw):
  done = bazelw(0, None)
  assert done.returncode == 127
  assert done.stderr == (
    "bazelw: there is no Bazel here and no apt-get; install a Bazel from 4 to 7 and, "
    "where it is not on the PATH, name it: BAZEL=/path/to/bazel ./bazelw ...\n"
  )
