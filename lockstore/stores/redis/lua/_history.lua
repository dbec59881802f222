-- Whether the numbers that stand here are all that were ever issued. Put before _line.lua, or a verb, by the loader.
--
-- Every run of a Redis server has a replication id of its own; a server that takes over, or starts again, has a new one. It
-- may lack the last writes of the one before, numbers among them. So the numbers jump then: to the clock, in ms, which is
-- ahead of every number that was given before. Where it is behind the clock of the last jump, they jump on from there.
--
-- KEYS  history  hash: run -> the replication id under which numbers were issued last, least -> the least number since then
-- ARGV  known    the run that this process saw first, "" for none. If there is no history, or one that another process has
--                begun anew after that, without a jump, then all has been lost

local step = 100000 -- more numbers than a conversation is given in the time by which two servers' clocks differ

local function current_run()
  return redis.call('INFO', 'replication'):match('master_replid:(%w+)') or ''
end

-- What is kept: run and least number. It fails where that is no history of ours; nothing is written here.
local function read_history(history)
  local kept = redis.pcall('HMGET', history, 'run', 'least')
  if kept.err and kept.err:find('^WRONGTYPE') then error({err = 'DAMAGED its `history`: of another type'}) end
  if kept.err then error(kept) end
  if kept[2] and not (#kept[2] <= 15 and kept[2]:find('^%d+$')) then error({err = 'DAMAGED its `history`: no number'}) end
  return kept
end

local function least_number(history, known, now, kept)
  local run = current_run()
  kept = kept or read_history(history)
  local least = tonumber(kept[2]) or 0
  local begun_anew = known ~= '' and known ~= run and least == 0
  if kept[1] ~= run or begun_anew then
    if kept[1] or known ~= '' then least = math.max(now, least + step) end
    redis.call('HSET', history, 'run', run, 'least', string.format('%d', least))
  end
  return least
end
