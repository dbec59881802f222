#!lua flags=allow-oom
-- PURPOSE  Correct a line's place in the agenda of the `redis` store, unless someone has set another meanwhile.
-- KEYS     1 agenda (sorted set: conversation id by the time, ms, at which to look at it)
-- ARGV     1 conversation id · 2 the time that was read · 3 the time to look at it next, or "" for never
-- REPLY    1 corrected, 0 left alone
-- RETRY    safe: the second time the place is another one, and is left alone
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or -1) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
end
return 1
