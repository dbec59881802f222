#!lua
-- PURPOSE  Direct use: settle the line, then tell whether it is this ticket's turn.
-- INCLUDE  _line
-- KEYS     as _line
-- ARGV     5 ticket number
-- REPLY    {number at the head (-1: empty line), 1 when the ticket stands in line, ms until the head's deadline}
-- RETRY    safe: it only reads, after settling
close()
local head = redis.call('ZRANGE', line, 0, 0)[1]
if not head then return {-1, 0, 0} end
local stands = redis.call('ZSCORE', line, ARGV[5]) and 1 or 0
return {tonumber(head), stands, load(head)[DEADLINE] - now}
