#!lua flags=no-writes
-- PURPOSE  Read which lines of the `redis` store are due, and when the next one is.
-- KEYS     1 agenda (sorted set: conversation id by the time, ms, at which to check it)
-- ARGV     1 most lines to return · 2 how far ahead of now to read, ms
-- REPLY    {now ms, the next time after those, ms, or -1, {conversation id, its time, ...}}
-- RETRY    safe: it only reads
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local until_then = now + tonumber(ARGV[2])
local due = redis.call('ZRANGE', KEYS[1], '-inf', until_then, 'BYSCORE', 'LIMIT', 0, ARGV[1], 'WITHSCORES')
local later = redis.call('ZRANGE', KEYS[1], '(' .. until_then, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
return {now, tonumber(later[2] or -1), due}
