"""Numbers with their units, as people read them. Pure."""

_MOST_DIGITS = 1000  # where the next unit begins


def count(number: int) -> str:
    """How many: ``1,234,567``."""
    return f"{number:,}"


def rate(per_second: float) -> str:
    """Packets a second: ``8,100/s``, and ``0.3/s`` below ten."""
    return f"{per_second:,.0f}/s" if per_second >= 9.95 or per_second == 0 else f"{per_second:.1f}/s"


def bits(per_second: float) -> str:
    """Bits a second: ``4.2 Mb/s``."""
    return _decimal(per_second, ("b/s", "kb/s", "Mb/s", "Gb/s"))


def size(number: float) -> str:
    """Bytes: ``13.9 kB``."""
    return _decimal(number, ("B", "kB", "MB", "GB", "TB"))


def duration(seconds: float) -> str:
    """A duration in words: ``3.2s``, ``5m07s``, ``2h30m``, ``1d4h``."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = int(max(60.0, seconds))
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def short(seconds: float) -> str:
    """A duration with its unit, also where it is far below a second: ``12us``, ``3.4ms``."""
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f}us"
    return f"{seconds * 1e3:.1f}ms" if seconds < 0.99995 else duration(seconds)


def _decimal(number: float, units: tuple[str, ...]) -> str:
    """With a digit behind the point but in the first unit, and never rounded to 1000 of one."""
    digits = 0
    for unit in units:
        if round(number, digits) < _MOST_DIGITS or unit == units[-1]:
            return f"{number:,.{digits}f} {unit}"
        number, digits = number / 1000, 1
    raise AssertionError(units)
