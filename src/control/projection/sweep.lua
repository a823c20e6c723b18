-- Remove links while the fence is still the one that the caller knows: who slept must not empty a shard of later.
-- KEYS: fence, then link keys. ARGV[1]: the fence. Returns how many were there, -1 if the fence is another one.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
local removed = 0
for i = 2, #KEYS do
  removed = removed + redis.call('UNLINK', KEYS[i])
end
return removed
