-- Whether one version is before another. Versions are two numbers of 64 bits: doubles are too short for them, and strings compare
-- by the server's locale. The second form of the order of `Version` in journal/mod.rs.
local function less(a, b)
  for at = 1, 13, 4 do
    local x, y = struct.unpack('>I4', a, at), struct.unpack('>I4', b, at)
    if x ~= y then
      return x < y
    end
  end
  return false
end
