#!lua flags=allow-oom
-- PURPOSE  Direct use: take a direct ticket out of the line. Never touches a ticket of the daemon's.
-- INCLUDE  _history _line _steps
-- KEYS     as _line
-- ARGV     7 ticket number
-- REPLY    as _line
-- RETRY    safe: a ticket that is gone is left alone
load(ARGV[7])
begin(true)
local ticket = load(ARGV[7])
if ticket and ticket[REQUEST] == '' then drop(ARGV[7]) end
return close()
