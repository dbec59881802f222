#!lua
-- PURPOSE  Direct use: issue a ticket whose lifetime counts from now, and tell whether it is its turn already.
-- INCLUDE  _history _line _steps _turn
-- KEYS     as _line
-- ARGV     7 lifetime, ms · 8 mark by which retract finds it, 0: none
-- REPLY    the number, then as _turn
-- RETRY    NOT safe: a second call issues a second ticket; where a reply is lost, retract ends what it was about
prepare_issue()
begin(false)
local number = issue_number()
enter(number, {'', '', '', '', '', '', tonumber(ARGV[8]), now, now + tonumber(ARGV[7]), 0})
close()
return tell_turn({number}, number)
