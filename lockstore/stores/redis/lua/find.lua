#!lua flags=no-writes
-- PURPOSE  Search a part of one shard's index for conversations whose id contains a text.
-- KEYS     1 lines, as _line
-- ARGV     1 the text, not a pattern · 2 the place to begin at, from 0 · 3 how many places to search
-- REPLY    {how many lines the shard has, conversation id, ...}
-- RETRY    safe: it only reads
local found = {redis.call('ZCARD', KEYS[1])}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[2] + ARGV[3] - 1)) do
  if id:find(ARGV[1], 1, true) then found[#found + 1] = id end
end
return found
