-- Whether the numbers that stand here are all that were ever issued. Put before _line.lua, or a verb, by the loader.
--
-- Every run of a Redis server has a replication id of its own; a server that takes over, or starts again, has a new one. It
-- may lack the last writes of the one before, numbers among them. So the numbers jump then: to the clock, in ms, which is
-- ahead of every number that was given before. Where it is behind the clock of the last jump, they jump on from there.
--
-- KEYS  history  hash: run -> the replication id under which numbers were issued last, least -> the least number since then
-- ARGV  known    true when this process has seen a history here: if there is none, then all has been lost

local step = 100000 -- more numbers than a conversation is given in the time by which two servers' clocks differ

local function least_number(history, known, now)
  local run = redis.call('INFO', 'replication'):match('master_replid:(%w+)') or ''
  local kept = redis.call('HMGET', history, 'run', 'least')
  local least = tonumber(kept[2]) or 0
  if kept[1] ~= run then
    if kept[1] or known then least = math.max(now, least + step) end
    redis.call('HSET', history, 'run', run, 'least', string.format('%d', least))
  end
  return least
end
