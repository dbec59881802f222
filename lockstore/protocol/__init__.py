"""The wire format: messages, their encoding and schemas, names on the broker. No I/O."""
