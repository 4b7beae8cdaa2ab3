"""Our routes in Faust's own web server."""

from __future__ import annotations

from typing import Any, ClassVar

from faust.web.drivers import DRIVERS
from faust.web.drivers.aiohttp import Web as AiohttpWeb

from app.engine.reader import TableReader
from app.web.mount import mount

SCHEME = "headrace"
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
