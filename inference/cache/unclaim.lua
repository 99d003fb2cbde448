#!lua
-- Renews or ends claims, but only those that are still the caller's.
--
-- KEYS: the claims. ARGV[1]: how long they live from now on (milliseconds), 0 to end them; then the token of each.
-- Answers for each 1 when it was the caller's, else 0.

local lifetime = tonumber(ARGV[1])
local answers = {}
for i, key in ipairs(KEYS) do
  answers[i] = 0
  if redis.call('GET', key) == ARGV[i + 1] then
    answers[i] = 1
    if lifetime > 0 then
      redis.call('PEXPIRE', key, lifetime)
    else
      redis.call('DEL', key)
    end
  end
end
return answers
