#!lua
-- PURPOSE  Direct use: settle the line, end this ticket if its deadline came, then tell whether it is its turn.
-- INCLUDE  _history _line
-- KEYS     as _line
-- ARGV     5 ticket number
-- REPLY    {number at the head (-1: empty line), 1 when the ticket stands in line, ms until its deadline or the head's,
--          whichever comes first}
-- RETRY    safe: what is overdue has ended either way
local own = load(ARGV[5])
if own and overdue(own) then expire(ARGV[5], own) end
close()
local head = redis.call('ZRANGE', line, 0, 0)[1]
if not head then return {-1, 0, 0} end
own = load(ARGV[5])
if not own then return {tonumber(head), 0, 0} end
return {tonumber(head), 1, math.min(load(head)[DEADLINE], own[DEADLINE]) - now}
