"""Logs: structlog for our own lines, and the same handler for everybody else's.

People get aligned, coloured lines on a terminal, machines one JSON object a line. Both go to
stderr, so that stdout stays free for what a command prints. Libraries that log by the standard
library (Faust, mode, aiokafka, asyncio, warnings) go through the same formatter; those that are
chatty are heard from WARNING on, or from INFO on when our own level is debug, and do not repeat
the same line within ten seconds.

`faust worker` sets up logging of its own: it clears the root logger's handlers, turns prints into
log lines, and without `--loglevel info` adds a spinner that sets the root logger to DEBUG. The
worker class in `faust_worker.py` switches that off, so `HEADRACE_LOG_LEVEL` and
`HEADRACE_LOG_FORMAT` decide, and Faust's `--loglevel` and `--logfile` have no say.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

import structlog
from structlog.types import Processor

from app.monitoring.log_repeats import RepeatFilter
from app.settings import Settings

CHATTY = ("faust", "mode", "aiokafka", "aiohttp", "kafka", "numba", "asyncio")
EVENT_WIDTH = 28


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream`, by default stderr. May be called again."""
    stream = sys.stderr if stream is None else stream
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    terminal = stream.isatty()
    console = settings.log_format == "console" or (settings.log_format == "auto" and terminal)
    shared = _shared(console)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(console, colors=terminal and not os.environ.get("NO_COLOR")),
            ],
        )
    )
    if level > logging.DEBUG:
        handler.addFilter(_is_no_chatter)
        handler.addFilter(RepeatFilter(CHATTY))
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
    for name in CHATTY:
        quiet = logging.INFO if level == logging.DEBUG else logging.WARNING
        logging.getLogger(name).setLevel(max(level, quiet))
    logging.captureWarnings(True)


def _is_no_chatter(record: logging.LogRecord) -> bool:
    """False for what mode's services say of their coming and going.

    They log it in the name of the module that their class is in, so also in the names of ours.
    """
    text = record.msg
    return record.levelno >= logging.WARNING or not (isinstance(text, str) and text[:2] == "[^")


def _shared(console: bool) -> list[Processor]:
    """What is added to every line, whoever logs it."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper("%H:%M:%S" if console else "iso", utc=not console),
        structlog.processors.StackInfoRenderer(),
    ]


def _renderers(console: bool, *, colors: bool) -> list[Processor]:
    if console:
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(
            colors=colors, pad_event_to=EVENT_WIDTH, exception_formatter=plain
        )
        return [renderer]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
