#!lua flags=allow-oom
-- A writer is about to COMMIT. The second form of `Slot::begin` in entry/state.rs; same answer, same bytes.
-- KEYS[1] the key; ARGV: token (16 bytes), within, not after (milliseconds; the latter a moment of this server's clock).
-- Answers with this server's clock besides, from which the next `not after` is derived.
-- Keeps: refused when late, for its caller has been answered; idempotent by token; two live tokens poison; at most 64 tokens; a
-- barrier never gets an expiry of the key. Runs when memory is full: a barrier is small, and needed for every commit.
local token = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[3]) then
  return {'LATE', time[1], time[2]}
end

local entry = redis.call('GET', KEYS[1])
local others, poisoned = {}, false
if entry and #entry >= 3 and string.sub(entry, 1, 1) == '\215' then
  local kind = string.sub(entry, 2, 3)
  if kind == 'B\1' then
    -- Damage unless: flags 0 or 1, then 1 to 64 tokens of 24 bytes.
    local whole = (#entry - 4) % 24 == 0 and #entry >= 28 and #entry <= 1540 and string.byte(entry, 4) <= 1
    for at = 5, whole and #entry or 0, 24 do
      -- A commit whose token has expired came before this begin.
      if string.sub(entry, at, at + 15) ~= token and struct.unpack('>I8', entry, at + 16) > now then
        others[#others + 1] = string.sub(entry, at, at + 23)
      end
    end
    poisoned = #others > 0 and string.byte(entry, 4) == 1
  elseif kind ~= 'V\1' and kind ~= 'L\1' then
    return {'FOREIGN', time[1], time[2]}
  end
end

local answer = 'FULL'
if #others < 64 then
  answer = 'PLACED'
  poisoned = #others > 0
  others[#others + 1] = token .. struct.pack('>I8', now + ARGV[2])
end
redis.call('SET', KEYS[1], '\215B\1' .. (poisoned and '\1' or '\0') .. table.concat(others))
return {answer, time[1], time[2]}
