-- The number of the batch just written: rising, and above ARGV[1] also on a shard whose log has lost some numbers.
local number = redis.call('INCR', KEYS[1])
local base = tonumber(ARGV[1])
if number <= base then
  number = base + 1
  redis.call('SET', KEYS[1], string.format('%.0f', number))
end
return number
