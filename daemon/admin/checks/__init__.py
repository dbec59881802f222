"""What `lockstore check` looks at, one step after the other: each says what it found, how long that took, and what to do."""
