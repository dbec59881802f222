#!lua flags=no-writes
-- PURPOSE  Read one conversation's line, or its first tickets.
-- INCLUDE  _tickets
-- KEYS     1 last · 2 line · 3 tickets
-- ARGV     1 the last place to read, counted from 0; -1: the whole line
-- REPLY    {now ms, last number or "", tickets in the line, number, ticket (JSON array), number, ticket, ...}
-- RETRY    safe: it only reads
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local reply = {now, redis.call('GET', KEYS[1]) or '', redis.call('ZCARD', KEYS[2])}
return append_tickets(reply, KEYS[2], KEYS[3], ARGV[1])
