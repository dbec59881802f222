"""Spans for OpenTelemetry, with the extra `otel`. Only `start` imports the rest, and only if tracing is turned on."""
