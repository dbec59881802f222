-- What the verbs share that name a ticket of someone's (release, renew). Put after _line.lua by the loader.
--
-- ARGV  7 ticket number, or "" · 8 request id, or "" · 9 reply_to · 10 correlation id · 11 user id · 12 traceparent

local asked_number, asked_request = ARGV[7], ARGV[8]
local asker = {ARGV[9], ARGV[10], ARGV[11], ARGV[12]}

local function reject(code, number, request_id, how)
  if how ~= 'released' and how ~= 'expired' and how ~= 'cancelled' then how = '' end
  say(false, 'rejected', number, request_id, '', asker, 0, code, how)
end

-- Read all that is known of what is named, before anything is written.
local function read_named()
  local number = asked_number
  if number == '' then number = find_request(asked_request) end
  if number and not load(number) then find_ended(number) end
  if asked_number ~= '' and not load(number) then read_last() end
end

-- The live ticket that is named. An overdue one is ended here and now.
local function named()
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

-- Say of a ticket that is not in the line whether it is over or never was; early: what to do with an unknown request.
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

-- Whether this sender may act on the ticket; otherwise the refusal is told.
local function permitted(number, ticket)
  local code = nil
  if ticket[REQUEST] == '' then
    code = 'direct'
  elseif asked_request ~= '' and asked_request ~= ticket[REQUEST] then
    code = 'mismatch'
  elseif ticket[USER] ~= '' and ticket[USER] ~= asker[3] then
    code = 'forbidden'
  end
  if code then reject(code, number, asked_request) end
  return code == nil
end
