-- The steps of a script: find, remember, enter, leave, settle, close. Appended to _line.lua by the loader.
--
-- KEYS  as _line
-- ARGV  as _line

local may_settle = 100 -- SETTLE_MAX of lockstore/core/rules.py
local entered, left = 0, 0 -- tickets that entered and left the line

local request_cache = {} -- request ids read or written so far

-- Return the stored value of a request id, "" if there is none. Fails on foreign data.
local function kept_of(request_id)
  local raw = request_cache[request_id]
  if raw then return raw end
  raw = probe('requests', 'HGET', requests, request_id) or ''
  if raw:sub(1, 1) == '[' then
    local is_json, over = pcall(cjson.decode, raw)
    if not (is_json and type(over) == 'table' and type(over[1]) == 'string' and type(over[2]) == 'number'
        and type(over[3]) == 'number' and type(over[4]) == 'string') then
      damaged('requests`: unreadable')
    end
  elseif raw ~= '' and not raw:find('^%d+$') then
    damaged('requests`: no number')
  end
  request_cache[request_id] = raw
  return raw
end

local function remember(how, number, request_id, user)
  local forget_at = now + window
  request_cache[request_id] = cjson.encode({how, tonumber(number), forget_at, user})
  redis.call('HSET', requests, request_id, request_cache[request_id])
  if tonumber(number) >= 0 then redis.call('HSET', tickets, number, '=' .. request_id) end
  redis.call('RPUSH', ended, string.format('%d|%s|%s', forget_at, number, request_id))
end

-- Return the live number of a request id, or its retained outcome: {how, number, forget at, user id}.
local function find_request(request_id)
  local raw = kept_of(request_id)
  if raw == '' then return nil, nil end
  if raw:sub(1, 1) ~= '[' then return raw, nil end
  local over = cjson.decode(raw)
  if over[3] > now then return nil, over end
  return nil, nil
end

-- Return the retained outcome of a finished number, and its request id.
local function find_ended(number)
  local raw = probe('tickets', 'HGET', tickets, number)
  if not raw or raw:sub(1, 1) ~= '=' then return nil, nil end
  local _, over = find_request(raw:sub(2))
  if over and over[2] == tonumber(number) then return over, raw:sub(2) end
  return nil, nil
end

local kept_history

-- Must be called before any write by scripts that may issue a number.
local function prepare_issue()
  read_last()
  kept_history = read_history(history)
end

local function issue_number()
  local number, least = redis.call('INCR', last), least_number(history, known, now, kept_history)
  if number >= least then return number end
  redis.call('SET', last, string.format('%d', least))
  return least
end

local function enter(number, ticket)
  if line_length == 0 then
    redis.call('PERSIST', tickets)
    redis.call('PERSIST', requests)
    redis.call('PERSIST', ended)
  end
  redis.call('ZADD', line, number, number)
  entered, line_length = entered + 1, line_length + 1
  if ticket[REQUEST] ~= '' then
    request_cache[ticket[REQUEST]] = tostring(number)
    redis.call('HSET', requests, ticket[REQUEST], number)
  end
  save(number, ticket)
  set_deadline(number, ticket)
end

-- Remove from the line; the caller overwrites what is stored under its number by `remember`.
local function leave(number)
  local was = redis.call('ZREM', line, number) -- a ticket that is cancelled on arrival was never in the line
  left, line_length = left + was, line_length - was
  redis.call('ZREM', deadlines, number .. ':' .. id)
  loaded[tostring(number)] = nil
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
    local number = redis.call('ZRANGE', line, 0, 0)[1]
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
  local place, first = 0, redis.call('ZRANGE', line, 0, alive - 1)
  while place < line_length and place <= 2 * may_settle + 1 and alive > 0 do
    local number = first[place + 1] or redis.call('ZRANGE', line, place, place)[1]
    if not tonumber(number) then damaged('line`: ' .. number .. ' is no number') end
    local ticket = load(number)
    if ticket and not overdue(ticket) then alive = alive - 1 end
    place = place + 1
  end
  local head = load(first[1])
  return not head or overdue(head) or head[REQUEST] ~= '' and head[GRANTED_AT] == 0
end

-- The first step of every script, after reading its own ticket: read the rest, then start writing. leaves: whether
-- the script may remove a ticket, so that the one behind it is granted
local function begin(leaves)
  if next(request_cache) == nil then kept_of('') end
  local unsettled = line_length > 0 and load_ahead(leaves and 2 or 1)
  forget()
  if unsettled then settle() end
end

-- The same for a request, which may issue a number; its own ticket may be overdue.
local function begin_request(request_id)
  prepare_issue()
  local number = find_request(request_id)
  if number then load(number) end
  begin(true)
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
