"""What a test and its daemon with a decoder that fails agree on."""

FAULT = "lockstore_test_fault"
MARKER = "the-marker"
