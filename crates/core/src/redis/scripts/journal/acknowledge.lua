#!lua flags=allow-oom
-- SQL has these changes of the batch. The second form of `ShardState::acknowledge` in entry/shard/batch.rs.
-- KEYS: the shard's meta, frozen, open, strikes, dead, letters, then the keys; ARGV: identity, epoch, the batch's epoch and
-- number, then per key the value entry of the row that SQL returned ('' for none) and its time to live (milliseconds).
-- Answers how many changes the batch still holds. Writes the bases of counters: their names start as KEYS[1] does, so they lie in
-- the same slot.
-- Keeps: acts only on the open batch of that name, which ends with its last change; a newer change stays; a lease that was given
-- out meanwhile is void; a clean value always has an expiry; a letter of an older change is outdated, unless it was to be added. Of
-- increments the row becomes the base, and the batch is told to readers. Runs when memory is full: it makes room.
-- Needs: less, increments, letters
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
local members, asks, fields, done, counted = {}, {}, {}, {}, false
for n = 7, #KEYS do
  local member = string.sub(KEYS[n], #KEYS[1] - 1)
  members[n - 6], asks[2 * n - 13], asks[2 * n - 12] = member, 'h' .. member, 'v' .. member
end
local open = #KEYS > 6 and redis.call('HMGET', KEYS[3], unpack(asks)) or {}
-- What was set aside of a key before, and how often it failed alone.
local letters, strikes = redis.call('HLEN', KEYS[6]) > 0, redis.call('HLEN', KEYS[4]) > 0
local function forget(member, version)
  if strikes then
    redis.call('HDEL', KEYS[4], member)
  end
  local letter = letters and redis.call('HGET', KEYS[6], member)
  if letter and outdated(letter, version) then
    redis.call('HDEL', KEYS[6], member)
    redis.call('ZREM', KEYS[5], string.sub(letter, 5, 20) .. member)
  end
end

local function clean(name, n)
  if ARGV[2 * n - 9] == '' then
    redis.call('DEL', name)
  else
    redis.call('SET', name, header .. ARGV[2 * n - 9], 'PXAT', now + ARGV[2 * n - 8])
  end
end
-- Its own entry becomes clean, a newer one stays, and whatever is being filled was read before.
local function settle(key, version, n)
  local head = redis.pcall('GETRANGE', key, 0, 38)
  local kind = type(head) == 'string' and string.sub(head, 1, 3)
  if kind == '\215D\1' then
    local its = #head == 39 and string.sub(head, 8, 23) or string.rep('\0', 16)
    if its == version then
      clean(key, n)
    end
  elseif kind == '\215C\1' then
    redis.call('DEL', key)
  end
end
-- A counter's cached row was read before, or is the one that SQL returned.
local function rebase(base, n)
  local head = redis.pcall('GETRANGE', base, 0, 2)
  if type(head) == 'string' and (#head < 3 or string.sub(head, 1, 1) ~= '\215' or head == '\215C\1') then
    clean(base, n)
  end
end

local stem = string.sub(KEYS[1], 1, -5) .. 'b:'
for n = 7, #KEYS do
  local key, member, frozen, value = KEYS[n], members[n - 6], open[2 * n - 13], open[2 * n - 12]
  if frozen and not done[key] then
    done[key] = true
    forget(member, string.sub(frozen, 13, 28))
    bytes = math.max(0, bytes - #value)
    fields[#fields + 1], fields[#fields + 2] = 'h' .. member, 'v' .. member
    if counts(value) then
      counted = true
      rebase(stem .. member, n)
    else
      settle(key, string.sub(frozen, 13, 28), n)
    end
  end
end

if #fields > 0 then
  redis.call('HDEL', KEYS[3], unpack(fields))
  redis.call('ZREM', KEYS[2], unpack(members))
end
if counted then
  redis.call('HSET', KEYS[1], 'acked', ARGV[4])
end
local left = redis.call('ZCARD', KEYS[2])
if left == 0 then
  redis.call('HDEL', KEYS[1], 'open_epoch', 'open_batch', 'open_count', 'open_whole', 'open_bytes',
    'open_tries', 'open_keep', 'open_since', 'open_first')
else
  redis.call('HSET', KEYS[1], 'open_bytes', bytes)
end
return left
