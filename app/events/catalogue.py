"""The catalogue: which event types there are, and which topic carries which."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from types import ModuleType

from app.events.event import Event, EventDefinitionError, event_type


class Catalogue:
    """The event types that an application knows.

    Raises EventDefinitionError when two types have one name, or two plain types one topic.
    """

    def __init__(self, types: Iterable[type[Event]]) -> None:
        self._by_name: dict[str, type[Event]] = {}
        self._by_topic: dict[str, list[type[Event]]] = {}
        for cls in types:
            self._add(cls)

    def _add(self, cls: type[Event]) -> None:
        event = event_type(cls)
        other = self._by_name.get(event.name)
        if other is cls:
            return
        if other is not None:
            raise EventDefinitionError(
                f"two event types are named {event.name!r}: {_place(other)} and {_place(cls)}; rename one of them"
            )
        siblings = self._by_topic.setdefault(event.topic, [])
        for sibling in siblings:
            if event.plain and event_type(sibling).plain:
                raise EventDefinitionError(
                    f"topic {event.topic!r} has two plain event types, {_place(sibling)} and {_place(cls)}: "
                    "records without CloudEvents headers could be either; keep plain=True on one"
                )
        self._by_name[event.name] = cls
        siblings.append(cls)

    def __iter__(self) -> Iterator[type[Event]]:
        return iter(self._by_name.values())

    def of_topic(self, topic: str) -> list[type[Event]]:
        """The event types that the topic carries, in the order of registration."""
        return list(self._by_topic.get(topic, ()))

    def topics(self) -> list[str]:
        """All topics that carry events."""
        return list(self._by_topic)


def discover(package: ModuleType) -> list[type[Event]]:
    """Import every module of the package and give the event types that are defined in them."""
    return [
        value
        for module in import_all(package)
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Event)
        and value is not Event
        and value.__module__ == module.__name__
    ]


def import_all(package: ModuleType) -> list[ModuleType]:
    """Import every module below a package, in the order of their names."""
    names = sorted(
        info.name for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    )
    return [importlib.import_module(name) for name in names]


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
