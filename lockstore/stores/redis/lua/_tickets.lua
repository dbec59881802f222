-- Reads tickets of a line. Prepended to a script by the loader.
--
-- KEYS  none by its place: those of a line and its tickets are given

-- Append number, ticket (JSON array), number, ... to the reply, up to the place `until_place`, counted from 0; -1: all.
local function append_tickets(reply, line, tickets, until_place)
  for _, number in ipairs(redis.call('ZRANGE', line, 0, until_place)) do
    local raw = redis.call('HGET', tickets, number)
    if raw then
      reply[#reply + 1] = number
      reply[#reply + 1] = raw
    end
  end
  return reply
end
