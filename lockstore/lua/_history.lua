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

local function least_number(history, known, now)
  local run = current_run()
  local kept = redis.call('HMGET', history, 'run', 'least')
  local least = tonumber(kept[2]) or 0
  local begun_anew = known ~= '' and known ~= run and least == 0
  if kept[1] ~= run or begun_anew then
    if kept[1] or known ~= '' then least = math.max(now, least + step) end
    redis.call('HSET', history, 'run', run, 'least', string.format('%d', least))
  end
  return least
end
