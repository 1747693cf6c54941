"""Bytes of a file on the hub, by HTTP range: enough to read a header without downloading the weights."""

import time

from deployer.errors import HubError
from deployer.models import hub
from deployer.models.hub_files import HubFiles, InterruptedTransferError, ignores_ranges
from deployer.models.names import printable
from deployer.models.store import RepoFile

WINDOW = 2 << 20  # the words of a tokenizer, and the tensors of most models
LATER_WINDOW = 128 << 10  # further parts of a split model have tensors only
TIMEOUT_S = 20.0
HEADER_DEADLINE_S = 120.0
MAX_REQUESTS = 64


def windows(parts: int) -> tuple[int, ...]:
    """How many bytes are asked for at once, for each part of a GGUF model."""
    return (WINDOW, *(LATER_WINDOW for _ in range(parts - 1)))


class RemoteSource:
    """Bytes of one file of one commit, by HTTP range. Raises HubError."""

    def __init__(self, files: HubFiles, file: RepoFile) -> None:
        self.label = printable(f"hf:{files.repo}:{file.name}", 200)
        self.size = file.size
        self._files = files
        self._name = file.name
        self._requests = 0
        self._deadline = time.monotonic() + HEADER_DEADLINE_S

    def read_at(self, offset: int, length: int) -> bytes:
        """See ByteSource."""
        import requests

        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            raise HubError(f"{self.label}: its header needs too many requests", hint="fetch the file and give its path")
        try:
            return self._read(offset, length)
        except (requests.RequestException, InterruptedTransferError) as error:
            raise hub.unreachable(type(error).__name__) from None

    def _read(self, offset: int, length: int) -> bytes:
        found = bytearray()
        with self._files.open(self._name, offset, timeout_s=TIMEOUT_S, end=offset + length - 1) as answer:
            if offset and ignores_ranges(answer):
                raise HubError(f"{hub.host()} ignores byte ranges", hint="fetch the file and give its path")
            for chunk in answer.iter_content(1 << 16):
                found += chunk
                if len(found) >= length:
                    break
                if time.monotonic() > self._deadline:
                    raise HubError(f"{self.label}: its header comes too slowly", hint="try again later")
        return bytes(found[:length])
