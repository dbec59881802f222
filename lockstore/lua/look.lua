#!lua flags=no-writes
-- PURPOSE  Read one conversation's line as it stands, for people and for TicketLock.
-- KEYS     1 last · 2 line · 3 tickets
-- ARGV     none
-- REPLY    {last number or "", number, ticket (JSON array), number, ticket, ...}
-- RETRY    safe: it only reads
local reply = {redis.call('GET', KEYS[1]) or ''}
for _, number in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local ticket = redis.call('HGET', KEYS[3], number)
  if ticket then
    reply[#reply + 1] = number
    reply[#reply + 1] = ticket
  end
end
return reply
