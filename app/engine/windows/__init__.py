"""Window kinds, one file each."""

from app.engine.windows.tumbling import Tumbling, tumbling
from app.engine.windows.unwindowed import Unwindowed
from app.engine.windows.window import Window

__all__ = ["Tumbling", "Unwindowed", "Window", "tumbling"]
