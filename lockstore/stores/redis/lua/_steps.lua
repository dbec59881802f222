-- The steps of a script: find, remember, enter, leave, settle, close. Appended to _records.lua by the loader.
--
-- KEYS  as _line
-- ARGV  as _line

local beyond = '999999999' -- a place that no list has: to read nothing costs least
local may_settle = 100 -- SETTLE_MAX of lockstore/core/rules.py
local entered, left = 0, 0 -- tickets that entered and left the line

local request_cache = {} -- request ids read or written so far

-- Return the live number of a request id, or its retained outcome: {how, number, forget at, user id}.
local function find_request(request_id)
  local raw = request_cache[request_id] or redis.call('HGET', requests, request_id) or ''
  request_cache[request_id] = raw
  if raw == '' then return nil, nil end
  doubted, doubted_number = 'requests', nil
  if raw:sub(1, 1) ~= '[' then
    if not raw:find('^%d+$') then error() end
    doubted = nil
    return raw, nil
  end
  local over = cjson.decode(raw)
  local _ = over[1] < '', over[2] < 0, over[4] < ''
  local is_kept = over[3] > now
  doubted = nil
  return nil, is_kept and over or nil
end

local function remember(how, number, request_id, user)
  local forget_at = now + window
  request_cache[request_id] = cjson.encode({how, tonumber(number), forget_at, user})
  redis.call('HSET', requests, request_id, request_cache[request_id])
  if tonumber(number) >= 0 then redis.call('HSET', tickets, number, '=' .. request_id) end
  redis.call('RPUSH', ended, string.format('%d|%s|%s', forget_at, number, request_id))
end

-- Remove from the line; the caller overwrites what is stored under its number by `remember`.
local function leave(number)
  local was = redis.call('ZREM', line, number) -- a ticket that is cancelled on arrival was never in the line
  left, line_length = left + was, line_length - was
  redis.call('ZREM', deadlines, number .. ':' .. id)
  loaded[number] = nil
  for place, head in ipairs(heads) do
    if head == number then table.remove(heads, place) break end
  end
end

-- Remove from the line without a trace.
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
  emit_ticket_event('expired', number, ticket, ticket[GRANTED_AT] == 0 and 'waiting' or 'held')
end

local function cancel(number, ticket, reason, ...)
  leave(number)
  remember('cancelled', number, ticket[REQUEST], ticket[USER])
  emit_ticket_event('cancelled', number, ticket, reason, ...)
end

local function release(number, ticket, reason, ...)
  leave(number)
  remember('released', number, ticket[REQUEST], ticket[USER])
  emit_ticket_event('released', number, ticket, now - ticket[GRANTED_AT], reason, ...)
end

-- End overdue tickets at the head of the line, and grant the first one that is not.
local function settle()
  while line_length > 0 do
    local number = first_in_line()
    local ticket = load(number)
    if not ticket then
      drop(number) -- its data is gone (evicted): a number without a ticket must not block the line
    elseif overdue(ticket) then
      if may_settle == 0 then return end
      may_settle = may_settle - 1
      expire(number, ticket)
    else
      if ticket[REQUEST] ~= '' and ticket[GRANTED_AT] == 0 then
        ticket[GRANTED_AT] = now
        ticket[DEADLINE] = now + ticket[LIFETIME]
        save(number, ticket)
        set_deadline(number, ticket)
        emit_state(number, ticket, 0, 0)
      elseif ticket[REQUEST] == '' and left > 0 then
        redis.call('PUBLISH', channel, number .. ':' .. id)
      end
      return
    end
  end
end

-- Expire retained outcomes, a few per call but more than one command adds. Invalid entries are dropped.
local function forget()
  local oldest = oldest_ended
  for _ = 1, 8 do
    if not oldest then return end
    local forget_at, number, request_id = oldest:match('^(%d+)|(-?%d+)|(.*)$')
    if forget_at and tonumber(forget_at) > now then return end
    redis.call('LPOP', ended)
    if forget_at then
      local raw = redis.call('HGET', requests, request_id) or ''
      local is_json, over = pcall(cjson.decode, raw)
      if raw:sub(1, 1) == '[' and is_json and (tonumber(over[3]) or 0) <= now then
        request_cache[request_id] = nil
        redis.call('HDEL', requests, request_id)
      end
      if redis.call('HGET', tickets, number) == '=' .. request_id then redis.call('HDEL', tickets, number) end
    end
    oldest = redis.call('LINDEX', ended, 0)
  end
end

-- Load the tickets that settling may reach: overdue ones at the head, then `alive` that are not. Return whether there
-- is anything to settle now.
local function load_ahead(alive)
  local place = 0
  heads = redis.call('ZRANGE', line, 0, alive - 1)
  while place < line_length and place <= 2 * may_settle + 1 and alive > 0 do
    local number = heads[place + 1] or redis.call('ZRANGE', line, place, place)[1]
    heads[place + 1] = number
    doubted, doubted_number = 'line', number
    local _ = 0 + number
    doubted = nil
    local ticket = load(number)
    if ticket and not overdue(ticket) then alive = alive - 1 end
    place = place + 1
  end
  local head = load(heads[1])
  return not head or overdue(head) or head[REQUEST] ~= '' and head[GRANTED_AT] == 0
end

-- The first step of every script, after reading its own ticket: read the rest, then start writing.
-- change: 'enter' if a ticket may enter, 'leave' if one may leave, so that the one behind it is granted; else nil or false
local function begin(change)
  local unsettled = line_length > 0 and load_ahead(change == 'leave' and 2 or 1)
  if next(request_cache) == nil then redis.call('HGET', requests, '') end
  if change or unsettled then
    if events_most > 0 then redis.call('LINDEX', events, beyond) end
    redis.call('XLEN', outbox)
    redis.call('ZCARD', lines)
    redis.call('ZCARD', waiting)
  end
  forget()
  if unsettled then settle() end
end

-- The same for a script that ends its ticket only if it is overdue.
local function begin_overdue(ticket)
  begin(ticket and overdue(ticket) and 'leave')
end

-- Update the shard's index: the number of tickets in this line, and whether any waits.
local function update_index()
  local before = line_length + left - entered
  if line_length == 0 then
    redis.call('ZREM', lines, id)
  elseif line_length ~= before then
    redis.call('ZADD', lines, -line_length, id)
  end
  if line_length > 1 and before < 2 then
    redis.call('ZADD', waiting, now, id)
  elseif line_length < 2 and before > 1 then
    redis.call('ZREM', waiting, id)
  end
end

-- Trimming a list costs as much as appending to it, so it is trimmed at one and a half times its size.
local function write_events()
  local count = redis.call('RPUSH', events, unpack(new_events))
  if count > events_most * 1.5 then redis.call('LTRIM', events, -events_most, -1) end
  redis.call('PEXPIREAT', events, now + events_keep)
end

-- The last step of every script: settle again, let retained data of an empty line expire, reply.
local function close()
  if left > 0 then settle() end
  if entered + left > 0 then update_index() end
  if line_length == 0 then
    redis.call('PEXPIREAT', tickets, now + window)
    redis.call('PEXPIREAT', requests, now + window)
    redis.call('PEXPIREAT', ended, now + window)
  end
  if #new_events > 0 then write_events() end
  if direct and #emitted > 0 then redis.call('PUBLISH', channel, 'outbox:' .. id) end
  return emitted
end
