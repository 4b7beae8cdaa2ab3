"""The test application, beside which an ordinary Faust agent and an ordinary Faust table work."""

from __future__ import annotations

from tests.kafka.job import PREFIX, app

words = app.topic(
    f"{PREFIX}-words", value_type=str, value_serializer="raw", partitions=1, internal=True
)
shouts = app.topic(
    f"{PREFIX}-shouts", value_type=str, value_serializer="raw", partitions=1, internal=True
)
heard = app.Table(f"{PREFIX}-heard", default=int, partitions=1)


@app.agent(words)
async def shout(stream):
    """Answer each word in capitals, with how often it has been heard."""
    await shouts.maybe_declare()
    async for word in stream:
        heard[word] += 1
        await shouts.send(value=f"{word.upper()} {heard[word]}".encode())
