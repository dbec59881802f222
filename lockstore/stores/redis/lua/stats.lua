#!lua flags=no-writes
-- PURPOSE  Count the lines of one shard, and return the longest ones, and those where a ticket may have waited longest.
-- KEYS     1 deadlines (one for each ticket) · 2 lines · 3 waiting, as _line
-- ARGV     1 how many of the longest · 2 how many of those with waiting tickets
-- REPLY    {now ms, lines, tickets, {conversation id, minus its tickets, ...}, {conversation id, waiting since, ms, ...}}
-- RETRY    safe: it only reads
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function first(key, most)
  if tonumber(most) == 0 then return {} end
  return redis.call('ZRANGE', key, 0, most - 1, 'WITHSCORES')
end

return {now, redis.call('ZCARD', KEYS[2]), redis.call('ZCARD', KEYS[1]), first(KEYS[2], ARGV[1]), first(KEYS[3], ARGV[2])}
