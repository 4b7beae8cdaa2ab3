"""An embedded broker of a test's own."""

from __future__ import annotations

import os
import random
from pathlib import Path

from app.kafka.embedded.broker import Broker, ensure_broker
from app.kafka.embedded.folder import Folder, ProcessId, State
from app.kafka.embedded.jvm import PORT_MAX, PORT_MIN, choose_ports


def own_broker(data_dir: Path) -> Broker:
    """On ports that nobody else tries first: while it is down, another test's broker may look for one.

    The clients of this one would else go on with that one.
    """
    place = Folder(data_dir / "broker")
    place.path.mkdir(parents=True)
    first = random.randrange(PORT_MIN, PORT_MAX - 1)
    ports = choose_ports((first, first + 1))
    place.write_state(State("stopped", ProcessId.of(os.getpid()), None, *ports, cluster_id=""))
    return ensure_broker(data_dir, log=lambda _line: None)
