#!lua
-- PURPOSE  Direct use: issue a ticket whose lifetime starts now, and return whether it is at the head.
-- INCLUDE  _line _history _records _steps _issue _tickets _turn
-- KEYS     as _line
-- ARGV     7 lifetime, ms · 8 mark by which retract finds it, 0: none
-- REPLY    the number, then as _turn
-- RETRY    NOT safe: a second call issues a second ticket; if a reply is lost, retract removes the ticket
prepare_issue()
begin('enter')
local number = issue_number()
enter(number, {'', '', '', '', '', '', tonumber(ARGV[8]), now, now + tonumber(ARGV[7]), 0})
close()
return append_turn({tonumber(number)}, number)
