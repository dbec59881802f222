-- What the scripts share that refer to an existing ticket (release, renew). Appended to _records.lua by the loader.
--
-- ARGV  7 ticket number, or "" · 8 request id, or "" · 9 reply_to · 10 correlation id · 11 user id · 12 traceparent

local asked_number, asked_request = ARGV[7], ARGV[8]
local requester = {ARGV[9], ARGV[10], ARGV[11], ARGV[12]}

local function reject(code, number, request_id, how)
  if how ~= 'released' and how ~= 'expired' and how ~= 'cancelled' then how = '' end
  emit(false, 'rejected', number, request_id, '', requester, 0, code, how)
end

-- Return the retained outcome of a finished number, and its request id.
local function find_ended(number)
  local raw = redis.call('HGET', tickets, number)
  if not raw or raw:sub(1, 1) ~= '=' then return nil, nil end
  local _, over = find_request(raw:sub(2))
  if over and over[2] == tonumber(number) then return over, raw:sub(2) end
  return nil, nil
end

-- Read everything known about the ticket before anything is written, and return it if it is live.
local function read_all_named()
  local number = asked_number
  if number == '' then number = find_request(asked_request) end
  local ticket = number and load(number)
  if number and not ticket then find_ended(number) end
  if asked_number ~= '' and not ticket then read_last() end
  return ticket
end

-- Return the live ticket. An overdue one is ended now.
local function find_ticket()
  local number = asked_number
  if number == '' then number = find_request(asked_request) or '' end
  if number == '' then return nil, nil end
  local ticket = load(number)
  if ticket and overdue(ticket) then
    expire(number, ticket)
    ticket = nil
  end
  return number, ticket
end

-- Reject a command on a ticket that is not in the line: finished, or unknown; early: handles an unknown request.
local function refuse_absent(early)
  if asked_number ~= '' then
    local over, request_id = find_ended(asked_number)
    if tonumber(asked_number) < 1 or tonumber(asked_number) > (read_last() or 0) then
      reject('unknown_ticket', asked_number, asked_request)
    elseif over and asked_request ~= '' and asked_request ~= request_id then
      reject('mismatch', asked_number, asked_request)
    else
      reject('finished', asked_number, asked_request ~= '' and asked_request or request_id or '', over and over[1])
    end
    return
  end
  local _, over = find_request(asked_request)
  if over and over[1] ~= 'forgone' then
    reject('finished', over[2], asked_request, over[1])
  else
    early(over)
  end
end

-- Return whether this sender may act on the ticket; otherwise reject the command.
local function permitted(number, ticket)
  local code = nil
  if ticket[REQUEST] == '' then
    code = 'direct'
  elseif asked_request ~= '' and asked_request ~= ticket[REQUEST] then
    code = 'mismatch'
  elseif ticket[USER] ~= '' and ticket[USER] ~= requester[3] then
    code = 'forbidden'
  end
  if code then reject(code, number, asked_request) end
  return code == nil
end
