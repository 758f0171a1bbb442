"""The program of an embedded Prefect server, started by its file and so without its package.

It takes a free port of this machine, prints it when the server answers, and ends when its standard
input does: so it ends with the command that started it, however that ends.
"""

from __future__ import annotations

import socket
import sys
import threading

import uvicorn

__all__ = ["main"]


class _Server(uvicorn.Server):
    """Says when it answers."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and print the port."""
        await super().startup(sockets)
        if sockets and not self.should_exit:
            print(sockets[0].getsockname()[1], flush=True)


def main() -> None:
    """Serve until the standard input ends."""
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=True, final=True)
    server = _Server(uvicorn.Config(app, log_level="error", lifespan="on"))

    def end_with_the_input() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end_with_the_input, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server.run(sockets=[listening])


if __name__ == "__main__":
    main()
