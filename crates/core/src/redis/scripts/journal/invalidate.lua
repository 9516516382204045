#!lua flags=allow-oom
-- Removes a clean value and voids a lease. The second form of `ShardState::invalidate` in entry/shard/mod.rs.
-- KEYS[1] the key.
-- Keeps: an accepted change stays; another kind or format is left alone. Needs no install, for it removes nothing that SQL
-- lacks. Runs when memory is full: it only removes.
local head = redis.call('GETRANGE', KEYS[1], 0, 2)
if head == '\215D\1' then
  return 'KEPT'
elseif #head == 3 and string.sub(head, 1, 1) == '\215' and head ~= '\215C\1' then
  return 'FOREIGN'
end
redis.call('DEL', KEYS[1])
return 'VOIDED'
