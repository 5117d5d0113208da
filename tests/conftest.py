"""Settings for every test, and the few fixtures that tests share."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests import graph_text, trained

# Set before TensorFlow is imported: no C++ log, no search for a GPU.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

_ROOT = pathlib.Path(__file__).parent.parent
_FORMATS = ("tf1", "tf2", "dual")
# The parameters, and the fixtures with one, that have each format.
_EACH_FORMAT = ("checkpoint_format", "life", "prepared", "trained")

try:
  import hypothesis
except ImportError:  # an environment of another TensorFlow
  pass
else:
  # The same examples in every run, and no verdict by the clock: a test result is
  # kept until what it depends on changes.
  hypothesis.settings.register_profile(
    "repeatable",
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
  )
  # HYPOTHESIS_PROFILE=default looks for new examples.
  hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_addoption(parser: pytest.Parser) -> None:
  """Adds an option for the runs that repeat all tests under another TensorFlow."""
  parser.addoption(
    "--checkpoint_format",
    choices=_FORMATS,
    help="of a test that runs once for each checkpoint_format, run only this case",
  )


def pytest_collection_modifyitems(
  config: pytest.Config, items: list[pytest.Item]
) -> None:
  """Leaves out the other formats' cases, with --checkpoint_format."""
  wanted = config.getoption("--checkpoint_format")
  others = {name for name in _FORMATS if wanted and name != wanted}
  left_out = [item for item in items if _format_of(item) in others]
  config.hook.pytest_deselected(items=left_out)
  items[:] = [item for item in items if item not in left_out]


def _format_of(item: pytest.Item) -> object:
  case = getattr(item, "callspec", None)
  found = [case.params.get(name) for name in _EACH_FORMAT] if case else []
  return next(filter(None, found), None)


@pytest.fixture(scope="session")
def testdata() -> pathlib.Path:
  """The directory of golden checkpoints and data sets; tests must not write to it."""
  return _ROOT / "testdata"


@pytest.fixture(scope="session")
def interpreter():
  """`interpreter("tf115")` is the path of that environment's Python.

  A test that asks for one is skipped where the machine has no Python for it.
  """
  program = _ROOT / "third_party" / "python" / "environment.py"
  asked = {}

  def find(name: str) -> str:
    if name not in asked:
      asked[name] = subprocess.run(
        [sys.executable, str(program), name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
      )
    answer = asked[name]
    if answer.returncode == 3:
      pytest.skip(answer.stderr.strip())
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()

  return find


@pytest.fixture(scope="session", autouse=True)
def graphs_without_text() -> None:
  """Training is quicker; the modules of all tests, and TensorFlow, are imported by now."""
  graph_text.leave_out()


# Directories of tests that have ended.
_ended: set[str] = set()


@pytest.fixture(autouse=True)
def every_trained_checkpoint_converts_there_and_back(
  request: pytest.FixtureRequest,
  tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
  """After a test, converts the checkpoints that training wrote tf1 -> tf2 -> dual -> tf1.

  Includes the checkpoints of fixtures that several tests share. Leaves out those of a
  test with the marker `no_round_trip(reason)`.
  """
  yield
  base = tmp_path_factory.getbasetemp()
  prefixes = trained.new_checkpoints(base, _ended)
  own = request.node.funcargs.get("tmp_path")
  if own is not None:
    _ended.add(own.name)
  if not request.node.get_closest_marker("no_round_trip"):
    trained.check(prefixes, _new_directories(tmp_path_factory))


def _new_directories(factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
  while True:
    yield factory.mktemp(trained.CONVERTED)
