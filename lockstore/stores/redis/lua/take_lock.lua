#!lua flags=allow-oom
-- PURPOSE  Read one line of the `redis` store in order to change it: as read_lock, and the least number to issue next.
-- INCLUDE  _history
-- KEYS     1 lock (Rasa's JSON) · 2 last number · 3 memo (JSON) · 4 history, as _history
-- ARGV     1 known, as _history
-- REPLY    {now ms, lock or "", last number or "", memo or "", least number, the run of Redis}
-- RETRY    safe: it changes nothing but the history, which the second time is as it should be
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local lock, last, memo = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3])
local least = least_number(KEYS[4], ARGV[1], now)
return {now, lock or '', last or '', memo or '', least, current_run()}
