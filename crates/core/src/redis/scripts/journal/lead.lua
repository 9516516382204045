#!lua flags=allow-oom
-- Takes, keeps or gives up the flush lease. The second form of `ShardState::lead` in entry/shard/mod.rs.
-- KEYS[1] the shard's lease; ARGV: holder (16 bytes), for how long (milliseconds, '0' to give it up).
-- Keeps: one holder at a time. It gives no safety, so it needs no identity. Runs when memory is full: draining must go on.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
