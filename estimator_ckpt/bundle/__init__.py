"""A checkpoint on disk, the bundle: its index, its data files, how they are written."""

from __future__ import annotations

from estimator_ckpt.bundle.commit import BundleWriter as BundleWriter
from estimator_ckpt.bundle.commit import clean_directory as clean_directory
from estimator_ckpt.bundle.commit import clean_leftovers as clean_leftovers
from estimator_ckpt.bundle.commit import find_leftovers as find_leftovers
from estimator_ckpt.bundle.file_names import data_path as data_path
from estimator_ckpt.bundle.file_names import index_path as index_path
from estimator_ckpt.bundle.file_names import parse_data_path as parse_data_path
from estimator_ckpt.bundle.index import Index as Index
from estimator_ckpt.bundle.messages import BundleEntry as BundleEntry
from estimator_ckpt.bundle.messages import BundleHeader as BundleHeader
from estimator_ckpt.bundle.messages import TensorSlice as TensorSlice
from estimator_ckpt.bundle.shards import Shards as Shards
from estimator_ckpt.bundle.shards import read_scalar_string as read_scalar_string
from estimator_ckpt.bundle.table import read_table as read_table
from estimator_ckpt.bundle.table import write_table as write_table

__all__ = [
  "BundleEntry",
  "BundleHeader",
  "BundleWriter",
  "Index",
  "Shards",
  "TensorSlice",
  "clean_directory",
  "clean_leftovers",
  "data_path",
  "find_leftovers",
  "index_path",
  "parse_data_path",
  "read_scalar_string",
  "read_table",
  "write_table",
]
