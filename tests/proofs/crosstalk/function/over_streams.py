import asyncio
import os

from exchanges import over_async

streams = []


@over_async
async def handler(who):
    if not streams:
        streams.extend(await asyncio.open_connection("127.0.0.1", int(os.environ["LINES_PORT"])))
    reader, writer = streams
    writer.write(f"{who}\n".encode())
    return (await reader.readline()).decode().strip()
