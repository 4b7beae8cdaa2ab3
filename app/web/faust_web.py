"""Our routes in Faust's own web server."""

from __future__ import annotations

import errno
from typing import Any, ClassVar

import structlog
from faust.web.drivers import DRIVERS
from faust.web.drivers.aiohttp import Web as AiohttpWeb

from app.engine.reading.reader import TableReader
from app.web.free_port import free_port
from app.web.mount import mount

log = structlog.get_logger(__name__)

SCHEME = "headrace"
PORTS_TRIED_MAX = 20
DRIVERS.aliases[SCHEME] = "app.web.faust_web:Web"


class Web(AiohttpWeb):  # type: ignore[misc]
    """Faust's aiohttp server without the pages that Faust brings along; `@app.page` works as ever.

    Chosen by the Faust setting `web="headrace://"`. Faust puts its pages on the server before the
    app starts, `/` among them, and a route cannot be taken away again.
    """

    default_blueprints: ClassVar[Any] = ()
    production_blueprints: ClassVar[Any] = ()
    debug_blueprints: ClassVar[Any] = ()
    optional_blueprints: ClassVar[Any] = ()

    async def start_server(self) -> None:
        """Listen on the port that was found free, or on the next one: another worker may have been quicker."""
        await self._runner.setup()
        conf = self.app.conf
        for tried in range(1, PORTS_TRIED_MAX + 1):
            site = self._create_site()
            try:
                await site.start()
            except OSError as error:
                if error.errno != errno.EADDRINUSE or tried == PORTS_TRIED_MAX:
                    raise
                await site.stop()
                conf.web_port, wanted = free_port(conf.web_bind, conf.web_port + 1), conf.web_port
                log.warning("web.port_taken", wanted=wanted, used=conf.web_port)
            else:
                return


def install(faust_app: Any, reader: TableReader, **options: Any) -> None:
    """Mount the views on the web server of a Faust app; for the options see `mount`.

    To be called in the app's `on_start`: then the reader is there, and the server not yet started.
    Raises TypeError when the app was not made with `web="headrace://"`.
    """
    if not isinstance(faust_app.web, Web):
        raise TypeError(f'the Faust app needs web="{SCHEME}://", or Faust\'s pages are in the way')
    conf = faust_app.conf
    options["hosts"] = {*options.get("hosts", ()), conf.web_host, conf.web_bind}
    mount(faust_app.web.web_app, reader, **options)
