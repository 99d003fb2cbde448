#!lua flags=allow-oom
-- Turns holds into usage: appends the record with the units that were used to the shard's stream and gives the rest
-- back. Runs even when memory is full, because it frees a hold for the record that it writes.
--
-- ARGV[1]: msgpack {{hold id, units used or -1 for all that was held}, ...}.
-- ARGV[2]: until when the answer is awaited, in microseconds of this server's clock; 0 for ever. Later nothing is done: a
-- stalled server still runs, when it wakes, what a worker sent and gave up on.
-- Answers one number a hold: 0 gone (released or expired: nothing is charged), 1 settled now, 2 settled before, 3 late; and
-- last this server's clock.

-- Gives concurrency and what was not used back; the answer is what stays taken, packed.
local function used_up(hold, used)
  local stays, takes = {}, hold[5]
  for i = 1, #takes, 4 do
    if takes[i + 1] ~= 'c' then
      local n = #stays
      stays[n + 1], stays[n + 2], stays[n + 3], stays[n + 4] = unpack(takes, i, i + 3)
    end
  end
  give_up(hold, used)
  return cmsgpack.pack(stays)
end

local function settle(id, used, now)
  local field = HOLD .. id
  local packed = redis.call('HGET', STATE, field)
  if is_settled(packed) then
    return 2
  end
  if not is_hold(packed) then
    return 0
  end
  local hold = cmsgpack.unpack(packed)
  if hold[1] <= now then
    give_up(hold)
    redis.call('HDEL', STATE, field)
    redis.call('ZREM', EXPIRY, field)
    return 0
  end
  if used < 0 or used > hold[2] then
    used = hold[2]
  end
  local stays = used_up(hold, used)
  meter(id, now, used, hold[4])
  mark(field, settled_mark(used, hold[3], hold[6], stays), now)
  return 1
end

local now = redis_now()
local deadline = tonumber(ARGV[2])
local answers = {}
for i, settlement in ipairs(cmsgpack.unpack(ARGV[1])) do
  answers[i] = deadline > 0 and now > deadline and 3 or settle(settlement[1], settlement[2], now)
end
store_given()
renew(MARKS, STATE_TTL_MS)
answers[#answers + 1] = now
return answers
