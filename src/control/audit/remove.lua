-- Remove each key that still holds what the caller has read, if the fence is still the one that the caller knows.
-- KEYS: fence, then link keys. ARGV: the fence, then their values. Returns how many were removed, -1 for another fence.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
local removed = 0
for i = 2, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[i] then
    removed = removed + redis.call('UNLINK', KEYS[i])
  end
end
return removed
