#!lua flags=no-writes
-- PURPOSE  Read what is due in one shard: expired deadlines, and events that were left behind.
-- KEYS     1 deadlines · 2 outbox
-- ARGV     1 most items of each kind · 2 age in ms from which an outbox entry counts as left behind
--          3 where in the outbox to start: "-", or "(<entry id>" to continue after that entry
-- REPLY    {now ms, next deadline ms or -1, {"<number>:<conversation id>", ...}, {entry id, event record, ...},
--          the last entry that was read, if there may be more after it, else ""}
-- RETRY    safe: it only reads
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local most, age = tonumber(ARGV[1]), tonumber(ARGV[2])
local due = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
local later = redis.call('ZRANGE', KEYS[1], '(' .. now, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
local left = {}
local entries = redis.call('XRANGE', KEYS[2], ARGV[3], '+', 'COUNT', most)
for _, entry in ipairs(entries) do
  local written, values = tonumber(entry[1]:match('^(%d+)')), entry[2]
  if written <= now - age or values[3] == 'd' then
    left[#left + 1] = entry[1]
    left[#left + 1] = values[2] or ''
  end
end
local last = #entries == most and entries[most][1] or ''
return {now, tonumber(later[2] or -1), due, left, last}
