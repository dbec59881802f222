-- The steps of a script that may issue a number. Appended to _steps.lua by the loader.
--
-- KEYS  as _line
-- ARGV  as _line

local kept_history

-- Must be called before any write.
local function prepare_issue()
  read_last()
  kept_history = read_history(history)
end

-- Return the number as text, as all others are.
local function issue_number()
  local number, least = redis.call('INCR', last), least_number(history, known, now, kept_history)
  if number >= least then return string.format('%d', number) end
  local jumped = string.format('%d', least)
  redis.call('SET', last, jumped)
  return jumped
end

local function enter(number, ticket)
  if line_length == 0 then
    redis.call('PERSIST', tickets)
    redis.call('PERSIST', requests)
    redis.call('PERSIST', ended)
    heads[#heads + 1] = number
  end
  redis.call('ZADD', line, number, number)
  entered, line_length = entered + 1, line_length + 1
  if ticket[REQUEST] ~= '' then
    request_cache[ticket[REQUEST]] = number
    redis.call('HSET', requests, ticket[REQUEST], number)
  end
  save(number, ticket)
  set_deadline(number, ticket)
end

-- As `begin`, for a request, whose own ticket may be overdue.
local function begin_request(request_id)
  prepare_issue()
  local number = find_request(request_id)
  local ticket = number and load(number)
  if ticket then begin_overdue(ticket) else begin('enter') end
end
