from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.checkpoint.name_map import NameMap, Rule
from estimator_ckpt.errors import OptionError


def _apply(rules, names, **kwargs):
  return NameMap.parse(rules).apply(names, **kwargs)


@pytest.mark.parametrize(
  "rules, names, expected",
  [
    ("a:b", ["a", "c"], ["b", "c"]),
    ("old/:new/", ["old/a/b", "older/a", "x/old/a"], ["new/a/b", "older/a", "x/old/a"]),
    ("old/:", ["old/a/b"], ["a/b"]),
    (
      r"(.*)/weights:\1/kernel",
      ["a/weights", "a/weights_1"],
      ["a/kernel", "a/weights_1"],
    ),
    (r"(?P<l>l\d+)/w:layer/\g<l>/w", ["l12/w"], ["layer/l12/w"]),
    (r"(.*):tower/\1", ["a", "b/c"], ["tower/a", "tower/b/c"]),
    # `a.b` is a name here; as a regular expression it would also match `axb`.
    ("a.b:c", ["axb", "a.b"], ["axb", "c"]),
    # A literal `:` in a name.
    (r"it\:0:it\:1", ["it:0"], ["it:1"]),
    (r"(?:old|ancient)/w:w", ["ancient/w"], ["w"]),
    # The first matching rule counts, so rules that swap two names do not chain.
    (["a:b", "b:a"], ["a", "b"], ["b", "a"]),
    (["net/w:net/v", "net/:other/"], ["net/w", "net/b"], ["net/v", "other/b"]),
  ],
)
def test_rules(rules, names, expected):
  assert _apply(rules, names) == dict(zip(names, expected))


def test_a_slot_and_an_average_go_with_their_variable():
  names = [
    "net/w",
    "net/w/Adam",
    "net/w/Adam_1",
    "opt/net/w/Momentum",
    "net/w/ExponentialMovingAverage",
    "Adam/net/w/m",
    "net/w_other",
  ]
  assert list(_apply("net/w:lib/v", names).values()) == [
    "lib/v",
    "lib/v/Adam",
    "lib/v/Adam_1",
    "opt/lib/v/Momentum",
    "lib/v/ExponentialMovingAverage",
    "Adam/lib/v/m",
    "net/w_other",
  ]


@pytest.mark.parametrize(
  "of, slot, expected",
  [
    ("a", "a/Adam", "new/Adam"),
    ("a", "a/ExponentialMovingAverage/biased", "new/ExponentialMovingAverage/biased"),
    ("m", "net/m/part_0/Momentum_1", "net/new/part_0/Momentum_1"),
    ("Adam", "Adam/Adam", "new/Adam"),
    ("a", "a/a/Adam", "a/new/Adam"),
    ("d", "Adam/m/d", "Adam/m/new"),
    ("d", "Adam/d/m", "Adam/new/m"),
  ],
)
def test_a_slot_has_its_variables_name_as_whole_steps(of, slot, expected):
  assert _apply({of: "new"}, [of, slot]) == {of: "new", slot: expected}


def test_a_regular_expression_that_is_meant_for_a_variable_takes_its_slots_along():
  names = ["net/a/w", "net/a/w/Adam", "net/a/w/Adam_1", "net/Adam/a/w/m"]
  assert list(_apply(r"net/(.*)/(.*):lib/\1_\2", names).values()) == [
    "lib/a_w",
    "lib/a_w/Adam",
    "lib/a_w/Adam_1",
    "lib/Adam/a/w_m",
  ]
  # A rule that matches slots alone applies to the slots.
  assert list(_apply(["net/a/w:v", r"(.*)/Adam:\1/m"], names).values())[:3] == [
    "v",
    "net/a/w/m",
    "v/Adam_1",
  ]


def test_a_slot_that_a_rule_names_goes_where_it_says():
  names = ["w", "w/Adam"]
  assert list(_apply(["w:v", "w/Adam:kept"], names).values()) == ["v", "kept"]


def test_a_key_stands_for_its_name():
  keys = {"model/w/.ATTRIBUTES/VARIABLE_VALUE": "dense/w", "model/w": "dense/w"}
  for old in keys:
    assert _apply({old: "w"}, ["dense/w"], keys=keys) == {"dense/w": "w"}


def test_none_and_an_empty_dict_change_nothing():
  for empty in (None, {}, []):
    assert not NameMap.parse(empty)
    assert _apply(empty, ["a"]) == {"a": "a"}


def test_a_file_of_rules(tmp_path):
  path = tmp_path / "names.txt"
  path.write_text("# from the old model\n\n  a:b  \nold/:new/\n", encoding="utf-8")
  rules = NameMap.parse(str(path)).rules
  assert rules == (Rule("a", "b", f"{path}:3"), Rule("old/", "new/", f"{path}:4"))
  assert NameMap.parse(path).rules == rules
  assert [str(rule) for rule in NameMap.parse([str(path), "x:y"]).rules][-1] == "x:y"


