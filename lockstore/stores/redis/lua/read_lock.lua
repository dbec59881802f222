#!lua flags=no-writes
-- PURPOSE  Read one line of the `redis` store, with the server's clock.
-- KEYS     1 lock (Rasa's JSON) · 2 last number · 3 memo (JSON)
-- ARGV     none
-- REPLY    {now ms, lock or "", last number or "", memo or ""}
-- RETRY    safe: it only reads
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
return {now, redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[2]) or '', redis.call('GET', KEYS[3]) or ''}
