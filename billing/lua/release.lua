#!lua flags=allow-oom
-- Gives back everything that holds took. An id that is not known is marked too, so that an admission which was
-- overtaken by its own release takes nothing when it arrives.
--
-- ARGV[1]: msgpack {hold id, ...}. Answers one number a hold: 0 nothing was held, 1 released now, 2 settled before.

local function release(id, now)
  local packed = redis.call('HGET', STATE, HOLD .. id)
  if packed == SETTLED then
    return 2
  end
  if is_hold(packed) then
    give_up(cmsgpack.unpack(packed))
  end
  mark(HOLD .. id, RELEASED, now)
  return is_hold(packed) and 1 or 0
end

local now = redis_now()
local answers = {}
for i, id in ipairs(cmsgpack.unpack(ARGV[1])) do
  answers[i] = release(id, now)
end
store_given()
return answers
