"""The daemon: the process that serves lock requests from RabbitMQ."""
