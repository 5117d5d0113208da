from __future__ import annotations

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.checkpoint.state_file import CheckpointState
from estimator_ckpt.errors import CorruptCheckpointError
from tests import golden


def _parse(text):
  return state_lib.parse_state(text.encode(), "model_dir/checkpoint")


def test_what_tensorflow_writes_is_read():
  text = (
    'model_checkpoint_path: "model.ckpt-200"\n'
    'all_model_checkpoint_paths: "model.ckpt-100"\n'
    'all_model_checkpoint_paths: "model.ckpt-200"\n'
    "all_model_checkpoint_timestamps: 1700000000.1234567\n"
    "all_model_checkpoint_timestamps: 1.7e+09\n"
    "last_preserved_timestamp: 1699999999.5\n"
  )
  assert _parse(text) == CheckpointState(
    "model.ckpt-200",
    ("model.ckpt-100", "model.ckpt-200"),
    (1700000000.1234567, 1.7e9),
    1699999999.5,
  )


@pytest.mark.parametrize("name", ["tf1.15/adam_dense", "tf2.15/module_tree"])
def test_the_state_files_of_goldens_are_read_and_written_alike(name, tmp_path):
  directory = golden.directory(name)
  state = state_lib.read_state(directory)
  assert state.model_checkpoint_path == golden.path(name)
  assert state.model_checkpoint_path in state.all_model_checkpoint_paths
  with open(os.path.join(directory, "checkpoint"), "rb") as file:
    text = file.read()
  state_lib.write_state(directory, state, name=str(tmp_path / "checkpoint"))
  assert (tmp_path / "checkpoint").read_bytes() == text


def test_relative_paths_are_those_of_the_directory(tmp_path):
  (tmp_path / "checkpoint").write_text(
    'model_checkpoint_path: "sub/m-2"\nall_model_checkpoint_paths: "/abs/m-1"\n'
  )
  state = state_lib.read_state(str(tmp_path))
  assert state.model_checkpoint_path == f"{tmp_path}/sub/m-2"
  assert state.all_model_checkpoint_paths == ("/abs/m-1",)
  assert state_lib.read_state(f"{tmp_path}/") == state


def test_remote_paths_are_absolute(tmp_path):
  (tmp_path / "checkpoint").write_text('model_checkpoint_path: "gs://bucket/m-1"')
  state = state_lib.read_state(str(tmp_path))
  assert state.model_checkpoint_path == "gs://bucket/m-1"


def test_without_a_file_there_is_no_state(tmp_path):
  assert state_lib.read_state(str(tmp_path)) is None
  assert state_lib.read_state(str(tmp_path / "missing")) is None


def test_paths_within_the_directory_are_written_relative(tmp_path):
  directory = str(tmp_path / "model_dir")
  os.mkdir(directory)
  state = CheckpointState(
    f"{directory}/m-2", (f"{tmp_path}/other/m-1", f"{directory}/sub/m-2"), (1.5,), 2.0
  )
  state_lib.write_state(directory, state)
  with open(f"{directory}/checkpoint") as file:
    assert file.read() == (
      'model_checkpoint_path: "m-2"\n'
      f'all_model_checkpoint_paths: "{tmp_path}/other/m-1"\n'
      'all_model_checkpoint_paths: "sub/m-2"\n'
      "all_model_checkpoint_timestamps: 1.5\n"
      "last_preserved_timestamp: 2.0\n"
    )
  assert state_lib.read_state(directory) == state
  assert os.listdir(directory) == ["checkpoint"]


def test_a_directory_can_be_moved(tmp_path):
  os.mkdir(tmp_path / "a")
  state_lib.write_state(f"{tmp_path}/a", CheckpointState(f"{tmp_path}/a/m-1"))
  os.rename(tmp_path / "a", tmp_path / "b")
  state = state_lib.read_state(f"{tmp_path}/b")
  assert state.model_checkpoint_path == f"{tmp_path}/b/m-1"


def test_a_relative_directory_and_a_link_to_it_are_the_same(tmp_path, monkeypatch):
  os.mkdir(tmp_path / "real")
  os.symlink("real", tmp_path / "link")
  monkeypatch.chdir(tmp_path)
  for directory, path in [
    ("real", "real/m-1"),
    ("real", f"{tmp_path}/real/m-1"),
    (f"{tmp_path}/link", f"{tmp_path}/real/m-1"),
    ("link", "real/m-1"),
  ]:
    state_lib.write_state(directory, CheckpointState(path))
    text = (tmp_path / "real" / "checkpoint").read_text()
    assert text == 'model_checkpoint_path: "m-1"\n'
  monkeypatch.chdir("real")
  state_lib.write_state("", CheckpointState("..m-1"))
  assert state_lib.read_state("").model_checkpoint_path == "..m-1"


_paths = st.text(min_size=1, max_size=20) | st.text("\"'\\\n\t\0é/", min_size=1)


