"""Durations as compose files write them."""

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "ns": 1e-9}


def seconds(duration: str | None) -> float:
    """A Go duration (`1m30s`) in seconds; 0 for none. Source: the Compose Specification, durations."""
    total, number, unit = 0.0, "", ""
    for character in (duration or "") + "\0":
        if character.isdigit() or character == ".":
            if unit:
                total += float(number) * _UNITS.get(unit, 0.0)
                number, unit = "", ""
            number += character
        elif character == "\0":
            if number and unit:
                total += float(number) * _UNITS.get(unit, 0.0)
        else:
            unit += character
    return total
