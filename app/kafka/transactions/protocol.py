"""The requests of Kafka's transactions in the versions that aiokafka lacks, over its types and connections.

The schemas are Kafka's own: https://kafka.apache.org/protocol. Two dialects: since Kafka 4.0 a cluster whose
feature `transaction.version` is 2 adds partitions and offsets to a transaction by itself and gives every
transaction an epoch of its own (KIP-890), so that no request can land on a later transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any, ClassVar

from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
    UnsignedVarInt32,
)

_STRING = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)
NO_TAGS: dict[int, bytes] = {}
"""The tagged fields that end every structure of these versions, and of which we set none."""


def _schema(*fields: Any) -> Schema:
    return Schema(*fields, _TAGS)


def _array(*fields: Any) -> CompactArray:
    return CompactArray(*fields, _TAGS)


def _pieces(kind: Any, value: Any) -> Iterator[bytes]:
    """What `kind.encode(value)` puts together."""
    if isinstance(kind, Schema):
        for field, item in zip(kind.fields, value, strict=True):
            yield from _pieces(field, item)
    elif isinstance(kind, CompactArray):
        yield UnsignedVarInt32.encode(len(value) + 1)
        for item in value:
            yield from _pieces(kind.array_of, item)
    elif kind is CompactBytes:
        yield UnsignedVarInt32.encode(len(value) + 1)
        yield value
    else:
        yield kind.encode(value)


_THROTTLE = ("throttle_time_ms", Int32)
_ERROR = ("error_code", Int16)
_TRANSACTION = (
    ("transactional_id", _STRING),
    ("producer_id", Int64),
    ("producer_epoch", Int16),
)
_ERRORS = _array(("name", _STRING), ("partitions", _array(("partition", Int32), _ERROR)))


class Call(Request[Any]):
    """A request of one version, which the caller has chosen by what the cluster supports."""

    API_KEY = -1

    def __init__(self, cls: type[RequestStruct], *fields: Any) -> None:
        self.API_KEY = cls.API_KEY  # type: ignore[misc] # of the instance: one class for all requests
        self._struct = cls(*fields, NO_TAGS)

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Any:
        return self._struct

    def build(self, request_struct_class: Any) -> Any:
        return self._struct


class _Flexible(RequestStruct):
    API_KEY: ClassVar[int] = -1
    API_VERSION: ClassVar[int] = -1
    RESPONSE_TYPE: ClassVar[type[Response]] = Response
    SCHEMA: ClassVar[Schema] = Schema()
    FLEXIBLE_VERSION: ClassVar[bool] = True


class ApiVersionsResponse(Response):
    API_KEY, API_VERSION = 18, 3
    SCHEMA = _schema(
        _ERROR,
        ("api_versions", _array(("api_key", Int16), ("min", Int16), ("max", Int16))),
        _THROTTLE,
    )


class ApiVersions(_Flexible):
    """Fields: client name, client version."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 18, 3, ApiVersionsResponse
    SCHEMA = _schema(("name", _STRING), ("version", _STRING))

    def parse_response_header(self, read_buffer: BytesIO | bytes) -> ResponseHeader_v0:
        return ResponseHeader_v0.decode(read_buffer)  # without tags, in every version


_FINALIZED_FEATURES = 2
_FEATURES = _array(("name", _STRING), ("max", Int16), ("min", Int16))


def finalized_feature(response: ApiVersionsResponse, name: str) -> int:
    """The level at which a feature is switched on in the cluster; 0: it is not."""
    data = response.tags.get(_FINALIZED_FEATURES)
    features = _FEATURES.decode(BytesIO(data)) if data else []
    return next((int(level) for found, level, *_ in features or [] if found == name), 0)


class InitProducerIdResponse(Response):
    API_KEY, API_VERSION = 22, 4
    SCHEMA = _schema(_THROTTLE, _ERROR, *_TRANSACTION[1:])


class InitProducerId(_Flexible):
    """Fields: transactional id, transaction timeout (ms), producer id and epoch (-1: a new epoch)."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 22, 4, InitProducerIdResponse
    SCHEMA = _schema(_TRANSACTION[0], ("transaction_timeout_ms", Int32), *_TRANSACTION[1:])


class AddPartitionsToTxnResponse(Response):
    API_KEY, API_VERSION = 24, 3
    SCHEMA = _schema(_THROTTLE, ("topics", _ERRORS))


class AddPartitionsToTxn(_Flexible):
    """Fields: transactional id, producer id, epoch, [(topic, [partition], tags)]."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 24, 3, AddPartitionsToTxnResponse
    SCHEMA = _schema(
        *_TRANSACTION, ("topics", _array(("name", _STRING), ("partitions", CompactArray(Int32))))
    )


