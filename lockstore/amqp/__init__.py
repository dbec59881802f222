"""AMQP 0-9-1 below what aiormq and pamqp offer: what the daemon and the client share."""
