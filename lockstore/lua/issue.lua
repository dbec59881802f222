#!lua
-- PURPOSE  Direct use: issue a ticket whose lifetime counts from now.
-- INCLUDE  _line
-- KEYS     as _line
-- ARGV     5 lifetime, ms
-- REPLY    the number
-- RETRY    NOT safe: a second call issues a second ticket; the first ends with its lifetime
local number = redis.call('INCR', last)
enter(number, {'', '', '', '', '', '', 0, now, now + tonumber(ARGV[5]), 0})
close()
return number
