#!lua
-- PURPOSE  Issue a ticket for a request: a place in line, or the lease at once if the line is empty.
-- INCLUDE  _line _history _records _steps _issue
-- KEYS     as _line
-- ARGV     7 request id · 8 lifetime, ms · 9 wait, ms · 10 max_waiting, or -1: no room for new tickets · 11 holder
--          12 reply_to · 13 correlation id · 14 user id · 15 traceparent
-- REPLY    as _line
-- RETRY    safe: the same request id finds its ticket, or the same rejection
local request_id, lifetime, wait, max_waiting = ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local holder, sender = ARGV[11], {ARGV[12], ARGV[13], ARGV[14], ARGV[15]}

local function reject(code, number, how)
  if how ~= 'released' and how ~= 'expired' and how ~= 'cancelled' then how = '' end
  emit(false, 'rejected', number, request_id, holder, sender, 0, code, how)
end

local function new_ticket(deadline, granted_at)
  return {request_id, holder, sender[1], sender[2], sender[3], sender[4], lifetime, now, deadline, granted_at}
end

local function admit()
  if max_waiting < 0 then return reject('store_full', -1) end
  local ahead = line_length
  if ahead >= max_waiting or (ahead > 0 and wait == 0) then
    local refusal = ahead >= max_waiting and 'line_full' or 'busy'
    remember(refusal, -1, request_id, sender[3])
    return reject(refusal, -1)
  end
  local number = issue_number()
  local ticket = ahead == 0 and new_ticket(now + lifetime, now) or new_ticket(now + wait, 0)
  enter(number, ticket)
  emit_state(number, ticket, 0, ahead)
end

begin_request(request_id)
local number, over = find_request(request_id)
local ticket = number and load(number)
if ticket and overdue(ticket) then
  expire(number, ticket)
  ticket = nil
  number, over = find_request(request_id)
end
if ticket then
  if ticket[USER] ~= '' and ticket[USER] ~= sender[3] then
    reject('forbidden', number)
  else
    ticket[REPLY_TO], ticket[CORRELATION], ticket[TRACE] = sender[1], sender[2], sender[4]
    save(number, ticket)
    emit_state(number, ticket, 1)
  end
elseif not over then
  admit()
elseif over[1] == 'forgone' then
  if sender[3] ~= '' and sender[3] ~= over[4] then
    admit()
  else
    local issued = issue_number()
    cancel(issued, new_ticket(now, 0), 'requester')
  end
elseif over[1] == 'busy' or over[1] == 'line_full' then
  reject(over[1], -1)
else
  reject('finished', over[2], over[1])
end
return close()
