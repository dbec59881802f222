#!lua flags=allow-oom
-- PURPOSE  On behalf of an operator: end a lease, or remove a ticket; the next ticket is granted in the same step.
-- INCLUDE  _line _records _steps
-- KEYS     as _line
-- ARGV     7 name of the operator · 8 ticket number, or "" for the one at the head
-- REPLY    as _line
-- RETRY    NOT safe: without a number, a second call ends the next holder's lease; with one, it finds the ticket gone
local by, number = ARGV[7], ARGV[8]
if number ~= '' then load(number) end
begin('leave')
if number == '' then number = redis.call('ZRANGE', line, 0, 0)[1] end
local ticket = number and load(number)
if ticket and overdue(ticket) then
  expire(number, ticket)
elseif ticket and ticket[REQUEST] == '' then
  drop(number)
  emit_ticket_event('cancelled', number, ticket, 'forced', by)
elseif ticket and ticket[GRANTED_AT] == 0 then
  cancel(number, ticket, 'forced', by)
elseif ticket then
  release(number, ticket, 'forced', by)
end
return close()
