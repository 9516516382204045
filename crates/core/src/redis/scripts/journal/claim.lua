#!lua flags=allow-oom
-- A page of the open batch; freezes due changes into it. The second form of `ShardState::claim` in entry/shard/batch.rs.
-- KEYS: the shard's meta, dirty, frozen, open, strikes; ARGV: identity, epoch, from, and what to freeze: schema (4 bytes), at
-- most so many keys, no further one after so many bytes, '1' for suspects first.
-- Reads the entries of the dirty keys, and removes those of increments: their names start as KEYS[1] does, so they lie in the same
-- slot.
-- Keeps: a whole batch stays as it is, and so does one that another flusher froze; keys are frozen as copies, each once per
-- batch; a key leaves the dirty set here; what this process cannot read stays, except what nobody can; what failed alone is
-- frozen alone; of increments nothing is left behind, so that what is added from then on is for the next batch; at most 200 are
-- frozen and 400 looked at. Runs when memory is full: draining must go on.
-- Needs: increments
local meta = redis.call('HMGET', KEYS[1], 'identity', 'recovering', 'epoch', 'batch', 'dirty_bytes', 'open_epoch', 'open_batch',
  'open_count', 'open_whole', 'open_bytes', 'open_tries')
if meta[1] ~= ARGV[1] or meta[2] or meta[3] ~= ARGV[2] then
  return 'EPOCH'
end
local from = tonumber(ARGV[3])
if not meta[7] and from > 0 then
  return {'NONE'}
end
local stem = string.sub(KEYS[1], 1, -5) .. 'e:'
-- The number is taken once something is due.
local epoch, batch = meta[6] or ARGV[2], tonumber(meta[7]) or tonumber(meta[4] or 0) + 1
local held = redis.call('ZCARD', KEYS[3])
local count, whole, bytes = tonumber(meta[8] or 0), meta[9] == '1', tonumber(meta[10] or 0)

if meta[6] and not whole and epoch ~= ARGV[2] then
  -- It may be of another schema.
  whole = true
  redis.call('HSET', KEYS[1], 'open_whole', 1)
end
local tries = tonumber(meta[11] or 0)
if meta[7] and from == 0 then
  -- Who splits it has come so far; who claims it tries it, if they can read it.
  local first = redis.call('HGET', KEYS[4], 'h' .. redis.call('ZRANGE', KEYS[3], 0, 0)[1])
  if string.sub(first, 9, 12) == ARGV[4] then
    tries = tries + 1
    redis.call('HSET', KEYS[1], 'open_tries', tries)
  end
  redis.call('HDEL', KEYS[1], 'open_keep')
end
local suspects = redis.call('HLEN', KEYS[5]) > 0
local function answer(items, member)
  local strikes = suspects and member and tonumber(redis.call('HGET', KEYS[5], member)) or 0
  return {'OPEN', epoch, batch, (whole and from + 200 >= held) and 1 or 0, items, tries, strikes}
end
local nothing = string.rep('\0', 16)

