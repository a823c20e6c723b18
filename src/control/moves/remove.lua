-- Remove link keys from a shard that does not own them, unless its fence is not what the caller knows (ARGV[1]): then
-- the placement has changed since, and the keys may be needed. KEYS[1]: the fence. Returns how many were there, or -1.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
return redis.call('UNLINK', unpack(KEYS, 2))
