#!lua flags=allow-oom
-- PURPOSE  Read one line of the `redis` store for a change: as read_lock, and the least number to issue next.
-- INCLUDE  _history
-- KEYS     1 lock (Rasa's JSON) · 2 last number · 3 memo (JSON) · 4 history, as _history
-- ARGV     1 known, as _history
-- REPLY    {now ms, lock or "", last number or "", memo or "", least number, the replication id}
-- RETRY    safe: it changes only the history, in the same way both times
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local lock, last, memo = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3])
local least, run = least_number(KEYS[4], ARGV[1], now)
return {now, lock or '', last or '', memo or '', least, run}
