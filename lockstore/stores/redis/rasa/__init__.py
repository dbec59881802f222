"""`RedisLockStore`: Rasa's keys and JSON, changed by compare-and-set."""
