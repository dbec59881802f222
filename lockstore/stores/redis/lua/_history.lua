-- Detects lost numbers after a restart or failover of Redis. Prepended to a script by the loader.
--
-- Every run of a Redis server has a replication id of its own; after a restart or a failover it is a new one. The server may
-- then lack the last writes, numbers among them. So the numbers jump to the clock, in ms, which is ahead of every number issued
-- before. If the clock is behind that of the last jump, they jump on from there.
--
-- KEYS  history  hash: run -> the replication id under which numbers were last issued, least -> the least number since then
-- ARGV  known    the run that this process saw first, "" for none. If there is no history, or another process has started a
--                new one since, without a jump, then all data has been lost

local step = 100000 -- more numbers than one conversation gets within the clock difference of two servers

local function current_run()
  return redis.call('INFO', 'replication'):match('master_replid:(%w+)') or ''
end

-- Return the stored run and least number. Fails if the key is not a history; nothing is written here.
local function read_history(history)
  local kept = redis.pcall('HMGET', history, 'run', 'least')
  if kept.err and kept.err:find('^WRONGTYPE') then error({err = 'DAMAGED its `history`: of another type'}) end
  if kept.err then error(kept) end
  if kept[2] and not (#kept[2] <= 15 and kept[2]:find('^%d+$')) then error({err = 'DAMAGED its `history`: no number'}) end
  return kept
end

-- Return the least number to issue, and the replication id of now.
local function least_number(history, known, now, kept)
  local run = current_run()
  kept = kept or read_history(history)
  local least = tonumber(kept[2]) or 0
  local begun_anew = known ~= '' and known ~= run and least == 0
  if kept[1] ~= run or begun_anew then
    if kept[1] or known ~= '' then least = math.max(now, least + step) end
    redis.call('HSET', history, 'run', run, 'least', string.format('%d', least))
  end
  return least, run
end
