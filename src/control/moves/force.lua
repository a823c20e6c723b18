-- Replace a record whatever its version is, if the key still holds what the caller has read (ARGV[1]).
-- ARGV[2]: the record. ARGV[3]: how long it lives in milliseconds if it is a tombstone. Returns whether it was replaced.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if string.byte(ARGV[2], 2) % 2 == 1 then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[2])
end
return 1
