"""The process of `faust worker`, with Headrace's logs instead of Faust's.

Pass it to the Faust app as its setting `Worker`. Logging must have been configured before.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

import faust
import structlog
from aiokafka.errors import KafkaConnectionError
from faust.cli.worker import worker as worker_command

log = structlog.get_logger(__name__)


class Worker(faust.Worker):  # type: ignore[misc]
    """Faust's worker, without its logging, its spinner and its hold on stdout.

    - `override_logging`: mode would clear the root logger's handlers and make its own.
    - `redirect_stdouts`: mode would log what is printed.
    - `quiet` and no `spinner`: Faust would print its progress and `-INT- -INT-` between the logs.
    """

    def __init__(self, *services: Any, **options: Any) -> None:
        given = {"override_logging": False, "redirect_stdouts": False, "quiet": True}
        super().__init__(*services, **{**options, **given})
        self.spinner = None
        self._ready = False

    async def on_first_start(self) -> None:
        """Say that the worker starts: from now on a signal ends it in order."""
        await super().on_first_start()
        conf = self.app.conf
        folder = str(conf.datadir.absolute())
        log.info("worker.starting", app=conf.id, pid=os.getpid(), folder=folder)

    async def start(self) -> None:
        """Run; a broker that goes away before the worker is ready ends it with one line, as one that is not there."""
        try:
            await super().start()
        except KafkaConnectionError as error:
            if self._ready:
                raise
            do_not_start(f"the broker has gone: {error}")

    async def on_startup_finished(self) -> None:
        """Say that the worker is ready, and where its pages are."""
        await super().on_startup_finished()
        self._ready = True
        if self._shutdown_immediately:
            return
        conf = self.app.conf
        served = conf.web_enabled and self.app.boot_strategy.enable_web is not False
        pages = {"web": f"http://{conf.web_host}:{conf.web_port}"} if served else {}
        log.info("worker.ready", **pages)


def do_not_start(reason: str) -> NoReturn:
    """End the process: nothing runs yet that would have to be stopped in order."""
    log.critical("worker.cannot_start", reason=reason)
    os._exit(1)


def _no_banner(command: Any, worker: Worker) -> None:
    """Takes the place of what `faust worker` prints: `on_first_start` logs it."""


worker_command.on_worker_created = _no_banner
