"""Faust's partition assignor, for workers whose web port may be another one after a restart."""

from __future__ import annotations

from faust.assignor.partition_assignor import PartitionAssignor
from yarl import URL


class Assignor(PartitionAssignor):  # type: ignore[misc]
    """Names a worker by what is stable.

    A static member that restarts gets its old assignment back, and Faust's assignor ends the consumer when
    the URL in it is not its own. It makes that of the web server's address, which changes when the port is
    taken at the next start.
    """

    @property
    def _url(self) -> URL:
        return URL(f"http://{self.app.conf.consumer_group_instance_id}")
