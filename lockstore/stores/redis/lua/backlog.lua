#!lua flags=no-writes
-- PURPOSE  Read one shard's backlog: unpublished events, overdue deadlines.
-- KEYS     1 deadlines · 2 outbox
-- ARGV     none
-- REPLY    {now ms, events in the outbox, the oldest of them (a record) or "", overdue deadlines, the first of them, ms, or -1}
-- RETRY    safe: it only reads
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local first = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')[2]
return {now, redis.call('XLEN', KEYS[2]), oldest and oldest[2][2] or '',
  redis.call('ZCOUNT', KEYS[1], '-inf', now), tonumber(first or -1)}
