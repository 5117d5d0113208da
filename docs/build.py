"""Builds the pages and the API reference as HTML, and checks every link in them.

usage: build.py DIRECTORY

Pages are README.md and the other Markdown files; they keep their places, so that their
links hold. The API reference is pdoc's, from the docstrings, in `api/`. The exit status
is 1 if a link leads nowhere.

pdoc imports what it documents, so TensorFlow has to be there: the tests' environment
runs this program, with the packages of the environment `docs` behind its own.
"""

from __future__ import annotations

import argparse
import ast
import html.parser
import os
import pathlib
import posixpath
import re
import shutil
import subprocess
import sys
import urllib.parse
import warnings
from collections.abc import Iterable

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_TEMPLATES = _ROOT / "docs" / "templates"
_PAGES = (
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  *(f"docs/{path.name}" for path in sorted((_ROOT / "docs").glob("*.md"))),
  "testdata/README.md",
  "testdata/digits/README.md",
  "testdata/text/README.md",
)
_NAVIGATION = {
  "For users": (
    "README",
    "walk_through",
    "migrating",
    "training",
    "keras",
    "after_estimator",
    "bert",
    "command_line",
    "view",
    "object_stores",
    "troubleshooting",
    "guarantees",
    "performance",
    "versions",
  ),
  "For maintainers": (
    "CONTRIBUTING",
    "architecture",
    "format",
    "stock_tensorflow",
    "CHANGELOG",
  ),
}
_PUBLIC = (
  "estimator_ckpt",
  "estimator_ckpt.keras",
  "estimator_ckpt.flags",
  "estimator_ckpt.errors",
)
_API_INDEX = "api/index.md"  # written here, in place of pdoc's


def slug(heading: str) -> str:
  """The anchor of a heading, as GitHub makes it.

  Args:
    heading: its text.

  Returns:
    The anchor, without `#`.

  Example:
    >>> slug("Save a TF1 checkpoint, in `TF2`")
    'save-a-tf1-checkpoint-in-tf2'
  """
  return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def html_name(page: str) -> str:
  """Where a page's HTML goes: README.md is the index of its directory."""
  stem, _ = posixpath.splitext(page)
  directory, name = posixpath.split(stem)
  return posixpath.join(directory, ("index" if name == "README" else name) + ".html")


def _html_link(link: str) -> str:
  """A link to another page's Markdown as one to its HTML."""
  path, hash_, anchor = link.partition("#")
  if "://" in path or not path.endswith(".md"):
    return link
  return html_name(path) + hash_ + anchor


def _renderer() -> object:
  from markdown_it import MarkdownIt
  from mdit_py_plugins.anchors import anchors_plugin
  from pygments import highlight
  from pygments.formatters import HtmlFormatter
  from pygments.lexers import get_lexer_by_name

  def colour(code: str, language: str, _: object) -> str:
    lexer = get_lexer_by_name(
      language if language in ("python", "bash", "diff") else "text"
    )
    inner = highlight(code, lexer, HtmlFormatter(nowrap=True))
    return f'<pre class="pdoc-code codehilite"><code>{inner}</code></pre>\n'

  markdown = MarkdownIt("commonmark", {"highlight": colour}).enable("table")
  markdown.use(anchors_plugin, max_level=4, slug_func=slug)

  def link_open(self: object, tokens: list, index: int, options: object, _: object):  # type: ignore[no-untyped-def]
    tokens[index].attrSet("href", _html_link(tokens[index].attrGet("href")))
    return self.renderToken(tokens, index, options, _)  # type: ignore[attr-defined]

  markdown.add_render_rule("link_open", link_open)
  return markdown


def _title(text: str) -> str:
  return text.partition("\n")[0].lstrip("# ")


def modules() -> dict[str, str]:
  """What the API reference has: modules, with what each is for."""
  found = {}
  for path in sorted((_ROOT / "estimator_ckpt").rglob("*.py")):
    parts = path.relative_to(_ROOT).with_suffix("").parts
    if "examples" in parts or parts[-1] == "__main__":
      continue
    name = ".".join(parts).removesuffix(".__init__")
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    found[name] = docstring.partition("\n")[0]
  return found


def _api_index() -> str:
  """The page that leads to every module."""
  purposes = modules()

  def table(names: Iterable[str]) -> list[str]:
    rows = [f"| [`{n}`]({n.replace('.', '/')}.html) | {purposes[n]} |" for n in names]
    return ["| module | what it is |", "|---|---|", *rows, ""]

  lines = ["# API reference", "", "## Public modules", "", *table(_PUBLIC)]
  lines += [
    "## Inside",
    "",
    "These may change. [Architecture](../docs/architecture.md)",
  ]
  lines += ["says how they belong together.", ""]
  for name in purposes:
    if name.count(".") == 1:
      inside = [n for n in purposes if n == name or n.startswith(f"{name}.")]
      if len(inside) > 1:
        lines += [f"### {name.partition('.')[2]}", "", *table(inside)]
  return "\n".join(lines)


