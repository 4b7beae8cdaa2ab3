"""Lets the tables of a worker be read as its whole group has them."""

from __future__ import annotations

import socket
from collections.abc import Callable

from yarl import URL

from app.engine.language.reads import TableReads
from app.engine.processing.processor import Processor
from app.engine.reading.committed_reader import CommittedReader
from app.engine.reading.group_answers import GroupAnswers
from app.engine.reading.members import Place
from app.kafka.group.members import GroupMembers
from app.settings import Settings
from app.web.peer_client import PeerClient


class Group:
    """This worker's connections to the others: it asks Kafka who they are, and them for their rows.

    place: this worker's own in the group. counts: the number of partitions of each topic.
    """

    def __init__(
        self,
        place: Callable[[], Place],
        settings: Settings,
        bootstrap_servers: str,
        processor: Processor,
        reader: CommittedReader,
        counts: dict[str, int],
    ) -> None:
        local = reader.local
        local.place = place
        timeout_s = settings.peer_timeout_ms / 1000
        self._members = GroupMembers(
            bootstrap_servers, settings.app_id, local.place, timeout_s=timeout_s
        )
        self._peers = PeerClient(local.table, settings.peer_timeout_ms)
        answers = GroupAnswers(processor, local, self._members, self._peers.ask, counts)
        for table in processor.tables.values():
            table.serve(TableReads(table, local), TableReads(table, answers))

    async def close(self) -> None:
        """Give up the connections."""
        await self._peers.close()
        await self._members.close()


def advertised_host(settings: Settings) -> str:
    """The host at which other workers reach this one's web server."""
    host = settings.web_advertised_host or settings.web_host
    return socket.gethostname() if host in ("0.0.0.0", "::") else host


def web_address(settings: Settings, port: int) -> str:
    """The address of this worker's web server for the others."""
    return str(URL.build(scheme="http", host=advertised_host(settings), port=port))
