-- Remove each key if it still holds what the caller has read, ARGV[i] for KEYS[i]. Returns how many were removed.
local dropped = 0
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[i] then
    dropped = dropped + redis.call('UNLINK', key)
  end
end
return dropped
