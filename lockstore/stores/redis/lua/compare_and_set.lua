#!lua
-- PURPOSE  Write one line of the `redis` store, if it has not changed since it was read.
-- INCLUDE  _history
-- KEYS     1 lock (Rasa's JSON) · 2 last number · 3 memo (JSON) · 4 agenda (sorted set: id by the time to check it)
-- ARGV     1-3 what was read of each ("" absent) · 4-6 what to write ("" delete; the last number is never deleted)
--          7 life of the memo in ms, or "" for unlimited · 8 pub/sub channel · 9 hint to publish there, or ""
--          10 conversation id · 11 the time (ms) at which to check the line, or "" for never
--          12 the replication id under which it was read: a number is issued under no other
-- REPLY    1 written, 0 changed by another process
-- RETRY    safe: after a lost reply the values differ from what was read, and the caller reads again
for place = 1, 3 do
  if (redis.call('GET', KEYS[place]) or '') ~= ARGV[place] then return 0 end
end
if ARGV[5] ~= ARGV[2] and current_run() ~= ARGV[12] then return 0 end
-- First, because only this can fail: SET below overwrites values of any type.
if ARGV[11] == '' then
  redis.call('ZREM', KEYS[4], ARGV[10])
else
  redis.call('ZADD', KEYS[4], ARGV[11], ARGV[10])
end
for place = 1, 3 do
  local value = ARGV[place + 3]
  if value ~= '' and place == 3 and ARGV[7] ~= '' then
    redis.call('SET', KEYS[place], value, 'PX', ARGV[7])
  elseif value ~= '' then
    redis.call('SET', KEYS[place], value)
  elseif place ~= 2 then
    redis.call('DEL', KEYS[place])
  end
end
if ARGV[9] ~= '' then redis.call('PUBLISH', ARGV[8], ARGV[9]) end
return 1
