-- What every verb on one conversation's line shares. The loader puts it between a verb's header and its body.
--
-- KEYS  1 last       string: the last number issued, raised by INCR, never deleted
--       2 line       sorted set: the numbers of the live tickets, by number
--       3 tickets    hash: number -> live ticket (JSON array, below), or "=<request id>" once it is over
--       4 requests   hash: request id -> number of its live ticket, or [how, number, forget at, user id] once it is over
--       5 ended      list: "<forget at>|<number>|<request id>" of the requests that are over, oldest first
--       6 deadlines  sorted set of the shard: "<number>:<conversation id>" by deadline
--       7 outbox     stream of the shard: events committed and not yet announced
--       8 history    hash of the shard: as _history
-- ARGV  1 conversation id
--       2 dedup window, ms
--       3 pub/sub channel for hints: "<number>:<conversation id>", a direct ticket's turn; "outbox:<conversation id>",
--         a direct caller's events
--       4 "d" when a direct caller acts, whose events some daemon has to announce, or "-"; then known, as _history
-- REPLY a flat list: outbox entry id ("" when none was kept), event record (JSON array of lockstore/events.py), ...

local last, line, tickets, requests, ended, deadlines, outbox, history =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local id, window, channel = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local direct, known = ARGV[4]:sub(1, 1) == 'd', ARGV[4]:sub(2)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local said = {}
local may_settle = 100 -- SETTLE_MAX of lockstore/rules.py
local moved = false -- whether a ticket left the line

-- Places in a ticket's JSON array. A direct ticket has the request id "".
local REQUEST, HOLDER, REPLY_TO, CORRELATION, USER, TRACE, LIFETIME, QUEUED_AT, DEADLINE, GRANTED_AT =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10

local loaded = {} -- tickets that were read or written here, by number as text: the head is looked at more than once

local function load(number)
  local ticket = loaded[tostring(number)]
  if ticket then return ticket end
  local raw = redis.call('HGET', tickets, number)
  if not raw or raw:sub(1, 1) ~= '[' then return nil end
  ticket = cjson.decode(raw)
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

