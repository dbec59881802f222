#!lua
-- PURPOSE  Direct use: issue a ticket whose lifetime counts from now, and tell whether it is its turn already.
-- INCLUDE  _history _line _steps _turn
-- KEYS     as _line
-- ARGV     7 lifetime, ms
-- REPLY    the number, then as _turn
-- RETRY    NOT safe: a second call issues a second ticket; the first ends with its lifetime
prepare_issue()
begin(false)
local number = issue_number()
enter(number, {'', '', '', '', '', '', 0, now, now + tonumber(ARGV[7]), 0})
close()
return tell_turn({number}, number)
