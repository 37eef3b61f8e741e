class Gateway:
    id: str

class WorkerController:
    gateway: Gateway
    @property
    def shutting_down(self) -> bool: ...
    def shutdown(self) -> None: ...
