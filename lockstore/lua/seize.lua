#!lua
-- PURPOSE  An operator takes a lease away, or a ticket out of the line; the next in line is granted in the same step.
-- INCLUDE  _history _line
-- KEYS     as _line
-- ARGV     5 who does it · 6 ticket number, or "" for the one at the head
-- REPLY    as _line
-- RETRY    NOT safe: without a number, a second call takes the next holder's lease; with one, it finds the ticket gone
local by, number = ARGV[5], ARGV[6]
if number == '' then number = redis.call('ZRANGE', line, 0, 0)[1] end
local ticket = number and load(number)
if ticket and overdue(ticket) then
  expire(number, ticket)
elseif ticket and ticket[REQUEST] == '' then
  drop(number)
  tell('cancelled', number, ticket, 'forced', by)
elseif ticket and ticket[GRANTED_AT] == 0 then
  cancel(number, ticket, 'forced', by)
elseif ticket then
  release(number, ticket, 'forced', by)
end
return close()
