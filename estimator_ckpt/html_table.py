"""Tables for notebooks: what a value's `_repr_html_` shows.

Styles stand in the elements, and colours are those of the notebook: a table looks right
in a light and in a dark one, and touches nothing else of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from estimator_ckpt.text_table import Column, printable

_MOST_ROWS = 20
_LINE = "1px solid rgba(127,127,127,.35)"
_CELL = f"padding:.15em .7em;border-bottom:{_LINE};overflow-wrap:anywhere"


def html_table(
  heading: str,
  columns: Sequence[Column],
  rows: Sequence[Sequence[str]],
  shown: int = _MOST_ROWS,
) -> str:
  """Lays a table out in HTML.

  Args:
    heading: what it is, which stands above it.
    columns: titles and alignment, from left to right.
    rows: the texts of each row's cells. Texts may hold anything: they are escaped.
    shown: how many rows at most. A line below says how many more there are.

  Returns:
    HTML that stands by itself.

  >>> html_table("<w>", [Column("size", right=True)], [["8 B"]]).count("&lt;w&gt;")
  1
  """
  lines = [f'<div style="margin:.3em 0"><div><b>{_text(heading)}</b></div>']
  if rows:
    lines.append('<table style="border-collapse:collapse;margin:.3em 0">')
    if any(column.title for column in columns):
      cells = [_cell("th", column.title, column) for column in columns]
      lines.append(f"<thead><tr>{''.join(cells)}</tr></thead>")
    lines.append("<tbody>")
    for row in rows[:shown]:
      cells = [_cell("td", text, column) for text, column in zip(row, columns)]
      lines.append(f"<tr>{''.join(cells)}</tr>")
    lines.append("</tbody></table>")
  if len(rows) > shown:
    lines.append(f"<div>and {len(rows) - shown:,} more</div>")
  return "".join([*lines, "</div>"])


def _cell(tag: str, text: str, column: Column) -> str:
  side = "right" if column.right else "left"
  scope = ' scope="col"' if tag == "th" else ""
  return f'<{tag}{scope} style="{_CELL};text-align:{side}">{_text(text)}</{tag}>'


def _text(text: str) -> str:
  import html  # not at the top: commands, which load this, show no HTML

  # Apart from the text around it, for names that are written from right to left.
  return f"<bdi>{html.escape(printable(text))}</bdi>"
