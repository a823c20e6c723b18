-- Replace the fence if it still is what the caller has read (ARGV[1]; empty: none). Returns whether it was.
local held = redis.call('GET', KEYS[1]) or ''
if held ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
