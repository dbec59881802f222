"""A default for optional callbacks."""

__all__ = ["do_nothing"]


def do_nothing() -> None:
    """Do nothing."""
