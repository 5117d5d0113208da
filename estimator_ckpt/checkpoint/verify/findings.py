"""Findings: what verifying a checkpoint tells."""

from __future__ import annotations

import enum

from estimator_ckpt import value_classes
from estimator_ckpt.html_table import html_table
from estimator_ckpt.text_table import Column


class Severity(enum.Enum):
  """How much a finding matters."""

  ERROR = "error"
  WARNING = "warning"


@value_classes.dataclass(frozen=True)
class Finding:
  """One thing that is not as it should be.

  Attributes:
    severity: an error makes some reader fail or read something wrong; a warning is
      worth knowing.
    code: what kind of thing it is, for programs: `"checksum"`, `"shard-missing"`.
    message: what was expected, what was found, and what follows from it.
    file: the file or the checkpoint it concerns.
    key: the tensor's key, if it concerns one.
  """

  severity: Severity
  code: str
  message: str
  file: str
  key: str | None = None

  def __str__(self) -> str:
    where = self.file if self.key is None else f"{self.file}: {self.key!r}"
    return f"{self.severity.value}: {where}: {self.message} [{self.code}]"


@value_classes.dataclass(frozen=True)
class VerifyReport:
  """What verifying a checkpoint, or a directory of them, found.

  Attributes:
    path: what was asked for.
    checkpoints: the prefixes of the checkpoints that were verified.
    findings: what was found, empty for sound checkpoints.
    tensors: how many tensors there are; keys of the same bytes are one.
    bytes_read: how many bytes of tensors were read.
  """

  path: str
  checkpoints: tuple[str, ...]
  findings: tuple[Finding, ...]
  tensors: int = 0
  bytes_read: int = 0

  @property
  def ok(self) -> bool:
    """Whether there is no error. There may be warnings."""
    return all(finding.severity is not Severity.ERROR for finding in self.findings)

  def _repr_html_(self) -> str:
    verdict = "sound" if self.ok else "damaged"
    if self.ok and self.findings:
      verdict = "sound, with warnings"
    count = f"{len(self.checkpoints):,} checkpoint"
    count += "" if len(self.checkpoints) == 1 else "s"
    heading = f"{self.path}: {verdict}; {count}, {self.tensors:,} tensors"
    titles = ("severity", "code", "file", "key", "message")
    rows = [
      [f.severity.value, f.code, f.file, f.key or "", f.message] for f in self.findings
    ]
    return html_table(heading, [Column(title) for title in titles], rows)


class Findings:
  """Collects findings about one file or checkpoint.

  Args:
    file: the file or checkpoint, for findings that name no other.
  """

  def __init__(self, file: str):
    self.file = file
    self.found: list[Finding] = []

  def error(
    self, code: str, message: str, key: str | None = None, file: str | None = None
  ) -> None:
    """Adds an error."""
    self._add(Severity.ERROR, code, message, key, file)

  def warning(
    self, code: str, message: str, key: str | None = None, file: str | None = None
  ) -> None:
    """Adds a warning."""
    self._add(Severity.WARNING, code, message, key, file)

  def _add(
    self,
    severity: Severity,
    code: str,
    message: str,
    key: str | None,
    file: str | None,
  ) -> None:
    self.found.append(Finding(severity, code, message, file or self.file, key))
