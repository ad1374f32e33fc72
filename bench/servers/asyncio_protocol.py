"""Echo server on asyncio's callback interface: `asyncio_protocol.py PORT [uvloop] [--tls CERTIFICATE KEY]`."""

import asyncio
import ssl
import sys


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP has no other kind
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    # Without these two methods a peer that does not read would fill this process's memory.
    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


def tls() -> ssl.SSLContext | None:
    if "--tls" not in sys.argv:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[-2:])
    return context


async def main() -> None:
    loop, port = asyncio.get_running_loop(), int(sys.argv[1])
    server = await loop.create_server(Echo, "127.0.0.1", port, backlog=65535, ssl=tls())
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if "uvloop" in sys.argv:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
