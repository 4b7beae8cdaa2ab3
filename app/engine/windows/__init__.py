"""Window kinds, one file each."""

from app.engine.windows.tumbling import Tumbling, tumbling

__all__ = ["Tumbling", "tumbling"]
