"""Makes `app` from the settings, the catalogue and the users' packages."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any


def create_app(namespace: dict[str, Any]) -> Any:
    """Make the app, put it into `namespace` (agents import it from there), and load agents and tables.

    What a user got wrong (a setting, an event type, a table) ends the program with one line.
    """
    from app.settings import SettingsError, load_settings

    try:
        settings = load_settings()
    except SettingsError as error:
        sys.exit(f"headrace: {error}")
    prepare_process(settings)
    root = str(Path(__file__).resolve().parents[1])
    if root not in sys.path:  # the `faust` command has it there only while it imports `app`
        sys.path.insert(0, root)

    import agents
    import app.cli.agents
    import app.cli.rebuild
    import app.cli.replay  # all three register their commands
    import app.events
    import tables
    from app.engine.language.table_checks import TableDefinitionError
    from app.events.catalogue import discover
    from app.events.event import EventDefinitionError
    from app.worker import Headrace

    namespace["app"] = worker = Headrace(settings)
    try:
        worker.load(discover(app.events), tables, agents)
    except (EventDefinitionError, TableDefinitionError) as error:
        sys.exit(f"headrace: {error}")
    except SyntaxError as error:
        sys.exit(f"headrace: {error.filename}:{error.lineno}: {error.msg}")
    except Exception as error:
        place = _user_place(error, root)
        if place is None:
            raise
        sys.exit(f"headrace: {place}: {type(error).__name__}: {error}")
    return worker


def _user_place(error: Exception, root: str) -> str | None:
    """The line of the users' own code that an error came from; None: it is not theirs."""
    users = tuple(f"{root}/{folder}/" for folder in ("agents", "tables", "app/events"))
    places = [
        f"{frame.filename.removeprefix(root + '/')}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(users)
        and not frame.filename.endswith(("catalogue.py", "event.py"))
    ]
    return places[-1] if places else None


def prepare_process(settings: Any) -> None:
    """Logs, and what must be set before Polars is imported and before a loop is made."""
    import os

    import uvloop

    from app.heap import share_heaps
    from app.monitoring.logs import configure_logging

    configure_logging(settings)
    share_heaps()
    os.environ.setdefault("POLARS_MAX_THREADS", str(settings.polars_threads))
    uvloop.install()
