-- The steps of a line: finding, remembering, entering, leaving, settling, closing. Put after _line.lua by the loader.
--
-- KEYS  as _line
-- ARGV  as _line

local may_settle = 100 -- SETTLE_MAX of lockstore/core/rules.py
local came, left = 0, 0 -- tickets that came into the line, and that left it

local asked = {} -- what was read or written here of request ids

-- What is kept of a request id, "" for nothing; it fails where that is nothing of ours.
local function kept_of(request_id)
  local raw = asked[request_id]
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
  asked[request_id] = raw
  return raw
end

local function remember(how, number, request_id, user)
  local forget_at = now + window
  asked[request_id] = cjson.encode({how, tonumber(number), forget_at, user})
  redis.call('HSET', requests, request_id, asked[request_id])
  if tonumber(number) >= 0 then redis.call('HSET', tickets, number, '=' .. request_id) end
  redis.call('RPUSH', ended, string.format('%d|%s|%s', forget_at, number, request_id))
end

-- The live number of a request id, or what is remembered of it: {how, number, forget at, user id}.
local function find_request(request_id)
  local raw = kept_of(request_id)
  if raw == '' then return nil, nil end
  if raw:sub(1, 1) ~= '[' then return raw, nil end
  local over = cjson.decode(raw)
  if over[3] > now then return nil, over end
  return nil, nil
end

-- What is remembered of a number that is over, and its request id.
local function find_ended(number)
  local raw = probe('tickets', 'HGET', tickets, number)
  if not raw or raw:sub(1, 1) ~= '=' then return nil, nil end
  local _, over = find_request(raw:sub(2))
  if over and over[2] == tonumber(number) then return over, raw:sub(2) end
  return nil, nil
end

local kept_history

-- To be called before anything is written by a verb that may issue a number.
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
  if standing == 0 then
    redis.call('PERSIST', tickets)
    redis.call('PERSIST', requests)
    redis.call('PERSIST', ended)
  end
  redis.call('ZADD', line, number, number)
  came, standing = came + 1, standing + 1
  if ticket[REQUEST] ~= '' then
    asked[ticket[REQUEST]] = tostring(number)
    redis.call('HSET', requests, ticket[REQUEST], number)
  end
  save(number, ticket)
  set_deadline(number, ticket)
end

-- Out of the line; what is kept under its number is for `remember` to overwrite.
local function leave(number)
  local was = redis.call('ZREM', line, number) -- one that is cancelled on arrival never stood there
  left, standing = left + was, standing - was
  redis.call('ZREM', deadlines, number .. ':' .. id)
  loaded[tostring(number)] = nil
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

-- End what is overdue at the head of the line, and grant the first that is not.
local function settle()
  while standing > 0 do
    local number = redis.call('ZRANGE', line, 0, 0)[1]
    local ticket = load(number)
    if not ticket then
      drop(number) -- its data is gone (evicted): a place without a ticket must not block the line
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
        tell_state(number, ticket, 0, 0)
      elseif ticket[REQUEST] == '' and left > 0 then
        redis.call('PUBLISH', channel, number .. ':' .. id)
      end
      return
    end
  end
end

-- Drop what is remembered for long enough; a few each time, more than one command adds. An entry that is no such is dropped.
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
        asked[request_id] = nil
        redis.call('HDEL', requests, request_id)
      end
      if redis.call('HGET', tickets, number) == '=' .. request_id then redis.call('HDEL', tickets, number) end
    end
    oldest = redis.call('LINDEX', ended, 0)
  end
end

-- Load the tickets that settling may come to: those at the head that are overdue, and then `alive` that are not.
-- Whether there is something to settle now.
local function scout(alive)
  local place, first = 0, redis.call('ZRANGE', line, 0, alive - 1)
  while place < standing and place <= 2 * may_settle + 1 and alive > 0 do
    local number = first[place + 1] or redis.call('ZRANGE', line, place, place)[1]
    if not tonumber(number) then damaged('line`: ' .. number .. ' is no number') end
    local ticket = load(number)
    if ticket and not overdue(ticket) then alive = alive - 1 end
    place = place + 1
  end
  local head = load(first[1])
  return not head or overdue(head) or head[REQUEST] ~= '' and head[GRANTED_AT] == 0
end

-- The first step of every verb, after it has read what it is about: look at the rest, and only then write.
-- leaves: whether the verb may take one out of the line, so that the one behind it is granted
local function begin(leaves)
  if next(asked) == nil then kept_of('') end
  local unsettled = standing > 0 and scout(leaves and 2 or 1)
  forget()
  if unsettled then settle() end
end

-- The same for a request, which may be issued a number; its own ticket may be overdue.
local function begin_request(request_id)
  prepare_issue()
  local number = find_request(request_id)
  if number then load(number) end
  begin(true)
end

-- Keep the shard's index true: how many stand in this line, and whether somebody waits.
local function note_line()
  local before = standing + left - came
  if standing == 0 then
    redis.call('ZREM', lines, id)
  elseif standing ~= before then
    redis.call('ZADD', lines, -standing, id)
  end
  if standing > 1 and before < 2 then
    redis.call('ZADD', waiting, now, id)
  elseif standing < 2 and before > 1 then
    redis.call('ZREM', waiting, id)
  end
end

-- Cutting a list costs as much as adding to it, so it is cut when it is half as long again as it should be.
local function write_past()
  local count = redis.call('RPUSH', events, unpack(past))
  if count > events_most * 1.5 then redis.call('LTRIM', events, -events_most, -1) end
  redis.call('PEXPIREAT', events, now + events_keep)
end

-- The last step of every verb: settle again, let what is remembered of an empty line go by itself, reply.
local function close()
  if left > 0 then settle() end
  if came + left > 0 then note_line() end
  if standing == 0 then
    redis.call('PEXPIREAT', tickets, now + window)
    redis.call('PEXPIREAT', requests, now + window)
    redis.call('PEXPIREAT', ended, now + window)
  end
  if #past > 0 then write_past() end
  if direct and #said > 0 then redis.call('PUBLISH', channel, 'outbox:' .. id) end
  return said
end
