"""serve: runs behind OpenAI's protocol, with a chat page and a widget.

`app(engine, log, limits, keys)` makes the web application. `Engine` answers in a child process,
`LlamaEngine` lets llama.cpp write freely. Knows nothing of training or exams, and loads no model
itself.
"""

from .door import Limits, app
from .engine import Engine
from .keys import Keys
from .llama import LlamaEngine

__all__ = ["Engine", "Keys", "Limits", "LlamaEngine", "app"]
