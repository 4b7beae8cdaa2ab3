"""The `Event` base class: an event type is one subclass in one file of this package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
import polars as pl

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,200}")

_POLARS_TYPES: dict[Any, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    datetime: pl.Datetime("ms", "UTC"),
}


class EventDefinitionError(TypeError):
    """An event type is defined in a way that cannot work; the message says what to change."""


@dataclass(frozen=True)
class EventType:
    """What the class keywords of an `Event` said.

    name:    the CloudEvents `type`, such as "order.placed".
    version: of the schema, from 1.
    topic:   the Kafka topic that carries it; several types may share one.
    key:     the field whose value is the record's key, and so its partition; None: no key.
    plain:   records of the topic without CloudEvents headers are of this type.
    time:    the integer field that holds the event time in milliseconds; None: the record's timestamp.
    """

    name: str
    version: int
    topic: str
    key: str | None
    plain: bool
    time: str | None


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class _EventMeta(msgspec.StructMeta):
    def __new__(
        mcls,
        cls_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        type: str | None = None,
        version: int = 1,
        topic: str | None = None,
        key: str | None = None,
        plain: bool = False,
        time: str | None = None,
        **struct_options: Any,
    ) -> Any:
        for option in ("kw_only", "frozen"):  # msgspec does not hand the first one down
            struct_options.setdefault(option, True)
        cls: Any = super().__new__(mcls, cls_name, bases, namespace, **struct_options)
        if type is not None or topic is not None:
            if type is None or topic is None:
                raise EventDefinitionError(
                    f"{cls_name}: give both type= and topic=, as in "
                    f'class {cls_name}(Event, type="order.placed", topic="orders")'
                )
            cls.__event__ = EventType(type, version, topic, key, plain, time)
            _check(cls, cls.__event__)
        elif cls_name != "Event" or bases != (msgspec.Struct,):
            raise EventDefinitionError(
                f"{cls_name}: say which type and topic it has, as in "
                f'class {cls_name}(Event, type="order.placed", topic="orders")'
            )
        return cls


class Event(msgspec.Struct, metaclass=_EventMeta, kw_only=True, frozen=True, gc=False):
    """Base of all event types.

    A subclass names its type, topic and key, and its fields are the schema:

        class OrderPlaced(Event, type="order.placed", topic="orders", key="customer_id"):
            order_id: str
            customer_id: str
            amount: float

    Raises EventDefinitionError at import when the definition cannot work.
    """

    __event__: ClassVar[EventType]


def _check(cls: Any, event: EventType) -> None:
    """Refuse what cannot work, with the reason."""
    where = f"{cls.__module__}.{cls.__qualname__}"
    fields = cls.__struct_fields__
    if not _NAME.fullmatch(event.name):
        raise EventDefinitionError(
            f"{where}: type={event.name!r} must be lower-case words joined by dots, such as 'order.placed'"
        )
    if not _TOPIC.fullmatch(event.topic):
        raise EventDefinitionError(
            f"{where}: topic={event.topic!r} is no Kafka topic name (letters, digits, '.', '_', '-', at most 200)"
        )
    if event.version < 1:
        raise EventDefinitionError(f"{where}: version={event.version} must be 1 or more")
    for field in fields:
        if field.startswith("_"):
            raise EventDefinitionError(
                f"{where}: field {field!r} is reserved: names that begin with an underscore belong to Headrace"
            )
    if not fields:
        raise EventDefinitionError(f"{where}: it has no fields; give it one, such as `id: str`")
    kinds = schema(cls)  # refuses field types that have no column type
    if event.time is not None and kinds.get(event.time, pl.Int64()) != pl.Int64():
        raise EventDefinitionError(
            f"{where}: time={event.time!r} must be a field of whole milliseconds (int), not {kinds[event.time]}"
        )
    if event.key in kinds and kinds[event.key].is_nested():
        raise EventDefinitionError(
            f"{where}: key={event.key!r} must be a text, number, boolean or time, not {kinds[event.key]}"
        )
    for word, field in (("key", event.key), ("time", event.time)):
        if field is not None and field not in fields:
            raise EventDefinitionError(
                f"{where}: {word}={field!r} is not a field; there are: {', '.join(fields)}"
            )


@cache
def schema(cls: type[Event]) -> dict[str, pl.DataType]:
    """The Polars type of each field, in the order of the fields.

    Raises EventDefinitionError for a field whose type has no column type.
    """
    hints = get_type_hints(cls, include_extras=True)
    return {field: _polars_type(cls, field, hints[field]) for field in cls.__struct_fields__}


@cache
def optional(cls: type[Event]) -> set[str]:
    """The fields that may be None."""
    hints = get_type_hints(cls, include_extras=True)
    return {field for field in cls.__struct_fields__ if _may_be_none(hints[field])}


@cache
def filled(cls: type[Event]) -> tuple[str, ...]:
    """The fields that must not be None."""
    return tuple(field for field in cls.__struct_fields__ if field not in optional(cls))


def _may_be_none(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return _may_be_none(get_args(hint)[0])
    return get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint)


def _polars_type(cls: type[Event], field: str, hint: Any) -> pl.DataType:
    if get_origin(hint) is Annotated:
        return _polars_type(cls, field, get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        kinds = [arg for arg in get_args(hint) if arg is not NoneType]
        if len(kinds) == 1:
            return _polars_type(cls, field, kinds[0])
    if get_origin(hint) is Literal:
        kinds = list({type(arg) for arg in get_args(hint)})
        if len(kinds) == 1:
            return _polars_type(cls, field, kinds[0])
    if get_origin(hint) is list:
        return pl.List(_polars_type(cls, field, get_args(hint)[0]))
    if hint in _POLARS_TYPES:
        return _POLARS_TYPES[hint]
    raise EventDefinitionError(
        f"{cls.__module__}.{cls.__qualname__}: field {field!r} has type {hint!r}, which is no column type; "
        "use str, int, float, bool, datetime, a list of these, or one of them `| None`"
    )


def event_type(cls: type[Event]) -> EventType:
    """The type's name, topic, key and so on. EventDefinitionError: not an event type."""
    event = getattr(cls, "__event__", None)
    if not isinstance(event, EventType):
        raise EventDefinitionError(
            f"{cls!r} is not an event type: derive it from Event with type= and topic="
        )
    return event
