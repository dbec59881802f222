"""OpenTelemetry spans, with the extra `otel`. Only `start` imports the other modules, and only if tracing is enabled."""
