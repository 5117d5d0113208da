"""What `help` says about the entry points of the library."""

from __future__ import annotations

import inspect
import pydoc

import pytest

import estimator_ckpt as eckpt
from estimator_ckpt.training import scaffolds

_WAYS_IN = (
  "checkpointing",
  "dual_checkpointing",
  "tf2_checkpointing",
  "with_checkpointing",
  "dual_scaffold",
  "tf1_scaffold",
  "tf2_scaffold",
)


def _options(name):
  parameters = inspect.signature(getattr(eckpt, name)).parameters.values()
  return [p for p in parameters if p.kind is p.KEYWORD_ONLY]


@pytest.mark.parametrize("name", _WAYS_IN)
def test_help_names_the_options_and_their_defaults(name):
  text = pydoc.render_doc(getattr(eckpt, name), renderer=pydoc.plaintext)
  assert "checkpoint=None, layout='default', strict=True, max_to_keep=None" in text
  assert "options: Any" not in text


@pytest.mark.parametrize("name", _WAYS_IN)
def test_each_option_that_is_shown_is_one(name):
  scaffolds.check_options({option.name: None for option in _options(name)})


def test_each_option_is_explained_with_an_example():
  text = eckpt.dual_checkpointing.__doc__
  for option in _options("dual_checkpointing"):
    assert f"    {option.name}: " in text
  assert "@eckpt.dual_checkpointing(max_to_keep=3" in text


def test_an_unknown_option_is_an_error_all_the_same():
  with pytest.raises(eckpt.CheckpointError, match="Did you mean 'layout'"):
    eckpt.dual_checkpointing(layuot="flat")
