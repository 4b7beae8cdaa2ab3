"""`faust -A app agents`: ours beside Faust's own.

Importing this module registers the command in the place of Faust's, which cannot name the topics of the one
agent that reads them all.
"""

from __future__ import annotations

from typing import Any

from faust.cli.agents import agents as faust_agents

from app.events.event import event_type


class agents(faust_agents):  # type: ignore[misc]
    """List agents: those on event types, then those on Faust's topics."""

    async def run(self, local: bool) -> None:
        """Print one line per agent: its name, what it reads, its docstring's first line."""
        ours = []
        for agent in sorted(self.app.columnar_agents, key=lambda agent: agent.name):
            event = event_type(agent.cls)
            reads = f"{event.name} on {event.topic}"
            ours.append([f"@{agent.name}", reads, agent.summary or "<N/A>"])
        others = [self.agent_to_row(agent) for agent in self.agents(local=local)]
        self.say(self.tabulate([*ours, *others], headers=self.headers, title=self.title))

    def agents(self, *, local: bool = False) -> Any:
        """Faust's agents, without the engine that drives ours."""
        return [
            agent
            for agent in sorted(self.app.agents.values(), key=lambda agent: agent.name)
            if agent.name != self.app.engine_name and (local or self._maybe_topic(agent))
        ]
