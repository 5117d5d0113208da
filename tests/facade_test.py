"""The public surface: what `import estimator_ckpt` offers, and that it stays so."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import estimator_ckpt as eckpt

_FILES = [
  "CheckpointError",
  "CheckpointFormat",
  "CheckpointReader",
  "WarmStart",
  "convert",
  "detect_format",
  "diff",
  "inspect",
  "merge",
  "open_checkpoint",
  "rename",
  "strip",
  "verify",
]
_TRAINING = [
  "BestCheckpointExporter",
  "checkpointing",
  "dual_checkpointing",
  "dual_saver",
  "dual_scaffold",
  "stopped_by_signal",
  "tf1_saver",
  "tf1_scaffold",
  "tf2_checkpointing",
  "tf2_saver",
  "tf2_scaffold",
  "warm_start_settings",
  "with_checkpointing",
]


def test_the_public_names_are_these():
  assert sorted(eckpt.__all__) == sorted(_FILES + _TRAINING)
  assert set(eckpt.__all__) <= set(dir(eckpt))


def test_no_public_name_is_that_of_a_module():
  # The import system would put the module in the place of the public name.
  (directory,) = eckpt.__path__
  modules = {path.stem for path in pathlib.Path(directory).iterdir()}
  assert modules.isdisjoint(eckpt.__all__)


def test_what_works_on_files_loads_no_tensorflow_and_no_numpy():
  names = ", ".join(f"eckpt.{name}" for name in _FILES)
  code = (
    f"import sys, estimator_ckpt as eckpt; {names}; "
    "print([m for m in ('tensorflow', 'numpy', 'rich', 'absl') if m in sys.modules])"
  )
  printed = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert printed.stdout.strip() == "[]"


def test_an_unknown_name():
  try:
    eckpt.dual_scafold  # noqa: B018
  except AttributeError as error:
    assert "dual_scafold" in str(error)
  else:
    raise AssertionError("a name that is not there was found")
