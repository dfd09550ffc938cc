"""What an async web app still knows after the request ends, the page reloads, or the server restarts."""

__version__ = "0.1.0"
