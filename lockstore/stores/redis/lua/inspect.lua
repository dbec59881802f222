#!lua flags=no-writes
-- PURPOSE  Read all data of one conversation atomically, for the audit.
-- KEYS     1 last · 2 line · 3 tickets · 4 requests · 5 ended · 6 events · 7 deadlines · 8 lines · 9 waiting, as _line
-- ARGV     1 conversation id · 2 and further ones: numbers for which a deadline was found
-- REPLY    {now ms, last number or "", its place in lines or "", its place in waiting or "",
--           {ms that line, tickets, requests, ended and events will live; -1: forever, -2: there is none},
--           {number, its score, ...} of the line, {number, its data, ...},
--           {number, deadline or "", ...}, {number, the value of its request id or "", ...}}
-- RETRY    safe: it only reads
local id = ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local scores = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
local kept = redis.call('HGETALL', KEYS[3])
local lives, due, asked, requests = {}, {}, {}, {}

local function ask_deadline(number)
  if asked[number] then return end
  asked[number] = true
  due[#due + 1] = number
  due[#due + 1] = redis.call('ZSCORE', KEYS[7], number .. ':' .. id) or ''
end

for place = 2, 6 do lives[#lives + 1] = redis.call('PTTL', KEYS[place]) end
for place = 1, #scores, 2 do ask_deadline(scores[place]) end
for place = 2, #ARGV do ask_deadline(ARGV[place]) end
for place = 1, #kept, 2 do
  local is_json, ticket = pcall(cjson.decode, kept[place + 1])
  if is_json and type(ticket) == 'table' then
    ask_deadline(kept[place])
    if ticket[1] ~= '' then
      requests[#requests + 1] = kept[place]
      requests[#requests + 1] = redis.call('HGET', KEYS[4], ticket[1]) or ''
    end
  end
end
return {now, redis.call('GET', KEYS[1]) or '', redis.call('ZSCORE', KEYS[8], id) or '',
  redis.call('ZSCORE', KEYS[9], id) or '', lives, scores, kept, due, requests}
