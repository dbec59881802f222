#!lua flags=allow-oom
-- PURPOSE  Direct use: remove the direct ticket that was issued under a mark, and whose number was lost with the reply.
-- INCLUDE  _line _records _steps
-- KEYS     as _line
-- ARGV     7 mark
-- REPLY    1 if it was found, else 0
-- RETRY    safe: a ticket that is gone is left unchanged
local found
for _, number in ipairs(redis.call('ZRANGE', line, 0, -1)) do
  local ticket = load(number)
  if ticket and ticket[REQUEST] == '' and ticket[LIFETIME] == tonumber(ARGV[7]) then found = number end
end
begin(found and 'leave')
if found and load(found) then drop(found) end
close()
return found and 1 or 0
