#!lua
-- PURPOSE  Direct use: settle the line, end this ticket if its deadline came, then tell whether it is its turn.
-- INCLUDE  _history _line _turn
-- KEYS     as _line
-- ARGV     5 ticket number
-- REPLY    as _turn
-- RETRY    safe: what is overdue has ended either way
local own = load(ARGV[5])
if own and overdue(own) then expire(ARGV[5], own) end
close()
return tell_turn({}, ARGV[5])
