#!lua
-- PURPOSE  Take a ticket out of the line whose reply queue is gone.
-- INCLUDE  _history _line
-- KEYS     as _line
-- ARGV     5 ticket number · 6 the reply queue that was gone
-- REPLY    as _line
-- RETRY    safe: nothing happens when the ticket is over, or has another reply queue by now
local ticket = load(ARGV[5])
if ticket and ticket[REQUEST] ~= '' and ticket[REPLY_TO] == ARGV[6] then
  cancel(ARGV[5], ticket, 'unreachable')
end
return close()
