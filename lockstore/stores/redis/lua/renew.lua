#!lua flags=allow-oom
-- PURPOSE  Restart a lease from now.
-- INCLUDE  _line _records _steps _named
-- KEYS     as _line
-- ARGV     as _named · 13 lifetime, ms, or "" for that of the request
-- REPLY    as _line; `renewed` answers the message itself and is not kept in the outbox
-- RETRY    safe: the lease restarts from the later moment
begin_overdue(read_all_named())
local number, ticket = find_ticket()
if not ticket then
  refuse_absent(function(remembered)
    reject('unknown_ticket', -1, asked_request)
  end)
elseif permitted(number, ticket) then
  if ticket[GRANTED_AT] == 0 then
    reject('waiting', number, asked_request)
  else
    ticket[DEADLINE] = now + (tonumber(ARGV[13]) or ticket[LIFETIME])
    save(number, ticket)
    set_deadline(number, ticket)
    emit(false, 'renewed', number, ticket[REQUEST], ticket[HOLDER], requester, 0, ticket[DEADLINE])
  end
end
return close()
