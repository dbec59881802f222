#!lua flags=allow-oom
-- PURPOSE  Cancel a ticket whose reply queue is gone.
-- INCLUDE  _line _records _steps
-- KEYS     as _line
-- ARGV     7 ticket number · 8 the missing reply queue
-- REPLY    as _line
-- RETRY    safe: nothing happens if the ticket has ended, or has another reply queue by now
begin(load(ARGV[7]) and 'leave')
local ticket = load(ARGV[7])
if ticket and ticket[REQUEST] ~= '' and ticket[REPLY_TO] == ARGV[8] then
  cancel(ARGV[7], ticket, 'unreachable')
end
return close()