def test_a_file_of_an_editor_that_marks_it(tmp_path):
  path = tmp_path / "names.txt"
  path.write_bytes(b"\xef\xbb\xbfa:b\r\nc:d\r\n")
  assert _apply(path, ["a", "c"]) == {"a": "b", "c": "d"}


def test_a_json_file(tmp_path):
  path = tmp_path / "names.json"
  path.write_text(json.dumps({"a": "b", "ü/": "u/"}), encoding="utf-8")
  assert _apply(path, ["a", "ü/w"]) == {"a": "b", "ü/w": "u/w"}


@pytest.mark.parametrize(
  "content, words",
  [
    (b"", "has no rules"),
    (b"# nothing\n", "has no rules"),
    (b"a:b\nc\n", r":2: 'c' is no rule 'old:new'"),
    (b"\xff", "UTF-8"),
    (b"a:b\nc:d  # new\n", ":2: .* comments have lines of their own"),
    (b'{"a": ', "no valid JSON"),
    (b'{"a": 1}', "a name is text, and not 'a': 1"),
  ],
)
def test_a_file_that_is_none(tmp_path, content, words):
  path = tmp_path / "names.txt"
  path.write_bytes(content)
  with pytest.raises(OptionError, match=words):
    NameMap.parse(str(path))


@pytest.mark.parametrize(
  "rule, words",
  [
    ("a", "neither a rule 'old:new' nor a file"),
    ("a:b:c", "2 colons"),
    (":b", r"write '\(\.\*\):b"),
    ("a:", "to leave a variable out, use strip"),
  ],
)
def test_what_is_no_rule(rule, words):
  with pytest.raises(OptionError, match=words):
    NameMap.parse(rule)


@pytest.mark.parametrize(
  "rule, words",
  [
    ("dense/kernal:w", "'dense/kernal:w' matches none of the 2 names; the nearest"),
    ("old/:new/", "matches none"),
    ("dense/:new", "in the place of the scope 'dense/'"),
    ("a(:b", "no regular expression either"),
    (r"(.*)/kernel:\2", "does not fit the regular expression"),
    (r"dense/(x?)kernel:\1", "leaves no name for 'dense/kernel'"),
  ],
)
def test_a_rule_that_cannot_be_meant(rule, words):
  with pytest.raises(OptionError, match=words):
    _apply(rule, ["dense/kernel", "dense/bias"])


def test_names_that_would_become_one_are_listed():
  with pytest.raises(OptionError) as caught:
    _apply(["a/:c/", "b/:c/"], ["a/w", "b/w", "d"])
  assert "  'c/w' <- 'a/w', 'b/w'" in str(caught.value)
  with pytest.raises(OptionError, match="'d' <- 'a', 'd'"):
    _apply("a:d", ["a", "d"])


_NAMES = st.lists(
  st.text("ab/_.:\\+", min_size=1, max_size=6), min_size=1, max_size=8, unique=True
)


@given(_NAMES, st.text("ab/.", max_size=3))
def test_the_inverse_map_gives_the_names_back(names, prefix):
  there = _apply({r"(?s)(.*)": prefix.replace("\\", "") + r"\1"}, names)
  back = {new: old for old, new in there.items()}
  assert [back[new] for new in there.values()] == names
  assert list(there.values()) == [prefix + name for name in names]


def test_a_rule_says_how_an_array_is_rearranged():
  given = ["a/kernel: b/kernel reshape", "w:dense/w transpose=1,0", "x:y"]
  names = NameMap.parse(given)
  renamed, forms = names.apply_with_forms(["a/kernel", "a/kernel/Adam", "w", "x"])
  assert renamed["a/kernel"] == "b/kernel" and renamed["w"] == "dense/w"
  assert renamed["a/kernel/Adam"] == "b/kernel/Adam"
  assert {name: (rule.axes, rule.reshape) for name, rule in forms.items()} == {
    "a/kernel": ((), True),
    "w": ((1, 0), False),
  }
  assert [str(rule) for rule in NameMap.parse({"w": "v transpose=2,0,1"}).rules] == [
    "w:v transpose=2,0,1"
  ]
  # Written out, the rules are the same rules.
  assert NameMap.parse([str(rule) for rule in names.rules]).rules == names.rules


def test_the_first_rule_that_matches_a_name_says_its_form_too():
  names = NameMap.parse([r"(.*)/b:\1/b", r"(.*)/.*:\1/k reshape"])
  renamed, forms = names.apply_with_forms(["a/b", "c/d"])
  assert renamed == {"a/b": "a/b", "c/d": "c/k"} and list(forms) == ["c/d"]


@pytest.mark.parametrize("form", ["transpose=1", "transpose=0,0", "transpose="])
def test_a_transposition_lists_every_axis_once(form):
  with pytest.raises(OptionError, match="lists every axis of the array once"):
    NameMap.parse({"w": f"v {form}"})


def test_a_mere_renaming_rearranges_nothing():
  with pytest.raises(OptionError, match="'w:v reshape': reshape is for a conv"):
    NameMap.parse({"w": "v reshape"}).apply(["w"])
