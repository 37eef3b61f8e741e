def send(
    MESSAGE: str,
    MESSAGE_ID: str | None = ...,
    CODE_FILE: str | None = ...,
    CODE_LINE: int | None = ...,
    CODE_FUNC: str | None = ...,
    **kwargs: object,
) -> None: ...
