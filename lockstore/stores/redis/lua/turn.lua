#!lua flags=allow-oom
-- PURPOSE  Direct use: settle the line, end this ticket if its deadline has passed, and return its state.
-- INCLUDE  _line _records _steps _tickets _turn
-- KEYS     as _line
-- ARGV     7 ticket number
-- REPLY    as _turn
-- RETRY    safe: overdue tickets are ended either way
read_last()
begin_overdue(load(ARGV[7]))
local own = load(ARGV[7])
if own and overdue(own) then expire(ARGV[7], own) end
close()
return append_turn({}, ARGV[7])