@given(
  _paths,
  st.lists(_paths, max_size=3),
  st.lists(st.floats(allow_nan=False), max_size=3),
  st.none() | st.floats(allow_nan=False),
)
def test_states_round_trip(latest, paths, timestamps, preserved):
  state = CheckpointState(latest, tuple(paths), tuple(timestamps), preserved)
  assert state_lib.parse_state(state_lib.format_state(state), "x") == state


def test_paths_that_are_no_text_round_trip():
  state = CheckpointState(os.fsdecode(b"m\xff-1"))
  text = state_lib.format_state(state)
  assert text == b'model_checkpoint_path: "m\\377-1"\n'
  assert state_lib.parse_state(text, "x") == state


@pytest.mark.parametrize(
  "quoted, path",
  [
    (r'"a\"b\'c"', "a\"b'c"),
    (r"'a\"b\'c'", "a\"b'c"),
    ("'it\"s'", 'it"s'),
    (r'"\303\244"', "ä"),
    (r'"\xc3\xa4"', "ä"),
    (r'"\u00e4\U0001F600"', "ä😀"),
    ('"ä"', "ä"),
    (r'"\n\r\t\a\b\f\v\\\?"', "\n\r\t\a\b\f\v\\?"),
    ('"a" "b"\n  \'c\'', "abc"),
    (r'"\0"', "\0"),
  ],
)
def test_texts_are_unescaped_as_protocol_buffers_do(quoted, path):
  assert _parse(f"model_checkpoint_path: {quoted}").model_checkpoint_path == path


@pytest.mark.parametrize(
  "text",
  [
    'model_checkpoint_path:"m"  # a comment\n',
    "# model_checkpoint_path: 'x'\nmodel_checkpoint_path: 'm';",
    'new_field: 7 model_checkpoint_path: "m" newer_field: SOME_NAME',
    'numbers: [1, 2] list: ["a", "b"] model_checkpoint_path: "m",',
    'model_checkpoint_path: "x" model_checkpoint_path: "m"',
    'empty: [] model_checkpoint_path: "m"',
  ],
)
def test_what_is_unknown_is_passed_over(text):
  assert _parse(text) == CheckpointState("m")


def test_lists_may_be_in_brackets():
  state = _parse(
    'model_checkpoint_path: "m" all_model_checkpoint_paths: ["a" "b", "c"]'
    " all_model_checkpoint_timestamps: [1, -2.5, inf]"
  )
  assert state.all_model_checkpoint_paths == ("ab", "c")
  assert state.all_model_checkpoint_timestamps == (1.0, -2.5, math.inf)


@pytest.mark.parametrize(
  "text, value", [("1f", 1.0), ("inf", math.inf), ("-inf", -math.inf)]
)
def test_numbers_are_those_of_the_text_format(text, value):
  state = _parse(f'model_checkpoint_path: "m" last_preserved_timestamp: {text}')
  assert state.last_preserved_timestamp == value


@pytest.mark.parametrize(
  "text, problem",
  [
    ("", "names no model_checkpoint_path"),
    ('model_checkpoint_path: ""', "names no model_checkpoint_path"),
    ("hello world", "names no model_checkpoint_path"),
    ('model_checkpoint_path: "m', "line 1 has '\"m'"),
    ('a: 1\nmodel_checkpoint_path: "m\n', "line 2 has '\"m"),
    ("model_checkpoint_path: 7", "7 where a quoted path"),
    ("model_checkpoint_path: m", "m where a quoted path"),
    ("model_checkpoint_path:", "ends within a field"),
    ('model_checkpoint_path: "m" x { a: 1 }', "line 1 has '{ a: 1 }'"),
    ('model_checkpoint_path: "m" x: < a: 1 >', "line 1 has '< a: 1 >'"),
    ('model_checkpoint_path: "m" x: [1', "ends within a field"),
    ('"m"', "where a field's name should be"),
    ('model_checkpoint_path: "m" last_preserved_timestamp: "1"', "a number should be"),
    ('model_checkpoint_path: "m" last_preserved_timestamp: 1-2', "a number should be"),
    (r'model_checkpoint_path: "\q"', r"the escape \\q does not exist"),
    (r'model_checkpoint_path: "\UFFFFFFFF"', "0xffffffff does not exist"),
    ("\0\1\2", "line 1 has"),
  ],
)
def test_other_files_are_refused_with_the_reason(text, problem):
  with pytest.raises(CorruptCheckpointError, match=problem) as caught:
    _parse(text)
  start = "model_dir/checkpoint: not a checkpoint state file: "
  assert str(caught.value).startswith(start)


@given(
  st.binary(max_size=60)
  | st.lists(
    st.sampled_from(
      [
        "model_checkpoint_path",
        ":",
        '"m"',
        "'",
        '"',
        "{",
        "}",
        "[",
        "]",
        ",",
        "1",
        "\\",
      ]
    ),
    max_size=14,
  ).map(lambda tokens: " ".join(tokens).encode())
)
def test_any_bytes_are_a_state_or_a_checkpoint_error(data):
  try:
    state = state_lib.parse_state(data, "x")
  except CorruptCheckpointError:
    return
  assert state_lib.parse_state(state_lib.format_state(state), "x") == state
