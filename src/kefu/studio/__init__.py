"""studio: app(workspace) -> ASGI app: the same doors as the command line, behind a web page.

Knows what to call and how it looks; decides nothing. What it cannot do, the command line cannot.
"""

from .door import app

__all__ = ["app"]
