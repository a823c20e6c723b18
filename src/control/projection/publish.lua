-- Put the documents and the fence in place, all at once, if what the caller has read is still there.
-- KEYS: fence, topology, domains. ARGV: the fence that was read (empty: none), the first ARGV[4] bytes of the topology
-- and of the domains that were read; then the new fence, topology and domains. Returns whether they were put there.
local function head(key)
  return redis.call('GETRANGE', key, 0, ARGV[4] - 1)
end
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] or head(KEYS[2]) ~= ARGV[2] or head(KEYS[3]) ~= ARGV[3] then
  return 0
end
redis.call('SET', KEYS[3], ARGV[7])
redis.call('SET', KEYS[2], ARGV[6])
redis.call('SET', KEYS[1], ARGV[5])
return 1
