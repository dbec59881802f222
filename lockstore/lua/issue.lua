#!lua
-- PURPOSE  Direct use: issue a ticket whose lifetime counts from now.
-- INCLUDE  _history _line
-- KEYS     as _line
-- ARGV     5 lifetime, ms
-- REPLY    the number
-- RETRY    NOT safe: a second call issues a second ticket; the first ends with its lifetime
local number = issue_number()
enter(number, {'', '', '', '', '', '', 0, now, now + tonumber(ARGV[5]), 0})
close()
return number
