-- The frame of all scripts on one conversation's line: its keys, arguments and state, then the rest of the script, then the reply.
-- A script reads everything that it may touch before it writes: so a key of another type fails at a read, and nothing was written.
-- Reads need no checks of their own: the frame catches every failure, and names the key.
-- The rest is a function for the sake of speed, too: Lua searches all open locals of a chunk for each local that a function uses.
--
-- KEYS  1 last       string: the last number issued, raised by INCR, never deleted
--       2 line       sorted set: the numbers of the live tickets, by number
--       3 tickets    hash: number -> live ticket (JSON array, below), or "=<request id>" once it is over
--       4 requests   hash: request id -> number of its live ticket, or [how, number, forget at, user id] once it is over
--       5 ended      list: "<forget at>|<number>|<request id>" of finished requests, oldest first
--       6 events     list: the last public events, oldest first (JSON arrays, as lockstore/core/events.py writes a history)
--       7 deadlines  sorted set of the shard: "<number>:<conversation id>" by deadline
--       8 outbox     stream of the shard: events that are committed and not yet published
--       9 history    hash of the shard: as _history
--      10 lines      sorted set of the shard: conversation id by minus the number of its tickets, so the longest is first
--      11 waiting    sorted set of the shard: lines with waiting tickets, conversation id by a lower bound of the first one's
--                    arrival time
-- ARGV  1 conversation id
--       2 dedup window, ms
--       3 pub/sub channel for hints: "<number>:<conversation id>", a direct ticket's turn; "outbox:<conversation id>",
--         a direct caller's events
--       4 "d" when a direct caller acts, whose events a daemon has to publish, or "-"; then known, as _history
--       5 how many of the last events are retained at least; 0: none
--       6 how long they are retained after the last one, ms
-- REPLY a flat list: outbox entry id ("" if it is not kept), event record (JSON array of lockstore/core/events.py), ...

local last, line, tickets, requests, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local deadlines, outbox, history, lines, waiting = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local id, window, channel = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local direct, known = ARGV[4]:sub(1, 1) == 'd', ARGV[4]:sub(2)
local events_most, events_keep = tonumber(ARGV[5]), tonumber(ARGV[6])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Indexes of a ticket's JSON array. A direct ticket has the request id "", and as lifetime the mark by which retract
-- finds it.
local REQUEST = 1
local HOLDER = 2
local REPLY_TO = 3
local CORRELATION = 4
local USER = 5
local TRACE = 6
local LIFETIME = 7
local QUEUED_AT = 8
local DEADLINE = 9
local GRANTED_AT = 10

local line_length, oldest_ended -- line_length: tickets in the line
local heads = {} -- the first numbers of the line, as far as they are known
local loaded = {} -- tickets read or written so far, by number as text: the head is needed more than once
local emitted = {} -- the reply
local new_events = {} -- what is appended to the list of events
local doubted, doubted_number -- the key whose value is being decoded, and the number of the ticket: named if that fails

local is_done, reply = pcall(function()
-- REST
end)
if is_done then return reply end

if doubted then error({err = 'DAMAGED its `' .. doubted .. '`: ' .. (doubted_number or 'a value') .. ' is unreadable'}) end
local words = type(reply) == 'table' and reply.err or reply
if words:find('^WRONGTYPE') then
  local reads = {last = {'GET', last}, line = {'ZCARD', line}, tickets = {'HGET', tickets, ''}, requests = {'HGET', requests, ''},
    ended = {'LINDEX', ended, 0}, events = {'LINDEX', events, 0}, deadlines = {'ZCARD', deadlines}, outbox = {'XLEN', outbox},
    history = {'HMGET', history, 'run'}, lines = {'ZCARD', lines}, waiting = {'ZCARD', waiting}}
  for name, read in pairs(reads) do
    local found = redis.pcall(unpack(read))
    if type(found) == 'table' and found.err then error({err = 'DAMAGED its `' .. name .. '`: of another type'}) end
  end
end
if words:find('^%u+ ') then error({err = words}) end -- an error of Redis, whose first word is its code
error(words, 0)
