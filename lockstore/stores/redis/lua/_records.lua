-- Reads and writes the tickets of a line, and records events. Appended to _line.lua by the loader.
--
-- KEYS  as _line
-- ARGV  as _line

line_length = redis.call('ZCARD', line)
oldest_ended = redis.call('LINDEX', ended, 0)
redis.call('ZCARD', deadlines)
if line_length == 0 then redis.call('HGET', tickets, '') end

-- Return the first number in the line, nil if it is empty.
local function first_in_line()
  return heads[1] or redis.call('ZRANGE', line, 0, 0)[1]
end

-- Return a live ticket, nil if there is none. Fails on anything else: a comparison of two types is an error, and costs less than
-- asking for the types. number: as text
local function load(number)
  local ticket = loaded[number]
  if ticket then return ticket end
  local raw = redis.call('HGET', tickets, number)
  if not raw or raw:sub(1, 1) == '=' then return nil end
  doubted, doubted_number = 'tickets', number
  ticket = cjson.decode(raw)
  local _ = ticket[REQUEST] < '', ticket[HOLDER] < '', ticket[REPLY_TO] < '', ticket[CORRELATION] < '', ticket[USER] < '',
    ticket[TRACE] < '', ticket[LIFETIME] < 0, ticket[QUEUED_AT] < 0, ticket[DEADLINE] < 0, ticket[GRANTED_AT] < 0
  if #ticket ~= GRANTED_AT or not tonumber(number) then error() end
  doubted = nil
  loaded[number] = ticket
  return ticket
end

local function save(number, ticket)
  loaded[number] = ticket
  redis.call('HSET', tickets, number, cjson.encode(ticket))
end

local function set_deadline(number, ticket)
  redis.call('ZADD', deadlines, ticket[DEADLINE], number .. ':' .. id)
end

-- Record an event. sender: {reply_to, correlation_id, user_id, traceparent}; kept: whether the outbox keeps it until
-- it is published
local function emit(kept, kind, number, request_id, holder, sender, again, ...)
  local numeric = tonumber(number)
  if numeric > 99999999999999 then numeric = number end -- cjson writes 14 digits; such a number comes from a message and was never issued
  local entry, record = ''
  if not kept then
    record = cjson.encode({kind, id, numeric, request_id, holder, now,
      sender[1], sender[2], sender[3], sender[4], again, ...})
  else -- what the record and the list of events share is encoded once
    local ticket = cjson.encode({numeric, request_id, holder, now}):sub(2, -2)
    local details = cjson.encode({...}):sub(2)
    record = cjson.encode({kind, id}):sub(1, -2) .. ',' .. ticket .. ',' ..
      cjson.encode({sender[1], sender[2], sender[3], sender[4], again}):sub(2, -2) .. ',' .. details
    if direct then
      entry = redis.call('XADD', outbox, '*', 'e', record, 'd', '1')
    else
      entry = redis.call('XADD', outbox, '*', 'e', record)
    end
    if events_most > 0 then new_events[#new_events + 1] = '["' .. kind .. '",' .. ticket .. ',' .. details end
  end
  emitted[#emitted + 1] = entry
  emitted[#emitted + 1] = record
end

local function sender_of(ticket)
  return {ticket[REPLY_TO], ticket[CORRELATION], ticket[USER], ticket[TRACE]}
end

local function emit_ticket_event(kind, number, ticket, ...)
  emit(true, kind, number, ticket[REQUEST], ticket[HOLDER], sender_of(ticket), 0, ...)
end

-- Record a live ticket's state: granted, or queued; place: the number of tickets before it, if known.
local function emit_state(number, ticket, again, place)
  place = place or redis.call('ZRANK', line, number)
  local sender = sender_of(ticket)
  if ticket[GRANTED_AT] == 0 then
    emit(again == 0, 'queued', number, ticket[REQUEST], ticket[HOLDER], sender, again, place, ticket[DEADLINE])
  else
    emit(again == 0, 'granted', number, ticket[REQUEST], ticket[HOLDER], sender, again,
      ticket[DEADLINE], ticket[GRANTED_AT] - ticket[QUEUED_AT], line_length - 1 - place)
  end
end

-- Return the last number issued, nil if there is none.
local function read_last()
  local issued = redis.call('GET', last)
  doubted, doubted_number = 'last', nil
  if issued and not (#issued <= 15 and issued:find('^[1-9]%d*$') or issued == '0') then error() end
  doubted = nil
  return tonumber(issued or nil)
end
