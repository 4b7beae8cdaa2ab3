"""The web views of the tables: pages, JSON, live events, metrics and health, on aiohttp.

`mount` adds them to any aiohttp application; `install` puts them into a Faust app's web server.
All of it reads committed state through `app.engine.reading.reader.TableReader` and changes nothing.
"""

from app.web.faust_web import install
from app.web.mount import mount

__all__ = ["install", "mount"]