-- sender: {reply_to, correlation_id, user_id, traceparent}; kept: whether the outbox keeps it until it is announced
local function say(kept, kind, number, request_id, holder, sender, again, ...)
  local told = tonumber(number)
  if told > 99999999999999 then told = number end -- cjson writes 14 digits; such a one was asked for, never issued
  local record = cjson.encode({kind, id, told, request_id, holder, now,
    sender[1], sender[2], sender[3], sender[4], again, ...})
  local entry = ''
  if kept and direct then
    entry = redis.call('XADD', outbox, '*', 'e', record, 'd', '1')
  elseif kept then
    entry = redis.call('XADD', outbox, '*', 'e', record)
  end
  said[#said + 1] = entry
  said[#said + 1] = record
end

local function sender_of(ticket)
  return {ticket[REPLY_TO], ticket[CORRELATION], ticket[USER], ticket[TRACE]}
end

local function tell(kind, number, ticket, ...)
  say(true, kind, number, ticket[REQUEST], ticket[HOLDER], sender_of(ticket), 0, ...)
end

-- Say how a live ticket stands: granted, or queued behind so many; place: how many are before it, where that is known.
local function tell_state(number, ticket, again, place)
  place = place or redis.call('ZRANK', line, number)
  local sender = sender_of(ticket)
  if ticket[GRANTED_AT] == 0 then
    say(again == 0, 'queued', number, ticket[REQUEST], ticket[HOLDER], sender, again, place, ticket[DEADLINE])
  else
    say(again == 0, 'granted', number, ticket[REQUEST], ticket[HOLDER], sender, again,
      ticket[DEADLINE], ticket[GRANTED_AT] - ticket[QUEUED_AT], redis.call('ZCARD', line) - 1 - place)
  end
end

local function remember(how, number, request_id, user)
  local forget_at = now + window
  redis.call('HSET', requests, request_id, cjson.encode({how, tonumber(number), forget_at, user}))
  if tonumber(number) >= 0 then redis.call('HSET', tickets, number, '=' .. request_id) end
  redis.call('RPUSH', ended, string.format('%d|%s|%s', forget_at, number, request_id))
end

-- The live number of a request id, or what is remembered of it: {how, number, forget at, user id}.
local function find_request(request_id)
  local raw = redis.call('HGET', requests, request_id)
  if not raw then return nil, nil end
  if raw:sub(1, 1) ~= '[' then return raw, nil end
  local over = cjson.decode(raw)
  if over[3] > now then return nil, over end
  return nil, nil
end

-- What is remembered of a number that is over, and its request id.
local function find_ended(number)
  local raw = redis.call('HGET', tickets, number)
  if not raw or raw:sub(1, 1) ~= '=' then return nil, nil end
  local _, over = find_request(raw:sub(2))
  if over and over[2] == tonumber(number) then return over, raw:sub(2) end
  return nil, nil
end

local function issue_number()
  local number, least = redis.call('INCR', last), least_number(history, known, now)
  if number >= least then return number end
  redis.call('SET', last, string.format('%d', least))
  return least
end

local function enter(number, ticket)
  if redis.call('ZCARD', line) == 0 then
    redis.call('PERSIST', tickets)
    redis.call('PERSIST', requests)
    redis.call('PERSIST', ended)
  end
  redis.call('ZADD', line, number, number)
  if ticket[REQUEST] ~= '' then redis.call('HSET', requests, ticket[REQUEST], number) end
  save(number, ticket)
  set_deadline(number, ticket)
end

-- Out of the line; what is kept under its number is for `remember` to overwrite.
local function leave(number)
  redis.call('ZREM', line, number)
  redis.call('ZREM', deadlines, number .. ':' .. id)
  loaded[tostring(number)] = nil
  moved = true
end

-- Out of the line, and nothing of it is remembered.
local function drop(number)
  leave(number)
  redis.call('HDEL', tickets, number)
end

local function overdue(ticket)
  return ticket[DEADLINE] <= now
end

local function expire(number, ticket)
  if ticket[REQUEST] == '' then return drop(number) end
  leave(number)
  remember('expired', number, ticket[REQUEST], ticket[USER])
  tell('expired', number, ticket, ticket[GRANTED_AT] == 0 and 'waiting' or 'held')
end

local function cancel(number, ticket, reason, ...)
  leave(number)
  remember('cancelled', number, ticket[REQUEST], ticket[USER])
  tell('cancelled', number, ticket, reason, ...)
end

local function release(number, ticket, reason, ...)
  leave(number)
  remember('released', number, ticket[REQUEST], ticket[USER])
  tell('released', number, ticket, now - ticket[GRANTED_AT], reason, ...)
end

-- End what is overdue at the head of the line, and grant the first that is not; tell whether anyone stands in it.
local function settle()
  while true do
    local number = redis.call('ZRANGE', line, 0, 0)[1]
    if not number then return false end
    local ticket = load(number)
    if not ticket then
      drop(number) -- its data is gone (evicted): a place without a ticket must not block the line
    elseif overdue(ticket) then
      if may_settle == 0 then return true end
      may_settle = may_settle - 1
      expire(number, ticket)
    else
      if ticket[REQUEST] ~= '' and ticket[GRANTED_AT] == 0 then
        ticket[GRANTED_AT] = now
        ticket[DEADLINE] = now + ticket[LIFETIME]
        save(number, ticket)
        set_deadline(number, ticket)
        tell_state(number, ticket, 0, 0)
      elseif ticket[REQUEST] == '' and moved then
        redis.call('PUBLISH', channel, number .. ':' .. id)
      end
      return true
    end
  end
end

-- Drop what is remembered for long enough; a few each time, more than one command adds.
local function forget()
  for _ = 1, 8 do
    local oldest = redis.call('LINDEX', ended, 0)
    if not oldest then return end
    local forget_at, number, request_id = oldest:match('^(%d+)|(-?%d+)|(.*)$')
    if tonumber(forget_at) > now then return end
    redis.call('LPOP', ended)
    local raw = redis.call('HGET', requests, request_id)
    if raw and raw:sub(1, 1) == '[' and cjson.decode(raw)[3] <= now then redis.call('HDEL', requests, request_id) end
    if redis.call('HGET', tickets, number) == '=' .. request_id then redis.call('HDEL', tickets, number) end
  end
end

-- The last step of every verb: settle again, let what is remembered of an empty line go by itself, reply.
local function close()
  if not settle() then
    redis.call('PEXPIREAT', tickets, now + window)
    redis.call('PEXPIREAT', requests, now + window)
    redis.call('PEXPIREAT', ended, now + window)
  end
  if direct and #said > 0 then redis.call('PUBLISH', channel, 'outbox:' .. id) end
  return said
end

forget()
settle()