def build_pages(directory: pathlib.Path) -> None:
  """Writes every page as HTML."""
  import jinja2
  from pygments.formatters import HtmlFormatter

  markdown = _renderer()
  environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_TEMPLATES))
  template = environment.get_template("page.html.jinja2")
  texts = {page: (_ROOT / page).read_text(encoding="utf-8") for page in _PAGES}
  texts[_API_INDEX] = _api_index()
  by_stem = {posixpath.basename(p)[:-3]: p for p in reversed(_PAGES)}
  for page, text in texts.items():
    here = posixpath.dirname(page) or "."
    menu = [
      (
        group,
        [
          (
            posixpath.relpath(html_name(by_stem[stem]), here),
            "Overview" if stem == "README" else _title(texts[by_stem[stem]]),
            by_stem[stem] == page,
          )
          for stem in stems
        ],
      )
      for group, stems in _NAVIGATION.items()
    ]
    target = directory / html_name(page)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
      template.render(
        title=_title(text),
        menu=menu,
        api=posixpath.relpath(html_name(_API_INDEX), here),
        is_api=page == _API_INDEX,
        body=markdown.render(text),  # type: ignore[attr-defined]
        colours=HtmlFormatter(style="friendly").get_style_defs(".codehilite"),
      ),
      encoding="utf-8",
    )
  for picture in (_ROOT / "docs").glob("*.svg"):
    shutil.copy(picture, directory / "docs" / picture.name)
  shutil.copytree(_ROOT / "docs" / "images", directory / "docs" / "images")


def build_api(directory: pathlib.Path) -> None:
  """Writes the API reference."""
  import pdoc
  import pdoc.render

  import estimator_ckpt

  # The facade loads its names on first use; pdoc looks at what is loaded.
  for name in estimator_ckpt.__all__:
    setattr(estimator_ckpt, name, getattr(estimator_ckpt, name))
  pdoc.render.configure(
    docformat="google",
    template_directory=_TEMPLATES,
    footer_text=f"estimator_ckpt {estimator_ckpt.__version__}",
  )
  # Annotations name what is imported for the type checker alone. Packages are named
  # beside their modules, which pdoc leaves out where `__all__` does not list them.
  for expected in ("Error parsing type annotation", "The module specification"):
    warnings.filterwarnings("ignore", message=expected)
  pdoc.pdoc(*modules(), output_directory=directory / "api")


class _Links(html.parser.HTMLParser):
  """The links and the anchors of a page."""

  def __init__(self, text: str):
    super().__init__()
    self.links: list[str] = []
    self.anchors: set[str] = set()
    self.feed(text)

  def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
    for name, value in attrs:
      if name == "id" or (tag == "a" and name == "name"):
        self.anchors.add(value or "")
      elif (tag, name) in (("a", "href"), ("img", "src")):
        self.links.append(value or "")


def broken_links(directory: pathlib.Path) -> list[str]:
  """The links between the files of a directory that lead nowhere.

  Args:
    directory: where the HTML is.

  Returns:
    A line for each: the page, the link, and what is not there.
  """
  pages = {
    path: _Links(path.read_text(encoding="utf-8")) for path in directory.rglob("*.html")
  }
  broken = []
  for path, page in sorted(pages.items()):
    for link in dict.fromkeys(page.links):
      parts = urllib.parse.urlsplit(link)
      if parts.scheme or parts.netloc:
        continue
      # pdoc lists what a class inherits from one that it does not document.
      if not parts.path and path.is_relative_to(directory / "api" / "estimator_ckpt"):
        continue
      target = path
      if parts.path:
        target = pathlib.Path(
          os.path.normpath(path.parent / urllib.parse.unquote(parts.path))
        )
      where = f"{path.relative_to(directory)}: {link}"
      if not target.exists():
        broken.append(f"{where}: there is no such file")
      elif parts.fragment and target in pages:
        if urllib.parse.unquote(parts.fragment) not in pages[target].anchors:
          broken.append(f"{where}: there is no such anchor")
  return broken


def _environment(name: str) -> pathlib.Path:
  program = _ROOT / "third_party" / "python" / "environment.py"
  done = subprocess.run(
    [sys.executable, str(program), name], stdout=subprocess.PIPE, text=True, check=False
  )
  if done.returncode:
    sys.exit(done.returncode)
  return pathlib.Path(done.stdout.strip())


def _in_environment(directory: pathlib.Path) -> int:
  """Runs this program where pdoc and TensorFlow are."""
  packages = _environment("docs").parent.parent.glob("lib/python*/site-packages")
  environ = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", PYTHONDONTWRITEBYTECODE="1")
  environ["PYTHONPATH"] = os.pathsep.join(map(str, [_ROOT, *packages]))
  command = [_environment("tf215"), __file__, "--here", directory]
  return subprocess.call([str(part) for part in command], env=environ)


def main() -> int:
  """The program; returns its exit status."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
  parser.add_argument("directory", type=pathlib.Path, help="where the HTML goes")
  parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
  args = parser.parse_args()
  directory = args.directory.absolute()
  if not args.here:
    return _in_environment(directory)
  build_api(directory)
  build_pages(directory)
  broken = broken_links(directory)
  print("\n".join(broken), file=sys.stderr, end="\n" if broken else "")
  count = sum(1 for _ in directory.rglob("*.html"))
  print(f"{directory / 'index.html'}: {count} pages, {len(broken)} broken links")
  return 1 if broken else 0


if __name__ == "__main__":
  sys.exit(main())
