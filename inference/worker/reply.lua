#!lua flags=allow-oom
-- Pushes a batch's reply unless its deadline has passed: a stalled server still runs, when it wakes, what a worker sent
-- and gave up on, and an answer without its settlement must not be given.
--
-- KEYS[1]: the asking process's list. ARGV: the reply, how long the list lives unread (seconds), the deadline
-- (microseconds of this server's clock, 0 for ever). Answers {whether it was pushed, this server's clock}.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local deadline = tonumber(ARGV[3])
if deadline > 0 and now > deadline then
  return {0, now}
end
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {1, now}
