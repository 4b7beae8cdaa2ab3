"""HTML made of small functions: every text is escaped unless it is Markup already."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias


class Markup(str):
    """HTML that is safe as it stands."""

    __slots__ = ()


Content: TypeAlias = "str | Iterable[Content] | None"

VOID = frozenset({"input", "link", "meta", "img", "br"})


def element(name: str, /, *content: Content, **attributes: str | int | bool | None) -> Markup:
    """An HTML element.

    In the names of attributes `_` stands for `-`, and one at the end is dropped (`class_`).
    An attribute that is None or False is left out; True has no value.
    """
    given = [(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items()]
    opened = "".join(
        f" {key}" if value is True else f' {key}="{escape(str(value))}"'
        for key, value in given
        if value is not None and value is not False
    )
    if name in VOID:
        return Markup(f"<{name}{opened}>")
    return Markup(f"<{name}{opened}>{fragment(*content)}</{name}>")


def fragment(*content: Content) -> Markup:
    """Several contents, one after the other."""
    return Markup("".join(map(_render, content)))


def _render(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return escape(content)
    return "".join(map(_render, content))
