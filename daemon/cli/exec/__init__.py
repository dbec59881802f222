"""`lockstore exec`. Nothing is imported here: the supervisor forks before anything heavy is loaded."""
