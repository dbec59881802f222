#!lua flags=no-writes
-- PURPOSE  Read a line of the `redis` store with its place in the agenda, for the audit.
-- KEYS     1 lock (Rasa's JSON) · 2 last number · 3 memo (JSON) · 4 agenda (sorted set: id by the time to check it)
-- ARGV     1 conversation id
-- REPLY    {now ms, the time in the agenda or "", lock or "", last number or "", memo or ""}
-- RETRY    safe: it only reads
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
return {now, redis.call('ZSCORE', KEYS[4], ARGV[1]) or '',
  redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[2]) or '', redis.call('GET', KEYS[3]) or ''}