local items = {}
if not whole then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local max_keys, max_bytes = tonumber(ARGV[5]), tonumber(ARGV[6])
  local picked, passed, sum, looked, suspect = {}, {}, bytes, 0, nil
  local function look(member, since)
    -- Most entries are shorter, and whole.
    local entry = redis.pcall('GETRANGE', stem .. member, 0, 4095)
    entry = type(entry) == 'string' and entry or ''
    if count > 0 and redis.call('ZSCORE', KEYS[3], member) then
      return
    elseif string.sub(entry, 1, 3) == '\215D\1' then
      local change = #entry >= 39 and string.sub(entry, 4, 39) or string.rep('\0', 36)
      if string.sub(change, 5, 20) == nothing then
        -- Cut short: whoever meets it sets it aside.
        change = ARGV[4] .. string.sub(change, 5)
      end
      if string.sub(change, 1, 4) == ARGV[4] then
        local value = #entry < 4096 and string.sub(entry, 40) or redis.call('GETRANGE', stem .. member, 39, -1)
        local frozen = {member, struct.pack('>I8', since) .. change, value}
        if suspects and redis.call('HEXISTS', KEYS[5], member) == 1 then
          -- Alone, or not in this batch.
          if since <= now then
            local first = count == 0 and not suspect
            suspect = first and frozen or suspect
            if not first or ARGV[7] ~= '1' then
              passed[#passed + 1] = member
            end
          end
        else
          sum = sum + #value
          picked[#picked + 1] = frozen
        end
      end
    elseif #entry < 3 or string.sub(entry, 1, 2) ~= '\215D' then
      -- Not ours to lose: an entry that somebody removed leaves nothing to flush.
      picked[#picked + 1] = {member}
    end
  end
  while looked < 400 do
    local page = redis.call('ZRANGE', KEYS[2], looked, looked + 199, 'WITHSCORES')
    looked = #page == 400 and looked + 200 or 400
    for n = 1, #page, 2 do
      local since = tonumber(page[n + 1])
      local full = count + #picked >= max_keys or sum >= max_bytes or #picked == 200
      if full then
        looked = 400
        break
      end
      look(page[n], since)
      if suspect and ARGV[7] == '1' then
        looked = 400
        break
      end
    end
  end
  if suspect and (ARGV[7] == '1' or #picked == 0) then
    picked, sum = {suspect}, bytes + #suspect[3]
  else
    suspect = nil
  end
  local behind = {}
  for _, member in ipairs(passed) do
    if not suspect or member ~= suspect[1] then
      behind[#behind + 1], behind[#behind + 2] = now, member
    end
  end
  if #behind > 0 then
    -- Many of them would hide what is behind them.
    redis.call('ZADD', KEYS[2], unpack(behind))
  end
  whole = #picked < 200 or count + #picked >= max_keys or sum >= max_bytes

  local start, before = held, bytes
  local taken, fields, places, moved = {}, {}, {}, {}
  for n, change in ipairs(picked) do
    local member, frozen, value = change[1], change[2], change[3]
    taken[n] = member
    if frozen then
      local at = #fields
      fields[at + 1], fields[at + 2], fields[at + 3], fields[at + 4] = 'h' .. member, frozen, 'v' .. member, value
      places[#places + 1], places[#places + 2] = count, member
      items[#items + 1] = {member, string.sub(frozen, 9, 28), value}
      count, bytes = count + 1, bytes + #value
      if counts(value) then
        moved[#moved + 1] = stem .. member
      end
    end
  end
  if #taken > 0 then
    redis.call('ZREM', KEYS[2], unpack(taken))
    if suspects and #places < 2 * #taken then
      for _, change in ipairs(picked) do
        if not change[2] then
          redis.call('HDEL', KEYS[5], change[1])
        end
      end
    end
  end
  if #fields > 0 then
    redis.call('HSET', KEYS[4], unpack(fields))
    redis.call('ZADD', KEYS[3], unpack(places))
  end
  if #moved > 0 then
    redis.call('DEL', unpack(moved))
  end
  local left = redis.call('ZCARD', KEYS[2]) > 0 and math.max(0, tonumber(meta[5] or 0) - (bytes - before)) or 0
  redis.call('HSET', KEYS[1], 'dirty_bytes', left)
  held = redis.call('ZCARD', KEYS[3])
  if held == 0 then
    return {'NONE'}
  end
  redis.call('HSET', KEYS[1], 'batch', math.max(batch, tonumber(meta[4] or 0)), 'open_epoch', epoch, 'open_batch', batch,
    'open_count', count, 'open_whole', whole and 1 or 0, 'open_bytes', bytes)
  -- The page that was asked for is what was just frozen.
  if from == start then
    return answer(items, items[1] and items[1][1])
  end
  items = {}
end

-- By what it still holds: some of it may have been acknowledged before a crash.
local page = redis.call('ZRANGE', KEYS[3], from, from + 199)
for _, member in ipairs(page) do
  local frozen = redis.call('HMGET', KEYS[4], 'h' .. member, 'v' .. member)
  items[#items + 1] = {member, string.sub(frozen[1], 9, 28), frozen[2]}
end
return answer(items, page[1])
