"""Faust's partition assignor, for workers whose web port may be another one after a restart."""

from __future__ import annotations

from typing import Any

import msgspec
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from yarl import URL


class Assignor(PartitionAssignor):  # type: ignore[misc]
    """Names a worker by what is stable.

    A static member that restarts gets its old assignment back, and Faust's assignor ends the consumer when
    the URL in it is not its own. It makes that of the web server's address, which changes when the port is
    taken at the next start.

    The address travels beside the name, in what each member says of itself when it joins: Faust passes over
    it, and the group tells it to those who ask (`GroupMembers`), also when the member has come back on
    another port without a rebalance.
    """

    @property
    def _url(self) -> URL:
        return URL(f"http://{self.app.conf.consumer_group_instance_id}")

    def metadata(self, topics: set[str]) -> ConsumerProtocolMemberMetadata:
        """What this worker says of itself when it joins the group."""
        said = super().metadata(topics)
        user_data = {**msgspec.json.decode(said.user_data), "web": self.app.web_address}
        return ConsumerProtocolMemberMetadata(
            said.version, said.subscription, msgspec.json.encode(user_data)
        )


class Said(msgspec.Struct):
    """What is of interest of it."""

    url: str = ""
    web: str = ""

    @classmethod
    def by(cls, metadata: Any) -> Said:
        """Read the metadata of a member of the group; a foreign one has said nothing."""
        try:
            decoded = ConsumerProtocolMemberMetadata.decode(metadata)
            return msgspec.json.decode(decoded.user_data or b"{}", type=cls)
        except (msgspec.MsgspecError, ValueError):
            return cls()
