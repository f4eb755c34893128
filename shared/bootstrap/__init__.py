"""The composition root: the one place where ports meet their adapters, and all are put together.

`adapters` has the ports, `use_cases` what works with them, `app` what serves requests with both. Each part is made at
first use: the server forks after import, and a function makes only what it needs.
"""

from shared.bootstrap.adapters import Overrides
from shared.bootstrap.app import App

__all__ = ["App", "Overrides"]
