-- The only clock of admission is the server's, in microseconds since 1970 (exact in a double until the year 2255).

local SECOND = 1000000
local DAY = 86400 * SECOND

local function redis_now()
  local time = redis.call('TIME')
  return time[1] * SECOND + time[2]
end
