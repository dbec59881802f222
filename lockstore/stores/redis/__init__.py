"""The Redis lock stores."""
