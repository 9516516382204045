-- The second form of entry/increments.rs.
-- Whether a change is one of increments, damaged or not. The second form of `is_increments`.
local function counts(value)
  return string.sub(value, 1, 3) == '\215I\1'
end

-- What stands before the fields, their names in order, and their increments (8 bytes) by name; nil is damage. The second form of
-- `Increments::from_bytes`.
local function fields_of(bytes)
  if #bytes < 7 or not counts(bytes) then
    return nil
  end
  local at = 8 + struct.unpack('>I4', bytes, 4)
  local head, names, sums = string.sub(bytes, 1, at - 1), {}, {}
  if #head < at - 1 then
    return nil
  end
  while at <= #bytes do
    local length = string.byte(bytes, at)
    local name, by = string.sub(bytes, at + 1, at + length), string.sub(bytes, at + length + 1, at + length + 8)
    if #by < 8 or length < 1 or length > 64 or sums[name] then
      return nil
    end
    names[#names + 1], sums[name] = name, by
    at = at + length + 9
  end
  return head, names, sums
end

-- Exact: no number here is longer than 33 bits. Nil where the sum does not fit 64. The second form of `i64::checked_add`.
local function add(a, b)
  local high, low = struct.unpack('>i4I4', a)
  local more_high, more_low = struct.unpack('>i4I4', b)
  high, low = high + more_high, low + more_low
  if low >= 4294967296 then
    high, low = high + 1, low - 4294967296
  end
  if high < -2147483648 or high > 2147483647 then
    return nil
  end
  return struct.pack('>i4I4', high, low)
end

-- What two changes of one key are together, one of which is increments; nil where they are no sum. The second form of `combine`.
local function merge(before, value)
  local head, names, sums = fields_of(before)
  local others, more, by = fields_of(value)
  if not head or not others then
    return nil
  end
  for _, name in ipairs(more) do
    if sums[name] then
      sums[name] = add(sums[name], by[name])
      if not sums[name] then
        return nil
      end
    else
      names[#names + 1], sums[name] = name, by[name]
    end
  end
  local parts = {head}
  for _, name in ipairs(names) do
    parts[#parts + 1] = string.char(#name) .. name .. sums[name]
  end
  return table.concat(parts)
end

-- The sum of two changes that were accepted, one of which is increments, or both, one behind the other. The second form of `join`.
local function join(before, value)
  return merge(before, value) or before .. value
end

-- The later one of two schemas (4 bytes): who knows it knows the earlier one's fields, too.
local function later(a, b)
  return struct.unpack('>I4', a) < struct.unpack('>I4', b) and b or a
end
