"""The connection to RabbitMQ, and the exchanges and queues that the daemon needs there."""
