#!lua flags=allow-oom
-- PURPOSE  An operator takes a lease away, or a ticket out of the line; the next in line is granted in the same step.
-- INCLUDE  _history _line _steps
-- KEYS     as _line
-- ARGV     7 who does it · 8 ticket number, or "" for the one at the head
-- REPLY    as _line
-- RETRY    NOT safe: without a number, a second call takes the next holder's lease; with one, it finds the ticket gone
local by, number = ARGV[7], ARGV[8]
if number ~= '' then load(number) end
begin(true)
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
