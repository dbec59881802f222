#!lua flags=allow-oom
-- PURPOSE  Direct use: remove a direct ticket from the line. Never touches a ticket of the daemon.
-- INCLUDE  _line _records _steps
-- KEYS     as _line
-- ARGV     7 ticket number
-- REPLY    as _line
-- RETRY    safe: a ticket that is gone is left unchanged
begin(load(ARGV[7]) and 'leave')
local ticket = load(ARGV[7])
if ticket and ticket[REQUEST] == '' then drop(ARGV[7]) end
return close()
