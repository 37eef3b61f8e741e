import io
from collections.abc import Mapping
from typing import Any, ClassVar

class FiniteStream(io.BytesIO):
    def __len__(self) -> int: ...
    def has_more(self) -> bool: ...

class Packet:
    CMD_REQUEST: ClassVar[int]
    CMD_RESPONSE: ClassVar[int]
    CMD_UNKNOWN: ClassVar[int]
    EVENT_REGISTER: ClassVar[int]
    EVENT_UNREGISTER: ClassVar[int]
    EVENT_CONFIRM: ClassVar[int]
    EVENT_UNKNOWN: ClassVar[int]
    EVENT: ClassVar[int]
    @classmethod
    def request(cls, command: str, message: bytes | None = None) -> bytes: ...
    @classmethod
    def register_event(cls, event_type: str) -> bytes: ...

class Message:
    @classmethod
    def serialize(cls, message: Mapping[str, Any]) -> bytes: ...
    @classmethod
    def deserialize(cls, stream: FiniteStream) -> dict[str, Any]: ...
