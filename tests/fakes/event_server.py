"""A server that takes events as Prefect's does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer


class EventServer(HTTPServer):
    """Takes events and keeps them; inside `with`, at the end of which it is shut down.

    Attributes:
        url: of its API.
        events: what was posted.
        arrived: set when something is.
    """

    def __init__(self):
        self.events, self.arrived = [], threading.Event()
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/api"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/api/events"
            self.server.events += json.loads(body)
            self.send_response(204)
            self.end_headers()
            self.server.arrived.set()

        def log_message(self, *_):
            pass
