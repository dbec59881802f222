"""Lock stores: the base class, in memory, custom classes, and Redis."""
