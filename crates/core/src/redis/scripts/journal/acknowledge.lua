#!lua flags=allow-oom
-- SQL has these changes of the batch. The second form of `ShardState::acknowledge` in entry/shard/batch.rs.
-- KEYS: the shard's meta, frozen, open, strikes, dead, letters, then the keys; ARGV: identity, epoch, the batch's epoch and number, then per key the
-- value entry of the row that SQL returned ('' for none) and its time to live (milliseconds).
-- Answers how many changes the batch still holds.
-- Keeps: acts only on the open batch of that name, which ends with its last change; a newer change stays; a lease that was given
-- out meanwhile is void; a clean value always has an expiry; a letter of an older change is outdated. Runs when memory is full: it
-- makes room.
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'epoch', 'inc', 'open_epoch', 'open_batch', 'open_bytes')
if meta[1] ~= ARGV[1] or meta[2] or meta[3] ~= ARGV[2] then
  return 'EPOCH'
end
if meta[5] ~= ARGV[3] or meta[6] ~= ARGV[4] then
  return 0
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local header = '\215C\1' .. struct.pack('>I8', tonumber(meta[4] or 0))
local bytes = tonumber(meta[7] or 0)
local members, heads, fields, done = {}, {}, {}, {}
for n = 7, #KEYS do
  members[n - 6] = string.sub(KEYS[n], #KEYS[1] - 1)
  heads[n - 6] = 'h' .. members[n - 6]
end
local open = #KEYS > 6 and redis.call('HMGET', KEYS[3], unpack(heads)) or {}
-- What was set aside of a key before, and how often it failed alone.
local letters, strikes = redis.call('HLEN', KEYS[6]) > 0, redis.call('HLEN', KEYS[4]) > 0
local function less(a, b)
  for at = 1, 13, 4 do
    local x, y = struct.unpack('>I4', a, at), struct.unpack('>I4', b, at)
    if x ~= y then
      return x < y
    end
  end
  return false
end
local function forget(member, version)
  if strikes then
    redis.call('HDEL', KEYS[4], member)
  end
  local letter = letters and redis.call('HGET', KEYS[6], member)
  if letter and not less(version, string.sub(letter, 5, 20)) then
    redis.call('HDEL', KEYS[6], member)
    redis.call('ZREM', KEYS[5], string.sub(letter, 5, 20) .. member)
  end
end

for n = 7, #KEYS do
  local key, clean, frozen = KEYS[n], ARGV[2 * n - 9], open[n - 6]
  if frozen and not done[key] then
    done[key] = true
    forget(members[n - 6], string.sub(frozen, 13, 28))
    local value = 'v' .. members[n - 6]
    bytes = math.max(0, bytes - redis.call('HSTRLEN', KEYS[3], value))
    fields[#fields + 1], fields[#fields + 2] = heads[n - 6], value

    -- Its own entry becomes clean, a newer one stays, and whatever is being filled was read before.
    local head = redis.pcall('GETRANGE', key, 0, 38)
    local kind = type(head) == 'string' and string.sub(head, 1, 3)
    if kind == '\215D\1' then
      local version = #head == 39 and string.sub(head, 8, 23) or string.rep('\0', 16)
      if version == string.sub(frozen, 13, 28) then
        if clean == '' then
          redis.call('DEL', key)
        else
          redis.call('SET', key, header .. clean, 'PXAT', now + ARGV[2 * n - 8])
        end
      end
    elseif kind == '\215C\1' then
      redis.call('DEL', key)
    end
  end
end

if #fields > 0 then
  redis.call('HDEL', KEYS[3], unpack(fields))
  redis.call('ZREM', KEYS[2], unpack(members))
end
local left = redis.call('ZCARD', KEYS[2])
if left == 0 then
  redis.call('HDEL', KEYS[1], 'open_epoch', 'open_batch', 'open_count', 'open_whole', 'open_bytes',
    'open_tries', 'open_keep')
else
  redis.call('HSET', KEYS[1], 'open_bytes', bytes)
end
return left
