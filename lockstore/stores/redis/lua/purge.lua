#!lua
-- PURPOSE  Delete the keys of one line, unless one of them has changed since it was inspected.
-- KEYS     1 a key, and all others of the same line
-- ARGV     1 the state when it was inspected, and so on for each key: SHA1 of a string, or else the type; "" if absent
-- REPLY    how many keys were deleted; -1: a key has changed or is new, and all of them were kept
-- RETRY    safe: a deleted key counts as unchanged
for place = 1, #KEYS do
  local state = redis.call('TYPE', KEYS[place]).ok
  if state == 'string' then state = redis.sha1hex(redis.call('GET', KEYS[place])) end
  if state ~= 'none' and state ~= ARGV[place] then return -1 end
end
return redis.call('UNLINK', unpack(KEYS))
