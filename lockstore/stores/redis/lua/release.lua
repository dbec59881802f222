#!lua flags=allow-oom
-- PURPOSE  End a lease, or cancel a waiting ticket; the next ticket in line is granted in the same step.
-- INCLUDE  _line _records _steps _named
-- KEYS     as _line
-- ARGV     as _named
-- REPLY    as _line
-- RETRY    safe: a command on a finished ticket is answered `finished`
read_all_named()
begin('leave')
local number, ticket = find_ticket()
if not ticket then
  refuse_absent(function(remembered)
    if not remembered then remember('forgone', -1, asked_request, requester[3]) end
    reject('too_early', -1, asked_request)
  end)
elseif permitted(number, ticket) then
  if ticket[GRANTED_AT] == 0 then
    cancel(number, ticket, 'requester')
  else
    release(number, ticket, 'holder')
  end
end
return close()
