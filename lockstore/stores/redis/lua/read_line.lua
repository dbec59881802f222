#!lua flags=no-writes
-- PURPOSE  Read one conversation's line, or its first tickets.
-- KEYS     1 last · 2 line · 3 tickets
-- ARGV     1 the last place to read, counted from 0; -1: the whole line
-- REPLY    {now ms, last number or "", tickets in the line, number, ticket (JSON array), number, ticket, ...}
-- RETRY    safe: it only reads
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local reply = {now, redis.call('GET', KEYS[1]) or '', redis.call('ZCARD', KEYS[2])}
for _, number in ipairs(redis.call('ZRANGE', KEYS[2], 0, ARGV[1])) do
  local ticket = redis.call('HGET', KEYS[3], number)
  if ticket then
    reply[#reply + 1] = number
    reply[#reply + 1] = ticket
  end
end
return reply
