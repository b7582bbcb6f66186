"""The door: an aiohttp application that speaks the Responses API.

app        routes, application state, start and stop
create     POST: four modes, one engine
read       GET: poll, tail, input items, list, conversations
change     cancel, delete, retry
streams    a feed -> SSE on the wire
objects    stored rows -> response objects (pure)
refusals   one JSON shape for everything that goes wrong
connection the same for what is not HTTP
"""

from pgdurable.server.app import make_app
from pgdurable.server.connection import HttpConnection
from pgdurable.server.keys import RUNTIME, Options

__all__ = ["RUNTIME", "HttpConnection", "Options", "make_app"]
