"""The docstrings of the project as Markdown, for the pages that mkdocstrings makes: an extension of Griffe.

Sessions of Python become fenced blocks, `name: what it is` becomes an item of a list, and other indented lines go
on with the item before them.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ITEM = re.compile(r"(?P<names>\w+(?:, \w+)*): (?=\S)")


def markdown(docstring: str) -> str:
    """A docstring's text as Markdown."""
    lines: list[str] = []
    inside = ""
    for line in docstring.splitlines():
        session = line.lstrip().startswith((">>> ", "... ")) or (inside == "session" and line.strip())
        if bool(session) != (inside == "session"):
            lines.append("\n```python" if session else "```\n")
            inside = "session" if session else ""
        item = ITEM.match(line)
        if session:
            line = re.sub(r"^\s*(?:>>>|\.\.\.) |\s*# doctest: .*", "", line)
        elif item:
            line = f"- `{item['names']}`: {line[item.end() :]}"
            lines += [] if inside == "list" else [""]
            inside = "list"
        elif not line.startswith(" "):
            lines += [""] if inside == "list" else []
            inside = ""
        lines.append(line)
    if inside == "session":
        lines.append("```")
    return "\n".join(lines)


class Docstrings(griffe.Extension):
    """Rewrites each docstring as it is read, and leaves private parameters out of signatures."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        func.parameters = griffe.Parameters(*(p for p in func.parameters if not p.name.startswith("_")))

    def on_instance(self, *, obj: griffe.Object | griffe.Alias, **_: Any) -> None:
        if obj.docstring is not None and not obj.is_alias:
            obj.docstring.value = markdown(obj.docstring.value)
