"""The event catalogue: one file per event type.

Add an event type by adding a file with a subclass of `Event`; nothing else needs to change.
"""

from app.events.event import Event, EventDefinitionError, EventType, event_type

__all__ = ["Event", "EventDefinitionError", "EventType", "event_type"]
