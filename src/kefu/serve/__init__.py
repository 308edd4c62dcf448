"""serve: runs behind OpenAI's protocol, with a chat page and a widget.

`app(engine, log, limits, keys)` makes the web application. `Engine` answers in a child process,
`LlamaEngine` lets llama.cpp write freely. `Guard` stands before any web application, `Arriving` at
uvicorn's connections. Knows nothing of training or exams, and loads no model itself.
"""

from .arriving import Arriving
from .door import Limits, app
from .engine import Engine
from .guard import Guard
from .keys import Keys
from .llama import LlamaEngine

__all__ = ["Arriving", "Engine", "Guard", "Keys", "Limits", "LlamaEngine", "app"]
