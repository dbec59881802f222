#!lua flags=allow-oom
-- PURPOSE  Take a ticket out of the line whose reply queue is gone.
-- INCLUDE  _history _line _steps
-- KEYS     as _line
-- ARGV     7 ticket number · 8 the reply queue that was gone
-- REPLY    as _line
-- RETRY    safe: nothing happens when the ticket is over, or has another reply queue by now
load(ARGV[7])
begin(true)
local ticket = load(ARGV[7])
if ticket and ticket[REQUEST] ~= '' and ticket[REPLY_TO] == ARGV[8] then
  cancel(ARGV[7], ticket, 'unreachable')
end
return close()
