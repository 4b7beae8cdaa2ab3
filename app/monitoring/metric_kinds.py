"""The kinds of metrics: prometheus_client's, with stated labels, made by definition only.

A metric is emitted through its object, and only those of the catalogue (`metrics.py`) are rendered.
All methods may be called from any thread. Call them per batch or checkpoint, never per event.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import prometheus_client as prometheus
from prometheus_client.metrics import MetricWrapperBase

NAMESPACE = "headrace"

# Without these, each counter has a second series that holds nothing but its time of birth.
prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]

Collector = TypeVar("Collector", bound=MetricWrapperBase)


@dataclass(frozen=True)
class Label:
    """A dimension of a metric. `choices`: the only values it may have; empty: any."""

    name: str
    choices: tuple[str, ...] = ()


class Metric(Generic[Collector]):
    """What all kinds share: `name` as Prometheus shows it, `unit`, `labels`, and a `description`
    that says what it means when it rises.

    Series whose labels all have choices stand at zero from the start, so that rates can be taken.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        collector: Collector,
        name: str,
        description: str,
        *,
        unit: str,
        labels: Sequence[Label],
    ) -> None:
        self.collector = collector
        self.name = name
        self.description = description
        self.unit = unit
        self.labels = tuple(labels)
        if labels and all(label.choices for label in labels):
            for values in itertools.product(*(label.choices for label in labels)):
                collector.labels(*values)

    def _series(self, values: dict[str, str | int]) -> Collector:
        """The series of these labels. ValueError: not the metric's labels, or not a choice."""
        if not self.labels and not values:
            return self.collector
        for label in self.labels:
            if label.choices and values.get(label.name) not in label.choices:
                choices = ", ".join(label.choices)
                raise ValueError(f"{self.name}: {label.name} must be one of {choices}")
        return self.collector.labels(**values)


class Counter(Metric[prometheus.Counter]):
    """Only grows, until the process ends."""

    kind = "counter"

    def __init__(
        self, name: str, description: str, *, unit: str, labels: Sequence[Label] = ()
    ) -> None:
        collector = prometheus.Counter(
            name, description, _names(labels), namespace=NAMESPACE, registry=None
        )
        super().__init__(
            collector, f"{NAMESPACE}_{name}_total", description, unit=unit, labels=labels
        )

    def add(self, amount: float = 1, /, **labels: str | int) -> None:
        """Count `amount` more."""
        self._series(labels).inc(amount)


class Gauge(Metric[prometheus.Gauge]):
    """A value that goes up and down."""

    kind = "gauge"

    def __init__(
        self, name: str, description: str, *, unit: str, labels: Sequence[Label] = ()
    ) -> None:
        collector = prometheus.Gauge(
            name, description, _names(labels), namespace=NAMESPACE, registry=None
        )
        super().__init__(collector, f"{NAMESPACE}_{name}", description, unit=unit, labels=labels)

    def set(self, value: float, /, **labels: str | int) -> None:
        """Say what the value is now."""
        self._series(labels).set(value)

    def clear(self) -> None:
        """Forget all series: call when partitions are revoked, or their last values stay."""
        self.collector.clear()


class Histogram(Metric[prometheus.Histogram]):
    """How many observations were at most as large as each of some bounds."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        description: str,
        *,
        unit: str,
        bounds: Sequence[float],
        labels: Sequence[Label] = (),
    ) -> None:
        collector = prometheus.Histogram(
            name, description, _names(labels), namespace=NAMESPACE, registry=None, buckets=bounds
        )
        super().__init__(collector, f"{NAMESPACE}_{name}", description, unit=unit, labels=labels)

    def observe(self, value: float, /, **labels: str | int) -> None:
        """Count one observation."""
        self._series(labels).observe(value)


def _names(labels: Sequence[Label]) -> list[str]:
    return [label.name for label in labels]
