#!lua flags=allow-oom
-- PURPOSE  Direct use: remove a direct ticket from the line. Never touches a ticket of the daemon.
-- INCLUDE  _history _line _steps
-- KEYS     as _line
-- ARGV     7 ticket number
-- REPLY    as _line
-- RETRY    safe: a ticket that is gone is left unchanged
load(ARGV[7])
begin(true)
local ticket = load(ARGV[7])
if ticket and ticket[REQUEST] == '' then drop(ARGV[7]) end
return close()
