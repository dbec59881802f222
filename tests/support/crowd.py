"""Very many lines in `concurrent_redis` at once, as its scripts would have written them.

A request for each would take a test's whole time; here Redis writes them by itself, a shard at a time. Whoever stands in a
line of `count` tickets came some `count` seconds ago, and nobody's time ends within the hour.
"""

import time
from collections import defaultdict
from collections.abc import Mapping

import redis

from lockstore.stores.redis.keys import ConcurrentKeys

_FILL = """
local start, now = ARGV[1], tonumber(ARGV[2])
for place = 3, #ARGV, 2 do
  local id, count = ARGV[place], tonumber(ARGV[place + 1])
  for number = 1, count do
    local held = number == 1
    local deadline = now + 3600000
    redis.call('ZADD', start .. 'line:' .. id, number, number)
    redis.call('HSET', start .. 'tickets:' .. id, number, cjson.encode({'r' .. number, 'bot', '', '', '', '', 60000,
      now - count * 1000 + number, deadline, held and now or 0}))
    redis.call('HSET', start .. 'requests:' .. id, 'r' .. number, number)
    redis.call('ZADD', start .. 'deadlines', deadline, number .. ':' .. id)
  end
  redis.call('SET', start .. 'last:' .. id, count)
  redis.call('ZADD', start .. 'lines', -count, id)
  if count > 1 then redis.call('ZADD', start .. 'waiting', now - 3600000, id) end
end
"""


def fill(client: redis.Redis, lines: Mapping[str, int]) -> None:
    """Have so many tickets stand in each of these conversations, the first of them granted."""
    keys, shards = ConcurrentKeys(), defaultdict[int, list[str]](list)
    for name, count in lines.items():
        shards[keys.shard_of(name)] += [name, str(count)]
    for shard, named in shards.items():
        start = keys.of_shard(shard)[0].removesuffix("deadlines")
        client.eval(_FILL, 0, start, str(time.time_ns() // 1_000_000), *named)
