#!lua flags=allow-oom
-- PURPOSE  End one ticket whose deadline has passed, anywhere in the line; or only settle the head of the line.
-- INCLUDE  _line _records _steps
-- KEYS     as _line
-- ARGV     7 ticket number, or "" to settle only
-- REPLY    as _line
-- RETRY    safe: a ticket that is gone, or was renewed, is left unchanged
begin_overdue(ARGV[7] ~= '' and load(ARGV[7]))
local ticket = ARGV[7] ~= '' and load(ARGV[7])
if ticket and overdue(ticket) then
  expire(ARGV[7], ticket)
elseif not ticket and ARGV[7] ~= '' then
  redis.call('ZREM', deadlines, ARGV[7] .. ':' .. id) -- otherwise a deadline without a ticket would be due forever
end
return close()
