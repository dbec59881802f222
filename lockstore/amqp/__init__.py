"""AMQP 0-9-1 helpers on top of aiormq and pamqp, shared by daemon and client."""
