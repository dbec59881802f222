#!lua
-- PURPOSE  Remove the keys that one line left behind, unless one of them is no longer as it was when it was judged.
-- KEYS     1 a key, and all others of the same line
-- ARGV     1 what stood there, and so on for each key: SHA1 of a string, or else the type; "" for nothing
-- REPLY    how many keys were removed; -1: one has changed or is new, and all of them are left
-- RETRY    safe: what is gone counts as unchanged
for place = 1, #KEYS do
  local stands = redis.call('TYPE', KEYS[place]).ok
  if stands == 'string' then stands = redis.sha1hex(redis.call('GET', KEYS[place])) end
  if stands ~= 'none' and stands ~= ARGV[place] then return -1 end
end
return redis.call('UNLINK', unpack(KEYS))
