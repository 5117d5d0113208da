"""Verifying what an object graph refers to: keys, slots, names, and that all is reached.

TensorFlow restores what it finds, and says nothing of two objects that share a key: it
restores one of them.
"""

from __future__ import annotations

import bisect
import collections

from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.joined import joined_entry, tensorflow_stitches
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.bundle.shards import num_elements
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.verify.findings import Findings

# More tensors of one object are not looked for: any key may begin with a short one.
_MAX_SUFFIXED = 64


def check_graph(index: Index, graph: ObjectGraph, findings: Findings) -> None:
  """Checks an object graph against the index.

  Args:
    index: the checkpoint's index.
    graph: its object graph.
    findings: is added to.
  """
  checker = _GraphChecker(index, graph, findings)
  checker.check_keys()
  checker.check_shared_keys()
  checker.check_slots()
  checker.check_reachable()
  checker.check_skipped()
  checker.check_names()


def check_save_counter(index: Index, graph: ObjectGraph, findings: Findings) -> None:
  """Checks that there is a counter of saves, as `tf.train.Checkpoint.save` writes it.

  Args:
    index: the checkpoint's index.
    graph: its object graph.
    findings: is added to.
  """
  node_id = graph.lookup((layout.SAVE_COUNTER,))
  if node_id is not None:
    columns = graph.columns
    stored = zip(columns.owners, columns.keys)
    if any(key in index for owner, key in stored if owner == node_id):
      return
  findings.warning(
    "no-save-counter",
    "it has no save_counter, so tf.train.Checkpoint.restore(...).assert_consumed()"
    " fails, as on everything that Checkpoint.write wrote",
  )


def check_without_graph(index: Index, findings: Findings) -> None:
  """Checks that a checkpoint without an object graph has no keys that need one.

  Args:
    index: the checkpoint's index.
    findings: is added to.
  """
  keys = [key for key in index.keys() if layout.ATTRIBUTES in key]
  # A variable may be called like an object key; most are not.
  if keys and 2 * len(keys) >= len(index) - 1:
    findings.error(
      "graph-missing",
      f"{len(keys)} of its keys are object keys, and it has no object graph"
      f" ({layout.OBJECT_GRAPH_KEY}), so tf.train.Checkpoint cannot restore them",
      keys[0],
    )


