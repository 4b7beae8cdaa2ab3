"""Window kinds, one file each."""

from app.engine.windows.tumbling import Tumbling, tumbling
from app.engine.windows.unwindowed import Unwindowed
from app.engine.windows.window import WINDOW_END, WINDOW_START, Window

__all__ = ["WINDOW_END", "WINDOW_START", "Tumbling", "Unwindowed", "Window", "tumbling"]
