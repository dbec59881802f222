#!lua flags=no-writes
-- PURPOSE  Read the last public events of one conversation.
-- KEYS     1 events, as _line
-- ARGV     1 how many at most
-- REPLY    {now ms, event (JSON array, as lockstore/core/events.py writes a history), ...}, the oldest first
-- RETRY    safe: it only reads
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if tonumber(ARGV[1]) == 0 then return {now} end
return {now, unpack(redis.call('LRANGE', KEYS[1], -ARGV[1], -1))}
