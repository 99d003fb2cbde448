#!lua flags=allow-oom
-- Gives back everything that holds took. An id that is not known is marked too, so that an admission which was
-- overtaken by its own release takes nothing when it arrives.
--
-- ARGV[1]: msgpack {hold id, ...}. ARGV[2]: '1' to take back settlements too, because the caller was told that nothing
-- was charged: what they took is given back, and the shard's stream is told that their records are void.
-- Answers one number a hold: 0 nothing was held, 1 released now or before, 2 settled before, 3 settled before and reversed now.

local function reverse(id, packed, now)
  if #packed > 1 then -- Releases before 2026-12 kept the letter only.
    local units, requests, model_requests, takes = cmsgpack.unpack(string.sub(packed, 2))
    give_up({0, units, requests, '', takes, model_requests})
  end
  redis.call('XADD', USAGE, '*', 'void', id, 'at', string.format('%.0f', now))
end

local function release(id, reverses, now)
  local packed = redis.call('HGET', STATE, HOLD .. id)
  local answer = 0
  if is_settled(packed) then
    if not reverses then
      return 2
    end
    reverse(id, packed, now)
    answer = 3
  elseif is_hold(packed) then
    give_up(cmsgpack.unpack(packed))
    answer = 1
  elseif packed == RELEASED then
    answer = 1 -- Asked again, because the connection broke before the answer came.
  end
  mark(HOLD .. id, RELEASED, now)
  return answer
end

local now = redis_now()
local reverses = ARGV[2] == '1'
local answers = {}
for i, id in ipairs(cmsgpack.unpack(ARGV[1])) do
  answers[i] = release(id, reverses, now)
end
store_given()
renew(MARKS, STATE_TTL_MS)
return answers
