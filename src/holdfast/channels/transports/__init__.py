"""How clients reach the rooms: WebSocket and long-poll over ASGI, and a faster way under uvicorn."""
