-- Raises a guard to a version and never lowers it: two commits may publish in either order.
-- KEYS: one guard. ARGV: the version, and seconds to keep it.
local known = tonumber(redis.call('GET', KEYS[1])) or -1
if known < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
return 0
