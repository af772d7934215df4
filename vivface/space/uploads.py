"""Refuse request bodies that are too large while they arrive; clear away what broken-off uploads leave."""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class BodyLimit:
    """ASGI middleware: answers 413 to a request whose body is, or turns out to be, larger than allowed.

    Args:
        app: what to protect.
        upload_bytes (`int`): limit of a multipart upload.
        other_bytes (`int`, *optional*, defaults to 8 MB): limit of every other body, such as the JSON of a call.
        folder (`Path`, *optional*): where uploads arrive; unfinished ones are deleted from it, see `sweep`.
    """

    def __init__(self, app: Callable, upload_bytes: int, other_bytes: int = 8_000_000, folder: Path | None = None):
        self.app = app
        self.upload_bytes = upload_bytes
        self.other_bytes = other_bytes
        self.folder = folder

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        multipart = headers.get(b"content-type", b"").startswith(b"multipart/")
        if multipart and self.folder is not None:
            sweep(self.folder)
        limit = self.upload_bytes if multipart else self.other_bytes
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            await self._refuse(send, limit)
            return
        received, complete, started, refused = 0, False, False, False

        async def counted() -> Message:
            nonlocal received, complete, refused
            message = await receive()
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > limit:
                refused = True
                return {"type": "http.disconnect"}
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if refused and not started:
                return
            started = True
            if message["type"] == "http.response.start" and not complete:  # the rest of the body is not read
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except Exception:
            if not refused:
                raise
        if refused and not started:
            await self._refuse(send, limit)

    @staticmethod
    async def _refuse(send: Send, limit: int) -> None:
        text = f'{{"detail": "The upload is too large: at most {limit // 1_000_000} MB are accepted."}}'.encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
        headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": text})


def sweep(folder: Path, seconds: float = 600.0) -> None:
    """Delete what uploads that were broken off left in `folder`, once nothing was added for so many seconds.

    Files that arrive are called `tmp...` and lie in the folder itself until they are complete; a visitor who leaves in
    the middle leaves one, known to nothing else.
    """
    for path in folder.glob("tmp*"):
        with suppress(OSError):  # it may be moved or deleted by now
            if path.is_file() and time.time() - path.stat().st_mtime >= seconds:
                path.unlink()
