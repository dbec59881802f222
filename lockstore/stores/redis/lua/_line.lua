-- What all scripts on one conversation's line share: its keys, tickets and events. Prepended to _steps.lua by the loader.
-- A script reads everything that it may touch before it writes. On foreign data it fails with DAMAGED, without having written.
--
-- KEYS  1 last       string: the last number issued, raised by INCR, never deleted
--       2 line       sorted set: the numbers of the live tickets, by number
--       3 tickets    hash: number -> live ticket (JSON array, below), or "=<request id>" once it is over
--       4 requests   hash: request id -> number of its live ticket, or [how, number, forget at, user id] once it is over
--       5 ended      list: "<forget at>|<number>|<request id>" of finished requests, oldest first
--       6 events     list: the last public events, oldest first (JSON arrays, as lockstore/core/events.py writes a history)
--       7 deadlines  sorted set of the shard: "<number>:<conversation id>" by deadline
--       8 outbox     stream of the shard: events that are committed and not yet published
--       9 history    hash of the shard: as _history
--      10 lines      sorted set of the shard: conversation id by minus the number of its tickets, so the longest is first
--      11 waiting    sorted set of the shard: lines with waiting tickets, conversation id by a lower bound of the first one's
--                    arrival time
-- ARGV  1 conversation id
--       2 dedup window, ms
--       3 pub/sub channel for hints: "<number>:<conversation id>", a direct ticket's turn; "outbox:<conversation id>",
--         a direct caller's events
--       4 "d" when a direct caller acts, whose events a daemon has to publish, or "-"; then known, as _history
--       5 how many of the last events are retained at least; 0: none
--       6 how long they are retained after the last one, ms
-- REPLY a flat list: outbox entry id ("" if it is not kept), event record (JSON array of lockstore/core/events.py), ...

local last, line, tickets, requests, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local deadlines, outbox, history, lines, waiting = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local id, window, channel = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local direct, known = ARGV[4]:sub(1, 1) == 'd', ARGV[4]:sub(2)
local events_most, events_keep = tonumber(ARGV[5]), tonumber(ARGV[6])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function damaged(what)
  error({err = 'DAMAGED its `' .. what})
end

-- Read a key, so that a key of another type is detected before anything is written.
local function probe(what, ...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    if reply.err:find('^WRONGTYPE') then damaged(what .. '`: of another type') end
    error(reply)
  end
  return reply
end

local line_length = probe('line', 'ZCARD', line) -- tickets in the line
local oldest_ended = probe('ended', 'LINDEX', ended, 0)
if line_length == 0 then probe('tickets', 'HGET', tickets, '') end
if events_most > 0 then probe('events', 'LINDEX', events, -1) end
probe('deadlines', 'ZCARD', deadlines)
probe('outbox', 'XLEN', outbox)
probe('lines', 'ZCARD', lines)
probe('waiting', 'ZCARD', waiting)
local emitted = {} -- the reply
local new_events = {} -- what is appended to the list of events

-- Return the last number issued, nil if there is none.
local function read_last()
  local issued = probe('last', 'GET', last)
  if issued and not (#issued <= 15 and issued:find('^[1-9]%d*$') or issued == '0') then damaged('last`: no number') end
  return tonumber(issued or nil)
end

-- Indexes of a ticket's JSON array. A direct ticket has the request id "", and as lifetime the mark by which retract
-- finds it.
local REQUEST, HOLDER, REPLY_TO, CORRELATION, USER, TRACE, LIFETIME, QUEUED_AT, DEADLINE, GRANTED_AT =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10

local loaded = {} -- tickets read or written so far, by number as text: the head is needed more than once

local function is_sound(ticket)
  if type(ticket) ~= 'table' or #ticket ~= 10 then return false end
  for place = REQUEST, TRACE do
    if type(ticket[place]) ~= 'string' then return false end
  end
  for place = LIFETIME, GRANTED_AT do
    if type(ticket[place]) ~= 'number' then return false end
  end
  return true
end

local function load(number)
  local ticket = loaded[tostring(number)]
  if ticket then return ticket end
  local raw = probe('tickets', 'HGET', tickets, number)
  if not raw or raw:sub(1, 1) == '=' then return nil end
  local is_json
  is_json, ticket = pcall(cjson.decode, raw)
  if not (is_json and tonumber(number) and is_sound(ticket)) then damaged('tickets`: ' .. number .. ' is no ticket') end
  loaded[tostring(number)] = ticket
  return ticket
end

local function save(number, ticket)
  loaded[tostring(number)] = ticket
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
  local record = cjson.encode({kind, id, numeric, request_id, holder, now,
    sender[1], sender[2], sender[3], sender[4], again, ...})
  local entry = ''
  if kept and direct then
    entry = redis.call('XADD', outbox, '*', 'e', record, 'd', '1')
  elseif kept then
    entry = redis.call('XADD', outbox, '*', 'e', record)
  end
  if kept and events_most > 0 then new_events[#new_events + 1] = cjson.encode({kind, numeric, request_id, holder, now, ...}) end
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
