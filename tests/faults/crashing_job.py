"""The test application, which dies by SIGKILL at the step of a checkpoint that the file TEST_FUSE names.

Or its commit is held up, as by a network: it arrives when the worker has long given it up and gone on. Or the broker is
killed that has the commit. After how long, is drawn by TEST_SEED, the fuse's name and how often it has been lit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.engine.processing.processor import Processor
from app.engine.state.sizes import Sizes
from app.kafka.embedded.folder import Folder
from app.kafka.transactions.error import TransactionError
from app.kafka.transactions.producer import TransactionalProducer
from app.state.rocksdb_store import RocksDBStore
from tests.faults.fuse import BROKER_KILLED, LATE_COMMIT
from tests.kafka.job import app

__all__ = ["app"]

if (
    "TEST_SLICE_BYTES" in os.environ
):  # windows are closed, and runs merged, over several transactions
    _bytes = int(os.environ["TEST_SLICE_BYTES"])
    Sizes.merges = 0.0  # type: ignore[assignment, method-assign] # no more than that, whatever a checkpoint adds
    app.processor._sizes = replace(app.processor._sizes, slice_bytes=_bytes, merge_bytes_max=_bytes)

_fuse = Path(os.environ["TEST_FUSE"]) if "TEST_FUSE" in os.environ else None
_seed = os.environ["TEST_SEED"]
_chance = random.Random()
_ANSWER_MS_MAX = 6


def _die_at(step: str) -> None:
    if _armed(step):
        os.kill(os.getpid(), signal.SIGKILL)


def _armed(step: str) -> bool:
    if _fuse is None or not _fuse.exists():
        return False
    try:
        number, _, lit = _fuse.read_text().partition(" ")
        if lit != step:
            return False
        _fuse.unlink()
    except FileNotFoundError:  # it was put out just now
        return False
    _chance.seed(f"{_seed} {_fuse.name} {number}")
    return True


class _Dying(TransactionalProducer):
    """Steps of the transaction."""

    def begin(self) -> None:
        _begin(self)
        _die_at("begun")

    async def produce(self, batches: Any) -> Any:
        ends = await _produce(self, batches)
        _die_at("produced")
        return ends

    async def send_offsets(self, membership: Any, notes: Any) -> Any:
        answer = await _send_offsets(self, membership, notes)
        _die_at("offsets sent")
        return answer

    async def commit(self) -> None:
        if _armed(LATE_COMMIT):
            held_up = object.__new__(TransactionalProducer)
            vars(held_up).update(vars(self), _coordinators=dict(self._coordinators))
            self._client = None  # it goes on with another connection, as another epoch
            asyncio.get_running_loop().create_task(_commit_late(held_up))
            raise TransactionError("EndTxn", None, "no answer")
        if _armed("commit sent"):
            asyncio.get_running_loop().create_task(_commit(self))
            await asyncio.sleep(_chance.uniform(0, _ANSWER_MS_MAX) / 1000)
            os.kill(os.getpid(), signal.SIGKILL)
        if _armed(BROKER_KILLED):
            delay_s = _chance.uniform(0, _ANSWER_MS_MAX) / 1000
            asyncio.get_running_loop().call_later(delay_s, _kill_broker)
        await _commit(self)
        _die_at("committed")


def _kill_broker() -> None:
    state = Folder(Path(os.environ["TEST_BROKER"])).read_state()
    assert state is not None and state.jvm is not None
    state.jvm.signal(signal.SIGKILL)


async def _commit_late(producer: TransactionalProducer) -> None:
    """The worker's next transactions begin meanwhile."""
    await asyncio.sleep(_chance.uniform(0.1, 2))
    producer._set_deadline()
    with contextlib.suppress(TransactionError):
        await _commit(producer)
    await producer.close()


_begin, _produce = TransactionalProducer.begin, TransactionalProducer.produce
_send_offsets, _commit = TransactionalProducer.send_offsets, TransactionalProducer.commit
for _name in ("begin", "produce", "send_offsets", "commit"):
    setattr(TransactionalProducer, _name, vars(_Dying)[_name])

_write, _become = RocksDBStore.write, Processor.commit


def _dying_write(self: RocksDBStore, writes: Any, **options: Any) -> None:
    _die_at("before the store")
    _write(self, writes, **options)
    _die_at("after the store")


def _dying_become(self: Processor, staged: Any, checkpoint: Any) -> None:
    _die_at("before it is the state")
    _become(self, staged, checkpoint)


RocksDBStore.write = _dying_write  # type: ignore[method-assign]
Processor.commit = _dying_become  # type: ignore[method-assign]
