-- The steps of a line: finding, remembering, entering, leaving, settling, closing. Put after _line.lua by the loader.
--
-- KEYS  as _line
-- ARGV  as _line

local may_settle = 100 -- SETTLE_MAX of lockstore/rules.py
local came, left = 0, 0 -- tickets that came into the line, and that left it

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
  if standing == 0 then
    redis.call('PERSIST', tickets)
    redis.call('PERSIST', requests)
    redis.call('PERSIST', ended)
  end
  redis.call('ZADD', line, number, number)
  came, standing = came + 1, standing + 1
  if ticket[REQUEST] ~= '' then redis.call('HSET', requests, ticket[REQUEST], number) end
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

forget()
settle()
