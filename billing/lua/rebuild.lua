#!lua
-- Puts back monthly counters that were lost, each only if it is still missing: another process may have been faster,
-- and admissions may have counted since.
--
-- ARGV[1]: msgpack {{field, month, count}, ...}. ARGV[2]: how long the state lives that had no counter yet (milliseconds).
-- Answers how many were put back.

local rebuilt = 0
for _, counter in ipairs(cmsgpack.unpack(ARGV[1])) do
  local packed = redis.call('HGET', KEYS[1], counter[1])
  if not packed or cmsgpack.unpack(packed)[1] ~= 'm' then
    redis.call('HSET', KEYS[1], counter[1], cmsgpack.pack({'m', counter[2], counter[3], 0}))
    rebuilt = rebuilt + 1
  end
end
if redis.call('PTTL', KEYS[1]) == -1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return rebuilt
