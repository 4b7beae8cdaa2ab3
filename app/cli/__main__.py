"""What `./run` can do. Imports a command only when it is called, and nothing outside the standard
library before, so that the list can be shown without a virtual environment."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Command:
    """One command: the module whose `main(arguments)` runs it, its line in the list, what its arguments begin with."""

    module: str
    line: str
    first: tuple[str, ...] = ()


COMMANDS = {
    "demo": Command(
        "app.cli.demo", "the whole of Headrace live: broker, worker, shop events, page"
    ),
    "test": Command("app.cli.checks", "all checks: format, lint, types, import direction, tests"),
    "bench": Command("benchmarks.runner", "measure throughput and latency against the targets"),
    "broker": Command("app.cli.broker", "start, stop or ask the embedded Kafka broker"),
    "worker": Command("app.cli.as_faust", "one worker: faust -A app worker", ("worker",)),
    "rebuild": Command(
        "app.cli.as_faust", "a table anew from its source: faust -A app rebuild", ("rebuild",)
    ),
    "replay": Command(
        "app.cli.as_faust", "dead letters back into their topics: faust -A app replay", ("replay",)
    ),
}


def listing() -> str:
    """The commands, one a line."""
    lines = [f"  ./run {name:<8} {command.line}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "Headrace, a stream processor: events from Kafka to live tables, exactly once.",
            "",
            *lines,
            "",
            "./run COMMAND --help teaches a command; the first one sets up .venv.",
        ]
    )


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code; without one, list them."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(listing())  # noqa: T201
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        sys.stderr.write(f"headrace: there is no command {name!r}\n\n{listing()}\n")
        return 2
    command = COMMANDS[name]
    try:
        return int(import_module(command.module).main([*command.first, *rest]) or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
