"""What an async web app still knows after the request ends, the page reloads, or the server restarts.

::

    from holdfast import Holdfast

    hold = Holdfast("sqlite:///app.db")
    app = FastAPI(lifespan=hold.lifespan)

`hold.persist` is a typed key/value store with expiry; see `holdfast.persist`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.hold import Holdfast as Holdfast

__all__ = ["Holdfast", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`Holdfast`, when it is first asked for: `import holdfast` itself loads nothing, not even asyncio."""
    if name == "Holdfast":
        from holdfast.hold import Holdfast

        return Holdfast
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
