#!lua flags=allow-oom
-- A writer has ended. The second form of `Slot::finish` in entry/state.rs; same answer, same bytes.
-- KEYS[1] the key; ARGV: token (16 bytes), and to publish: the value entry, time to live (milliseconds).
-- Keeps: publishes only for a token that is live, alone and unpoisoned; other live tokens stay, poisoned; without its barrier it
-- leaves nothing; another kind or format is left alone; a value always has an expiry of the key, a barrier never. Runs when
-- memory is full: otherwise a barrier would stand in the way of the readers.
local token = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local entry = redis.call('GET', KEYS[1])
if not entry then
  return 'VOIDED'
end

if #entry >= 3 and string.sub(entry, 1, 1) == '\215' then
  local kind = string.sub(entry, 2, 3)
  if kind == 'B\1' then
    -- Damage unless: flags 0 or 1, then 1 to 64 tokens of 24 bytes.
    local whole = (#entry - 4) % 24 == 0 and #entry >= 28 and #entry <= 1540 and string.byte(entry, 4) <= 1
    local others, mine = {}, false
    for at = 5, whole and #entry or 0, 24 do
      if struct.unpack('>I8', entry, at + 16) > now then
        if string.sub(entry, at, at + 15) == token then
          mine = true
        else
          others[#others + 1] = string.sub(entry, at, at + 23)
        end
      end
    end
    if #others > 0 then
      redis.call('SET', KEYS[1], '\215B\1\1' .. table.concat(others))
      return 'VOIDED'
    end
    if mine and ARGV[2] and string.byte(entry, 4) == 0 then
      redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
      return 'PUBLISHED'
    end
  elseif kind ~= 'V\1' and kind ~= 'L\1' then
    return 'VOIDED'
  end
end

redis.call('DEL', KEYS[1])
return 'VOIDED'