class AddOffsetsToTxnResponse(Response):
    API_KEY, API_VERSION = 25, 3
    SCHEMA = _schema(_THROTTLE, _ERROR)


class AddOffsetsToTxn(_Flexible):
    """Fields: transactional id, producer id, epoch, group."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 25, 3, AddOffsetsToTxnResponse
    SCHEMA = _schema(*_TRANSACTION, ("group_id", _STRING))


class ProduceResponse(Response):
    API_KEY, API_VERSION = 0, 9
    _PARTITIONS = _array(
        ("partition", Int32),
        _ERROR,
        ("base_offset", Int64),
        ("log_append_time_ms", Int64),
        ("log_start_offset", Int64),
        ("record_errors", _array(("index", Int32), ("message", _STRING))),
        ("error_message", _STRING),
    )
    SCHEMA = _schema(("topics", _array(("name", _STRING), ("partitions", _PARTITIONS))), _THROTTLE)


class Produce(_Flexible):
    """Fields: transactional id, acks, timeout (ms), [(topic, [(partition, batch, tags)], tags)]."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 0, 9, ProduceResponse
    _PARTITIONS = _array(("partition", Int32), ("batch", CompactBytes))
    SCHEMA = _schema(
        ("transactional_id", _STRING),
        ("acks", Int16),
        ("timeout_ms", Int32),
        ("topics", _array(("name", _STRING), ("partitions", _PARTITIONS))),
    )

    def encode(self) -> bytes:
        """What the schema says; the batches, which are large, are copied once and not at every level of it."""
        return b"".join(_pieces(self.SCHEMA, [getattr(self, name) for name in self.SCHEMA.names]))


class ProduceAndAdd(Produce):
    """Produce that adds the partitions to the transaction."""

    API_VERSION = 12


class TxnOffsetCommitResponse(Response):
    API_KEY, API_VERSION = 28, 3
    SCHEMA = _schema(_THROTTLE, ("topics", _ERRORS))


class TxnOffsetCommit(_Flexible):
    """Fields: transactional id, group, producer id, epoch, generation, member, instance,
    [(topic, [(partition, offset, leader epoch, metadata, tags)], tags)]."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 28, 3, TxnOffsetCommitResponse
    _PARTITIONS = _array(
        ("partition", Int32), ("offset", Int64), ("leader_epoch", Int32), ("metadata", _STRING)
    )
    SCHEMA = _schema(
        _TRANSACTION[0],
        ("group_id", _STRING),
        *_TRANSACTION[1:],
        ("generation_id", Int32),
        ("member_id", _STRING),
        ("group_instance_id", _STRING),
        ("topics", _array(("name", _STRING), ("partitions", _PARTITIONS))),
    )


class TxnOffsetCommitAndAdd(TxnOffsetCommit):
    """Offset commit that adds the group to the transaction."""

    API_VERSION = 5


class OffsetFetchResponse(Response):
    API_KEY, API_VERSION = 9, 7
    _PARTITIONS = _array(
        ("partition", Int32),
        ("offset", Int64),
        ("leader_epoch", Int32),
        ("metadata", _STRING),
        _ERROR,
    )
    SCHEMA = _schema(
        _THROTTLE, ("topics", _array(("name", _STRING), ("partitions", _PARTITIONS))), _ERROR
    )


class OffsetFetch(_Flexible):
    """Fields: group, [(topic, [partition], tags)], whether offsets of open transactions are waited for."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 9, 7, OffsetFetchResponse
    SCHEMA = _schema(
        ("group_id", _STRING),
        ("topics", _array(("name", _STRING), ("partitions", CompactArray(Int32)))),
        ("require_stable", Boolean),
    )


class EndTxnResponse(Response):
    API_KEY, API_VERSION = 26, 3
    SCHEMA = _schema(_THROTTLE, _ERROR)


class EndTxn(_Flexible):
    """Fields: transactional id, producer id, epoch, commit (False: abort)."""

    API_KEY, API_VERSION, RESPONSE_TYPE = 26, 3, EndTxnResponse
    SCHEMA = _schema(*_TRANSACTION, ("committed", Boolean))


class EndTxnWithEpochResponse(Response):
    API_KEY, API_VERSION = 26, 5
    SCHEMA = _schema(_THROTTLE, _ERROR, *_TRANSACTION[1:])


class EndTxnWithEpoch(EndTxn):
    """End that answers with the producer id and epoch of the next transaction."""

    API_VERSION, RESPONSE_TYPE = 5, EndTxnWithEpochResponse
