"""Malicious files."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator_ckpt.bundle import strings
from estimator_ckpt.bundle.messages import BundleEntry, BundleHeader
from estimator_ckpt.checkpoint.object_graph import Node, ObjectGraph, SlotVariable
from tests import golden
from tests.damage import damage
from tests.nothing_lost import hostile

_CORPUS = golden.TESTDATA / "hostile"
_FOUND = sorted(path for path in _CORPUS.glob("*/*") if path.is_file())
_SEEDS = {name: list(hostile.seeds(name)) for name in hostile.TARGETS}


@pytest.mark.parametrize(
  "path", _FOUND, ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_what_was_found_once(path):
  hostile.feed_bounded(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("name", hostile.TARGETS)
def test_golden_seeds(name):
  assert _SEEDS[name]
  for data in _SEEDS[name][:4]:
    hostile.feed_bounded(name, data)


@settings(max_examples=150)
@given(draw=st.data(), name=st.sampled_from(sorted(hostile.TARGETS)))
def test_damaged_bytes(draw, name):
  data = draw.draw(st.sampled_from(_SEEDS[name]))
  hostile.feed(name, damage(draw.draw, data))


@settings(max_examples=150)
@given(draw=st.data())
def test_damaged_messages_under_right_checksums(draw):
  items, data = hostile.decode_checkpoint(
    draw.draw(st.sampled_from(_SEEDS["checkpoint"]))
  )
  for _ in range(draw.draw(st.integers(1, 3))):
    key = draw.draw(st.sampled_from(sorted(items)))
    items[key] = damage(draw.draw, items[key])
  encoded = hostile.encode_checkpoint(items, data)
  hostile.feed(draw.draw(st.sampled_from(["checkpoint", "rewriting"])), encoded)


@settings(max_examples=150)
@given(st.sampled_from(sorted(hostile.TARGETS)), st.binary(max_size=300))
def test_any_bytes(name, data):
  hostile.feed(name, data)


def _checkpoint(entries, header=None, data=b"", graph=None):
  items = {b"": (header or BundleHeader()).serialize()}
  if graph is not None:
    encoded, crc = strings.encode([graph.serialize()])
    key = "_CHECKPOINTABLE_OBJECT_GRAPH"
    entries = {**entries, key: BundleEntry(7, (), 0, len(data), len(encoded), crc)}
    data += encoded
  for key, entry in entries.items():
    items[key.encode("utf-8", "surrogateescape")] = entry.serialize()
  return hostile.encode_checkpoint(items, data)


_BIG = 2**62
_HOSTILE = {
  "a shape of 2^62": _checkpoint({"a": BundleEntry(1, (_BIG,), 0, 0, 4, 0)}),
  "a product that overflows": _checkpoint(
    {"a": BundleEntry(1, (2**31, 2**31, 2**31), 0, 0, 0, 0)}
  ),
  "an offset of 2^62": _checkpoint(
    {"a": BundleEntry(1, (), 0, _BIG, 4, 0)}, data=b"abcd"
  ),
  "a size of 2^62": _checkpoint(
    {"a": BundleEntry(7, (1,), 0, 0, _BIG, 0)}, data=b"abcd"
  ),
  "99999 data files": _checkpoint(
    {"a": BundleEntry(1, (), 99998, 0, 4, 0)}, BundleHeader(num_shards=99999)
  ),
  "2^31 - 1 data files": _checkpoint({}, BundleHeader(num_shards=2**31 - 1)),
  "names that are paths": _checkpoint(
    {
      name: BundleEntry(1, (), 0, 0, 4, 0)
      for name in (
        "/etc/passwd",
        "../../../x",
        "..",
        "a/../../b",
        "\udcff\udc80",
        "a\nb",
      )
    },
    data=b"\0\0\0\0",
  ),
  "strings that say they are long": _checkpoint(
    {"a": BundleEntry(7, (3,), 0, 0, 12, 0)}, data=b"\xff" * 9 + b"\1" + b"\0" * 2
  ),
  "2^40 empty strings": _checkpoint(
    {"a": BundleEntry(7, (2**40,), 0, 0, 4, 0)}, data=b"\0" * 4
  ),
  "an empty shape of 2^62 rows": _checkpoint(
    {"a": BundleEntry(1, (_BIG, 0), 0, 0, 0, 0)}
  ),
}


@pytest.mark.parametrize("target", ["checkpoint", "rewriting"])
@pytest.mark.parametrize("what", _HOSTILE)
def test_numbers_that_are_not_believed(what, target):
  hostile.feed_bounded(target, _HOSTILE[what])


def _deep(depth):
  return ObjectGraph([Node(children={"a": n + 1}) for n in range(depth)] + [Node()])


def _wide(width):
  return ObjectGraph(
    [Node(children={f"c{n}": n + 1 for n in range(width)})] + [Node()] * width
  )


def _graphs():
  yield (
    "cycles",
    ObjectGraph([Node(children={"a": 1, "self": 0}), Node(children={"b": 0})]),
  )
  yield "deep", _deep(1500)
  yield "wide", _wide(1500)
  # Each level doubles the paths: 2^40 of them.
  yield (
    "many paths",
    ObjectGraph(
      [Node(children={"a": n + 1, "b": n + 1}) for n in range(40)] + [Node()]
    ),
  )
  slots = [SlotVariable(1, "m", 2)] * 2000
  yield (
    "slots of slots",
    ObjectGraph(
      [Node(children={"o": 1}), Node(slot_variables=slots), Node(slot_variables=slots)]
    ),
  )


@pytest.mark.parametrize("what", dict(_graphs()))
def test_object_graphs_of_every_shape(what):
  graph = dict(_graphs())[what]
  hostile.feed_bounded("object_graph", graph.serialize())
  for target in ("checkpoint", "rewriting"):
    hostile.feed_bounded(target, _checkpoint({}, graph=graph))


def test_node_numbers_that_lead_nowhere():
  for number in (2, 2**31 - 1, -1):
    graph = ObjectGraph([Node(children={"a": number}), Node()])
    hostile.feed_bounded("object_graph", graph.serialize())
    for target in ("checkpoint", "rewriting"):
      hostile.feed_bounded(target, _checkpoint({}, graph=graph))


@pytest.mark.parametrize(
  "text",
  [
    b"model_checkpoint_path: " + b"'a' " * 5000,
    b"x {" * 20000,
    b'model_checkpoint_path: "\\377\\000"\n',
    b'model_checkpoint_path: "../../../etc/passwd"\nall_model_checkpoint_paths: "/"\n',
    b"all_model_checkpoint_timestamps: " + b"9" * 5000,
    b'model_checkpoint_path: "a"\nall_model_checkpoint_timestamps: [' + b"1," * 20000,
  ],
)
def test_state_files(text):
  hostile.feed_bounded("state", text)