class _GraphChecker:
  """Checks one object graph."""

  def __init__(self, index: Index, graph: ObjectGraph, findings: Findings):
    self._index = index
    self._graph = graph
    self._columns = graph.columns
    self._findings = findings
    self._keys = index.keys()
    # The tensors of each attribute's key.
    self._stored = {key: self._tensors(key) for key in self._columns.keys}

  def _tensors(self, key: str) -> list[str]:
    """The tensors of an attribute: of its key, or of keys that begin with it.

    A lookup table has two tensors, `<key>-keys` and `<key>-values`.
    """
    if key in self._index:
      return [key]
    start = bisect.bisect_left(self._keys, key)
    return [
      candidate
      for candidate in self._keys[start : start + _MAX_SUFFIXED]
      if key and candidate.startswith(key) and "/" not in candidate[len(key) :]
    ]

  def check_keys(self) -> None:
    """Checks that the object graph and the index have the same object keys."""
    columns = self._columns
    for node_id, attribute, key in zip(
      columns.owners, columns.attributes, columns.keys
    ):
      if not self._stored[key]:
        self._findings.error(
          "graph-key-missing",
          f"node {node_id} of the object graph has its {attribute} there, and the index"
          " has no such tensor",
          key,
        )
      if layout.ATTRIBUTES not in key:
        self._findings.error(
          "graph-key-form",
          f"the object graph refers to it, and it has no {layout.ATTRIBUTES}: TensorFlow 2.11"
          " and newer cannot restore the checkpoint",
          key,
        )
    known = {key for keys in self._stored.values() for key in keys}
    for key in sorted(known) if self._index.has_slices else ():
      entry = self._index.entry(key)
      if entry.slices and not tensorflow_stitches(entry.dtype):
        self._findings.warning(
          "graph-key-in-parts",
          f"tf.train.Checkpoint cannot restore it: it is in {len(entry.slices)} parts,"
          f" and TensorFlow does not put parts of {dtypes.name(entry.dtype)} together",
          key,
        )
    unknown = [
      key for key in self._keys if layout.ATTRIBUTES in key and key not in known
    ]
    for key in unknown:
      self._findings.warning(
        "graph-key-unused", "no object of the object graph has this tensor", key
      )

  def check_shared_keys(self) -> None:
    """Checks that no two objects have one key: TensorFlow would restore only one."""
    nodes = collections.defaultdict(set)
    for node_id, key in zip(self._columns.owners, self._columns.keys):
      nodes[key].add(node_id)
    for key, sharing in nodes.items():
      if len(sharing) > 1:
        shown = ", ".join(map(str, sorted(sharing)[:5]))
        self._findings.error(
          "graph-key-shared",
          f"nodes {shown} of the object graph all have it; TensorFlow restores the last"
          " of them only, and does not say so",
          key,
        )

  def check_slots(self) -> None:
    """Checks that slot variables are stored, and none is there twice."""
    owners = set(self._columns.owners)
    for node_id, slots in self._columns.slots:
      seen = set()
      for slot in slots:
        what = (
          f"slot {slot.slot_name!r} that optimizer node {node_id} of the object graph"
          f" has for node {slot.original_variable_node_id}"
        )
        if slot.slot_variable_node_id not in owners:
          self._findings.error("graph-slot", f"{what} stores no value")
        place = (slot.original_variable_node_id, slot.slot_name)
        if place in seen:
          self._findings.error("graph-slot", f"{what} is there twice")
        seen.add(place)

  def check_reachable(self) -> None:
    """Checks that every object with a value is a slot, or reachable from the root."""
    columns = self._columns
    children = collections.defaultdict(list)
    for parent, _, child in self._graph.edges():
      children[parent].append(child)
    reached = {0}
    queue = [0]
    while queue:
      for child in children.get(queue.pop(), ()):
        if child not in reached:
          reached.add(child)
          queue.append(child)
    for _, slots in columns.slots:
      reached.update(slot.slot_variable_node_id for slot in slots)
    for node_id, key in zip(columns.owners, columns.keys):
      if node_id not in reached:
        self._findings.warning(
          "graph-unreachable",
          f"no path leads from the root of the object graph to its node {node_id}, so"
          " nothing restores it",
          key,
        )

  def check_skipped(self) -> None:
    """Checks that no object above a stored value says that there is none below it."""
    if not self._columns.valueless:
      return
    has_values = set(self._columns.owners)
    parents = collections.defaultdict(list)
    for parent, _, child in self._graph.edges():
      parents[child].append(parent)
    queue = list(has_values)
    while queue:
      for parent in parents[queue.pop()]:
        if parent not in has_values:
          has_values.add(parent)
          queue.append(parent)
    for node_id in self._columns.valueless:
      if node_id in has_values:
        self._findings.error(
          "graph-skipped",
          f"node {node_id} of the object graph says that nothing below it has a value,"
          " and something does: TensorFlow skips it where it restores on creation",
        )

  def check_names(self) -> None:
    """Checks that a variable has the same bytes by its name as by its object key."""
    found = self._graph.keys_by_full_name().items()
    keys = {name: key for name, key in found if key is not None}
    places = zip(
      self._index.places(list(keys)), self._index.places(list(keys.values()))
    )
    for (name, key), (by_name_at, by_key_at) in zip(keys.items(), places):
      if by_name_at is None or by_key_at is None or by_name_at == by_key_at:
        continue
      by_name, by_key = self._index.entry(name), self._index.entry(key)
      # Slices of some types are stored as a whole too: TensorFlow reads no others so.
      if (
        by_name.slices and not by_key.slices and not tensorflow_stitches(by_name.dtype)
      ):
        by_name = joined_entry(self._index, name) or by_key
      # A copy is as good: Estimator's step may be one. So is a reshape: Keras has some
      # weights in another shape than TF1.
      if _contents(by_name) != _contents(by_key) or by_name.slices:
        self._findings.error(
          "names-disagree",
          f"the object graph says that this variable is {key!r}, which has other"
          " contents: readers by name and readers by object get different values",
          name,
        )


def _contents(entry: BundleEntry) -> tuple[int, int, int, int]:
  return entry.dtype, num_elements(entry.shape), entry.size, entry.crc32c
