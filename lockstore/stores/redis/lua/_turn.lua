-- The state of a direct ticket. Appended to _records.lua by the loader.
--
-- KEYS   as _line
-- REPLY  number at the head (-1: empty line), 1 if the ticket is in the line, ms until its deadline or the head's,
--        whichever is earlier; then, if it is at the head: the last number, number, ticket (JSON array), number, ...

-- Append it to the beginning of the reply.
local function append_turn(reply, number)
  local head, own = first_in_line(), load(number)
  reply[#reply + 1] = tonumber(head or -1)
  reply[#reply + 1] = own and 1 or 0
  reply[#reply + 1] = own and math.min(load(head)[DEADLINE], own[DEADLINE]) - now or 0
  if not own or head ~= number then return reply end
  reply[#reply + 1] = redis.call('GET', last)
  return append_tickets(reply, line, tickets, -1)
end
